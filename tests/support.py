"""What the tests of several packages call."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from filelock import FileLock

from ferops import params

ROOT = Path(__file__).parent.parent
MODEL = "fer-vgg16"
"""Registered model of the VGGs, params.yaml's own."""


class Answer(NamedTuple):
    """What a command did: exit status, standard output, standard error."""

    code: int
    out: str
    err: str


Ferops = Callable[..., Answer]
"""Runs `ferops` with these arguments; the fixture `ferops`."""


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that the first of pytest's worker processes fills and that all of them read."""
    workers_root = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder, done = workers_root / name, workers_root / f"{name}.done"
    with FileLock(workers_root / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a build that failed in another process
            folder.mkdir()
            build(folder)
            done.touch()
    return folder


def shell(folder: Path, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder as a user would; its output is shown where it fails."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)} exited {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def benchmark(name: str) -> ModuleType:
    """A script of benchmarks/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refused(ferops: Ferops, *words: str) -> str:
    """What `ferops` says where it refuses: one line, exit status 1, and no file in the working directory changes."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    done = ferops(*words)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    return done.err


def checkout(folder: Path, values: dict[str, object]) -> Path:
    """The working tree as git would give it, in a git and DVC repository of its own, with other parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith(("metrics/", "reports/", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params.merge(values, folder / "params.yaml")
    shell(folder, "git", "init", "-q", "-b", "main")
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "commit", "-q", "-m", "start")
    return folder
