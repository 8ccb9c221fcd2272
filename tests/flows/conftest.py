import importlib.util
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from flows.seen import Load, Typed
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.testing.utilities import prefect_test_harness
from support import ROOT


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    """A Prefect server of the tests' own."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def client(server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Gives the module of flows/NAME.py."""

    def module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"flows_{name}", ROOT / f"flows/{name}.py")
        assert spec
        assert spec.loader
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return module


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs flows/NAME.py with arguments, in this process; returns what it prints, or its error message."""

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"flows/{name}.py", *arguments])
        capsys.readouterr()
        try:
            runpy.run_path(str(ROOT / f"flows/{name}.py"), run_name="__main__")
        except SystemExit as ended:
            assert isinstance(ended.code, str), "exit status 1, the text on stderr"
            assert capsys.readouterr() == ("", "")
            return ended.code
        return " ".join(capsys.readouterr().out.split())

    monkeypatch.setenv("COLUMNS", "200")
    return run


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows believe that a deployment runs them."""
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "00000000-0000-0000-0000-000000000000")


@pytest.fixture
def clone(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reproduced and committed repository of the test's own, which is the working directory."""
    return enter(Path(shutil.copytree(committed, tmp_path / "clone", symlinks=True)), monkeypatch)


@pytest.fixture
def unchanged(committed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for tests that change nothing in it: all have one."""
    return enter(committed, monkeypatch)


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(name)
    return folder
