import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.testing.utilities import prefect_test_harness
from support import ROOT

Load = Callable[[str], ModuleType]


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
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows believe that a deployment runs them."""
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "00000000-0000-0000-0000-000000000000")


@pytest.fixture
def clone(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reproduced and committed repository of the test's own, in which it stands."""
    from shutil import copytree

    folder = tmp_path / "clone"
    copytree(committed, folder, symlinks=True)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(name)
    return folder
