"""Fixtures that the tests of every package share."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Answer, Ferops, built_once, checkout, shell

from ferops import cli
from ferops.machine import tensorflow


def pytest_configure() -> None:
    """Set the environment: nothing leaves this machine, and TensorFlow is as fast and quiet as in a stage."""
    # a shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "GX_ANALYTICS_ENABLED": "false",
        # what users type is what runs: dvc, ferops and python of this environment
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@localhost",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@localhost",
    }
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    tensorflow.configure()


@pytest.fixture(scope="session")
def mini() -> Path:
    """A small real copy of FER2013, named by the environment variable FER2013_MINI."""
    named = os.environ.get("FER2013_MINI")
    if not named or not Path(named).is_file():
        pytest.skip("FER2013_MINI names no file: no real faces here")
    return Path(named)


SMALL: dict[str, dict[str, object]] = {
    "sample": {"train": 140, "validation": 70, "test": 70},
    "model": {"name": "lean_cnn", "weights": "none", "frozen_blocks": 0, "noise": 0.0},
    "train": {"epochs": 2},
    "validate": {"max_kl_divergence": 0.3, "count_tolerance": 0.2},
}


@pytest.fixture(scope="session")
def repro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after one `dvc repro` on a small sample, for all tests: a test that changes files copies it."""

    def build(folder: Path) -> None:
        checkout(folder, SMALL)
        shell(folder, "dvc", "repro")

    return built_once(tmp_path_factory, "pipeline", build)


@pytest.fixture(scope="session")
def committed(repro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its lock and reports in git: what must not be lost."""

    def build(folder: Path) -> None:
        shutil.copytree(repro, folder, symlinks=True, dirs_exist_ok=True)
        shell(folder, "git", "add", "-A")
        shell(folder, "git", "commit", "-q", "-m", "reproduced")

    return built_once(tmp_path_factory, "committed", build)


@pytest.fixture
def ferops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Ferops]:
    """The command `ferops` in this process, which has loaded TensorFlow and MLflow already."""
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["ferops", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        status = end.value.code
        return Answer(1, out, f"{err}{status}\n") if isinstance(status, str) else Answer(status or 0, out, err)

    yield run
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()  # ferops turns off telemetry for its own process
    os.environ.update(before)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose store holds the versions of tests/registered.py; to be copied."""
    import registered

    return built_once(tmp_path_factory, "shelf", registered.make)
