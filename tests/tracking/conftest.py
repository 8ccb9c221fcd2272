"""A pipeline that has run: the smallest files that `publish` reads, with a core of one layer."""

import copy
import csv
import functools
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from ferops.labels import NAMES
from ferops.tracking.live import LiveRun

REPOSITORY = Path(__file__).parents[2]
STARTED = 1_700_000_000.0
SERIES = ("loss", "accuracy", "binary_accuracy", "precision", "recall", "f1")


class Pipeline:
    """A folder with the outputs of the stages before `publish`; methods write what further runs of stages would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copy(REPOSITORY / "params.yaml", root / "params.yaml")
        (root / ".dvc").mkdir()
        (root / "dvc.yaml").write_text("stages: {}\n")
        self._json("data/prepared/report.json", {
            "dataset": "sample", "source": "data/sample/fer2013.csv", "split": "official", "median_kernel": 3,
            "kept": {"train": [10] * 7, "validation": [3] * 7, "test": [3] * 7},
        })  # fmt: skip
        self._json("reports/validate/prepared/validation.json", {"success": True})
        for figure in (
            "train/curves",
            "evaluate/confusion",
            "augment/classes",
            "augment/contact_sheet",
            "evaluate_faces/mistakes",
        ):
            self._write(f"reports/{figure}.png", b"\x89PNG " + figure.encode())
        self.train(seed=0)
        self.evaluate(accuracy=0.6)

    def copy(self, root: Path) -> "Pipeline":
        """Copy the folder with its store."""
        other = copy.copy(self)
        other.root = Path(shutil.copytree(self.root, root))
        return other

    def train(self, seed: int, epochs: int = 3) -> None:
        """Write other weights: core, training.json, history.csv and train's entry in dvc.lock."""
        core, digest = core_file(seed)
        self._write("models/core.keras", core)
        self.training = {
            "weights_digest": digest, "best_epoch": 2, "epochs": epochs, "started": STARTED,
            "ended": STARTED + 100 * epochs, "seconds": 90.0 * epochs, "scratch_key": f"key-{seed}",
            "parameters": {"total": 100, "trainable": 100, "non_trainable": 0},
            "base_weights": {"name": "none", "sha256": None}, "keras": "3", "backend": "tensorflow",
            "backend_version": "2", "hardware": "a processor",
        }  # fmt: skip
        self._json("models/training.json", self.training)
        self.history = [epoch_row(number) for number in range(1, epochs + 1)]
        path = self.root / "reports/train/history.csv"
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.history[0]))
            writer.writeheader()
            writer.writerows(self.history)
        self._write_dvc_lock()

    def evaluate(self, accuracy: float) -> None:
        """Write other predictions and their metrics."""
        scores = {
            "accuracy": accuracy, "binary_accuracy": 0.9, "loss": 1.0, "f1_macro": 0.5, "n": 21, "accuracy_tta": None,
            "accuracy_interval": [accuracy - 0.1, accuracy + 0.1],
            "per_class": {name: {"recall": 0.5, "support": 3} for name in NAMES},
        }  # fmt: skip
        for split in ("val", "test"):
            self._json(f"metrics/{split}.json", scores)
        pd.concat([predictions(split, accuracy) for split in ("validation", "test")]).to_parquet(
            self.root / "predictions.parquet", index=False
        )
        self._write_dvc_lock()

    def registry(self) -> list[dict[str, Any]]:
        """Return the events of reports/registry.jsonl."""
        path = self.root / "reports/registry.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _write_dvc_lock(self) -> None:
        def outs(*names: str) -> list[dict[str, str]]:
            return [
                {"path": name, "hash": "md5", "md5": hashlib.md5((self.root / name).read_bytes()).hexdigest()}
                for name in names
                if (self.root / name).is_file()
            ]

        prepared = {"path": "data/prepared", "hash": "md5", "md5": "0123456789abcdef0123456789abcdef.dir"}
        stages = {
            "preprocess": {"cmd": "preprocess", "outs": [prepared]},
            "train": {
                "cmd": "train", "deps": [prepared], "params": {"params.yaml": {"train.epochs": 3}},
                "outs": outs("models/core.keras", "models/training.json", "reports/train/history.csv"),
            },
            "evaluate": {"cmd": "evaluate", "outs": outs("predictions.parquet", "metrics/val.json")},
        }  # fmt: skip
        with (self.root / "dvc.lock").open("w") as stream:
            YAML().dump({"schema": "2.0", "stages": stages}, stream)

    def _json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(value).encode())

    def _write(self, name: str, content: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def predictions(split: str, accuracy: float, images: int = 70) -> pd.DataFrame:
    """Make a table as `evaluate` writes it: the first images are right, the last ones get the next class."""
    labels = np.arange(images) % len(NAMES)
    right = np.arange(images) < round(accuracy * images)
    said = np.where(right, labels, (labels + 1) % len(NAMES))
    probabilities = np.full((images, len(NAMES)), 0.05)
    probabilities[np.arange(images), said] = 0.7
    columns = {name: probabilities[:, code] for code, name in enumerate(NAMES)}
    hashes = [hashlib.sha256(f"{split} {number}".encode()).hexdigest()[:16] for number in range(images)]
    return pd.DataFrame(
        {
            "id": np.arange(images),
            "split": split,
            "label": labels,
            "hash": hashes,
            **columns,
            "duplicate_in_train": False,
        }
    )


def epoch_row(number: int) -> dict[str, float]:
    """Make a row of history.csv; epochs end 100 seconds apart."""
    curves = {f"{split}/{name}": number / 10 + k / 100 for split in ("train", "val") for k, name in enumerate(SERIES)}
    return {"epoch": number, "time": STARTED + 100 * number + 0.25, **curves}


@functools.cache
def core_file(seed: int) -> tuple[bytes, str]:
    """Return a .keras file and the digest of its weights; saved once per seed, since the file contains a date."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "core.keras")
        core = make_core(seed)
        core.save(path)
        digest = hashlib.sha256(b"".join(weight.tobytes() for weight in core.get_weights())).hexdigest()
        return path.read_bytes(), digest


def make_core(seed: int) -> Any:
    """Build a Keras core of one dense layer: filtered uint8 (N, 48, 48) -> (N, 7)."""
    import keras

    keras.utils.set_random_seed(seed)
    faces = keras.Input((48, 48), dtype="uint8")
    x = keras.ops.cast(faces, "float32") / 255.0
    x = keras.layers.Flatten()(x)
    return keras.Model(faces, keras.layers.Dense(len(NAMES), activation="softmax")(x))


def flushed(live: LiveRun) -> bool:
    """Wait until MLflow has everything that was logged so far, as when the training is killed after it."""
    done = threading.Event()
    live._later(done.set)
    return done.wait(15)


@contextmanager
def inside(root: Path) -> Iterator[None]:
    """Change the working directory to a clone, outside DVC and with its own store; restore the environment."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # by run id, and the runs of copied stores have the same ids
    before = dict(os.environ)
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    with chdir(root):
        yield
    os.environ.clear()  # ferops turns off telemetry for its own process
    os.environ.update(before)


@pytest.fixture(scope="session")
def unpublished_clone(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline with an empty store, to be copied: MLflow takes a second of processor time to create one."""
    from ferops.tracking import store

    root = tmp_path_factory.mktemp("unpublished")
    made = Pipeline(root)
    with inside(root):
        store.connect()
    return made


@pytest.fixture(scope="session")
def published_clone(unpublished_clone: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline that was published as version 1, to be copied: that loads TensorFlow and saves a model."""
    from ferops.stages.publish import main

    made = unpublished_clone.copy(tmp_path_factory.mktemp("published") / "clone")
    with inside(made.root):
        main()
    return made


@pytest.fixture
def pipeline(unpublished_clone: Pipeline, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline in a clone of its own, which is the working directory, with an empty store."""
    clone = unpublished_clone.copy(tmp_path / "clone")
    with inside(clone.root):
        yield clone


@pytest.fixture
def published(published_clone: Pipeline, tmp_path: Path) -> Iterator[Pipeline]:
    """The same after `publish`: version 1, which is the challenger."""
    clone = published_clone.copy(tmp_path / "clone")
    with inside(clone.root):
        yield clone


@pytest.fixture
def faces() -> np.ndarray:
    """Raw uint8 (5, 48, 48)."""
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
