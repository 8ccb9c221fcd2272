"""A pipeline of real DVC stages that takes a second: the files of the real one, made up by a script."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, shell

from ferops import params
from ferops.tracking.identity import lock_hash, read_lock, training_identity

STAGES = """\
stages:
  preprocess:
    cmd: python make.py preprocess
    params: [data, preprocess]
    deps: [data/raw/faces.csv, make.py, src/data/readers.py, src/data/splits.py]
    outs: [data/prepared]
  train:
    cmd: python make.py train
    params: [model, train]
    deps: [data/prepared, make.py, src/model/network.py]
    outs: [models/core.keras, models/training.json]
    plots:
      - reports/train/history.csv:
          cache: false
  evaluate:
    cmd: python make.py evaluate
    params: [evaluate]
    deps: [data/prepared, models/core.keras, make.py]
    outs: [predictions.parquet]
    metrics:
      - metrics/val.json:
          cache: false
      - metrics/test.json:
          cache: false
"""

MAKE = '''\
"""Writes what the stage named would; LUCK and HARDWARE are what a machine has to it."""
import json, os, shutil, sys
from pathlib import Path

from ruamel.yaml import YAML

STARTED = 1_700_000_000
params = YAML(typ="safe").load(Path("params.yaml"))
seed = params["train"]["seed"]


def write(name, text):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


if sys.argv[1] == "preprocess":
    report = {"dataset": "sample", "source": params["data"]["source"], "split": "official", "median_kernel": 3}
    kept = {"train": [10] * 7, "validation": [3] * 7, "test": [3] * 7}
    write("data/prepared/report.json", json.dumps({**report, "kept": kept}))
    write("data/prepared/manifest.txt", Path("data/raw/faces.csv").read_text())
if sys.argv[1] == "train":
    print("an epoch of training")
    Path("models").mkdir(exist_ok=True)
    shutil.copy(f"cores/{seed}.keras", "models/core.keras")
    write("models/training.json", json.dumps({
        "weights_digest": Path(f"cores/{seed}.digest").read_text(), "best_epoch": 2, "epochs": 2, "started": STARTED,
        "ended": STARTED + 200, "seconds": 180.0, "scratch_key": f"key-{seed}", "parameters": {"total": 100},
        "base_weights": {"name": "none", "sha256": None}, "keras": "3", "backend": "tensorflow",
        "backend_version": "2", "hardware": os.environ.get("HARDWARE", "a processor, 2 CPU cores"),
    }))
    rows = [f"{n},{STARTED + 100 * n},{n / 10},{n / 10}" for n in (1, 2)]
    write("reports/train/history.csv", "\\n".join(["epoch,time,train/loss,val/accuracy", *rows, ""]))
if sys.argv[1] == "evaluate":
    accuracy = 0.6 + seed / 100 + params["evaluate"]["calibration_bins"] / 1000 + float(os.environ.get("LUCK", 0))
    scores = {
        "accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1], "binary_accuracy": 0.9,
        "loss": 1.0, "f1_macro": 0.5, "n": 21, "per_class": {"happy": {"recall": 0.5, "support": 3}},
    }
    write("metrics/val.json", json.dumps(scores))
    write("metrics/test.json", json.dumps(scores if params["evaluate"]["test"] else {}))
    write("predictions.parquet", f"predictions with {accuracy}")
'''
HAPPY = "emotion,pixels,Usage\n3,0 1 2,Training\n"


class Clone:
    """A clone of the small pipeline; methods are what people type there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def repro(self, **values: dict[str, Any]) -> None:
        """`dvc repro` with other parameters, given by section."""
        if values:
            params.merge(values, self.root / "params.yaml")
        shell(self.root, "dvc", "repro", "evaluate")

    def commit(self, message: str) -> str:
        """`git add`, `git commit`; the sha."""
        shell(self.root, "git", "add", "-A")
        shell(self.root, "git", "commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *args: str) -> str:
        return shell(self.root, "git", *args).stdout.strip()

    def training(self) -> tuple[str, str]:
        """Identity of the training in dvc.lock, and the hash of the whole lock."""
        lock = read_lock(self.root / "dvc.lock")
        return training_identity(lock), lock_hash(lock)

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / name).read_text())


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pipeline in git, with its data tracked by DVC; nothing has run."""
    root = tmp_path_factory.mktemp("small") / "clone"
    root.mkdir()
    made = {
        "dvc.yaml": STAGES,
        "make.py": MAKE,
        "data/raw/faces.csv": HAPPY,
        "src/data/readers.py": "read = 1\n",
        "src/data/splits.py": "split = 1\n",
        "src/model/network.py": "network = 1\n",
        "reports/.gitkeep": "",
        ".gitignore": "/mlflow.db*\n/mlartifacts/\n/predictions.parquet\n__pycache__/\n",
        "requirements.lock": "keras==3\n",
        **{f"cores/{seed}.{end}": f"{end} {seed}" for seed in (0, 1, 2, 3) for end in ("keras", "digest")},
    }
    for name, text in made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(ROOT / "params.yaml", root)
    params.merge({"data": {"source": "data/raw/faces.csv"}}, root / "params.yaml")
    shell(root, "git", "init", "-q", "-b", "main")
    shell(root, "dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    shell(root, "dvc", "add", "-q", "data/raw/faces.csv")
    shell(root, "git", "add", "-A")
    shell(root, "git", "commit", "-q", "-m", "start")
    return root


@pytest.fixture(scope="session")
def ran(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after `dvc repro`, nothing committed."""
    root = shutil.copytree(small, tmp_path_factory.mktemp("ran") / "clone", symlinks=True)
    Clone(root).repro()
    return root


@pytest.fixture
def clone(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clone]:
    """A clone after `dvc repro`, as the working directory."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    root = shutil.copytree(ran, tmp_path / "clone", symlinks=True)
    monkeypatch.chdir(root)
    before = dict(os.environ)
    yield Clone(root)
    os.environ.clear()  # ferops turns off telemetry for its own process
    os.environ.update(before)
