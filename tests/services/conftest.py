"""The servers of a team, started once for all tests of this folder."""

import os
from collections.abc import Iterator

import pytest
from services import servers
from services.servers import Team


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with servers.team(tmp_path_factory.mktemp("team")) as running:
        yield running


@pytest.fixture
def team(started: Team, monkeypatch: pytest.MonkeyPatch) -> Team:
    """The servers, empty; no S3 keys in the environment."""
    for name in os.environ:
        if name.startswith(("AWS_", "MLFLOW_S3_")):
            monkeypatch.delenv(name)
    started.empty()
    return started
