"""A server that goes away during a publish: nothing is registered in part, and the next publish completes it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.servers import Behavior, Gateway
from services.publishers import pipelines, stored
from services.servers import Team
from tracking.conftest import Pipeline

pytestmark = pytest.mark.services


@pytest.fixture
def gateway(team: Team) -> Iterator[Gateway]:
    opened = Gateway(team.mlflow)
    yield opened
    opened.close()


@pytest.fixture
def clone(tmp_path: Path) -> Pipeline:
    (pipeline,) = pipelines(tmp_path, [0])
    return pipeline


def publish(clone: Pipeline, uri: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ferops.stages", "publish"], cwd=clone.root, capture_output=True, text=True,
        timeout=120, check=False, env={**os.environ, "MLFLOW_TRACKING_URI": uri, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("behavior", ["dead", "lost"])
def test_a_server_that_goes_between_upload_and_registration_gets_the_version_from_the_next_publish(
    clone: Pipeline, gateway: Gateway, behavior: Behavior
) -> None:
    gateway.behave(behavior, at="model-versions/create")
    failed = publish(clone, gateway.uri)
    assert failed.returncode == 1
    assert failed.stderr.startswith("publish: ") and failed.stderr.count("\n") == 1, failed.stderr
    _, versions, (model,) = stored(gateway.server)
    assert model.status == "READY", "the upload was complete"
    assert len(versions) == {"dead": 0, "lost": 1}[behavior]
    assert not clone.registry(), "no event of a version that is not complete"

    gateway.behave("normal")
    assert publish(clone, gateway.uri).returncode == 0
    (run,), (version,), (completed,) = stored(gateway.server)
    assert completed.model_id == model.model_id, "the 60 MB are not sent again"
    assert (version.run_id, version.source) == (run.info.run_id, f"models:/{model.model_id}")
    assert [line["version"] for line in clone.registry()] == [int(version.version)] == [1]


def test_a_proxy_that_demands_a_password_gets_it_from_the_environment_and_no_output_shows_it(
    clone: Pipeline, team: Team
) -> None:
    proxy = Gateway(team.mlflow, user="ada", password="opensesame")
    named = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "opensesame"}
    wrong = publish(clone, proxy.uri, **{**named, "MLFLOW_TRACKING_PASSWORD": "sesameopen"})
    assert wrong.returncode == 1
    assert "401" in wrong.stderr and wrong.stderr.count("\n") == 1 and "sesame" not in wrong.stderr, wrong.stderr

    right = publish(clone, proxy.uri, **named)
    proxy.close()
    assert right.returncode == 0, right.stderr
    (run,), _, _ = stored(team.mlflow)
    assert "sesame" not in right.stdout + right.stderr + str(run.data.tags)
