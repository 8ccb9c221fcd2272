"""A server that goes away in the middle of a publish: nothing half-registered, and the next publish heals it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.servers import Gateway, Mood
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


@pytest.mark.parametrize("mood", ["dead", "lost"])
def test_a_server_that_goes_between_upload_and_registration_gets_the_version_from_the_next_publish(
    clone: Pipeline, gateway: Gateway, mood: Mood
) -> None:
    gateway.be(mood, at="model-versions/create")
    failed = publish(clone, gateway.uri)
    assert failed.returncode == 1
    assert failed.stderr.startswith("publish: ") and failed.stderr.count("\n") == 1, failed.stderr
    _, versions, (model,) = stored(gateway.server)
    assert model.status == "READY", "the upload was complete"
    assert len(versions) == {"dead": 0, "lost": 1}[mood]
    assert not clone.registry(), "nothing is told that is not so"

    gateway.be("well")
    assert publish(clone, gateway.uri).returncode == 0
    (run,), (version,), (healed,) = stored(gateway.server)
    assert healed.model_id == model.model_id, "the 60 MB are not sent again"
    assert (version.run_id, version.source) == (run.info.run_id, f"models:/{model.model_id}")
    assert [line["version"] for line in clone.registry()] == [int(version.version)] == [1]


def test_a_proxy_that_asks_for_a_password_gets_it_from_the_environment_and_nobody_else_sees_it(
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
