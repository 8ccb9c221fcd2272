"""The pipeline's outputs, read as one value: everything that a run in MLflow is rebuilt from."""

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ferops.errors import FeropsError
from ferops.tracking.lineage.identity import PREPARED, data_digest, dvc_lock_hash, read_dvc_lock, training_identity
from ferops.tracking.runs import describe
from ferops.tracking.runs.run_log import Epoch

FINAL: Final = {"val": "val/final", "test": "test"}
"""Prefix of the metrics that `evaluate` measures with the final weights.

`val/accuracy` is already the curve over epochs, and the final weights are those of the best epoch, not of the last one:
so the final metrics on validation have a prefix of their own, `val/final/`. On test there is no curve.
"""

SETTINGS: Final = "evaluation/params.json"
"""Path among a run's artifacts: the parameters that come after training."""

_EXTRA: Final = "metrics/extra.json"
FILES: Final = {
    "evaluation/predictions.parquet": "predictions.parquet",
    "evaluation/confusion.csv": "reports/evaluate/confusion.csv",
    "evaluation/per_class.csv": "reports/evaluate/per_class.csv",
    "evaluation/reliability.csv": "reports/evaluate/reliability.csv",
    "evaluation/val.json": "metrics/val.json",
    "evaluation/test.json": "metrics/test.json",
    "evaluation/extra.json": _EXTRA,
    "training/history.csv": "reports/train/history.csv",
    "training/training.json": "models/training.json",
    "lineage/dvc.yaml": "dvc.yaml",
    "lineage/dvc.lock": "dvc.lock",
    "lineage/params.yaml": "params.yaml",
}
"""Path among a run's artifacts -> file."""

_FIGURES: Final = ("train", "evaluate", "augment")
_FACE_WORDS: Final = ("sheet", "contact", "faces", "mistakes", "gradcam", "grad_cam")
_DVC_LOCK: Final = "lineage/dvc.lock"


class MissingOutput(FeropsError):
    """A file that an earlier stage writes is missing or cannot be read."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of the pipeline's stages that `publish` logs.

    Fields:
        params: flattened parameters, all sections.
        identity: hash of the training (`training_identity`).
        dvc_lock_hash: hash of dvc.lock.
        data_md5: DVC's digest of the prepared data.
        report: data/prepared/report.json. training: models/training.json.
        history: every epoch, in order.
        scores: metrics/val.json and metrics/test.json; empty where a split was not scored.
        metrics: the same under their names in MLflow.
        headline: those shown first.
        files: path among the run's artifacts -> file.
        evaluation: flattened parameters that come after training.
        digest: hash of everything that is attached to a run after its training.
    """

    root: Path
    params: Mapping[str, Any]
    identity: str
    dvc_lock_hash: str
    data_md5: str
    report: Mapping[str, Any]
    training: Mapping[str, Any]
    history: tuple[Epoch, ...]
    scores: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, float]
    headline: Mapping[str, float]
    files: Mapping[str, Path]
    evaluation: Mapping[str, Any]
    digest: str

    @property
    def dataset(self) -> str:
        """Return the name of the data set: `sample`, `fer2013` or `other`."""
        return str(self.report.get("dataset"))

    @property
    def weights_digest(self) -> str:
        """Return the digest of the weights."""
        return str(self.training["weights_digest"])

    @property
    def is_served(self) -> bool:
        """Return whether the network is a Keras graph from pixels to probabilities; others are not registered."""
        return bool(self.training.get("served", True))


def read_outputs(params: Mapping[str, Any], root: Path = Path()) -> Outputs:
    """Read the outputs of the stages before `publish`.

    Args:
        params: flattened parameters.
        root: the folder that the stages ran in.

    Raises:
        NotTrained: dvc.lock holds no training.
        MissingOutput: a file is missing or cannot be read.
    """
    dvc_lock = read_dvc_lock(root / "dvc.lock")
    identity = training_identity(dvc_lock)
    training = read_json(root / "models/training.json")
    history = tuple(read_history(root / "reports/train/history.csv"))
    scores = {split: read_json(root / f"metrics/{split}.json") for split in FINAL}
    metrics = {f"{FINAL[split]}/{key}": value for split in FINAL for key, value in _numbers(scores[split])}
    extra = read_json(root / _EXTRA) if (root / _EXTRA).is_file() else {}  # without extra test sets there is none
    metrics |= {f"extra/{name}/{key}": value for name, figures in extra.items() for key, value in _numbers(figures)}
    metrics |= {
        f"train/{key}": float(training[key])
        for key in ("seconds", "epochs", "best_epoch", "milliseconds_an_image")
        if training.get(key) is not None
    }
    files = _files(root)
    evaluation = {key: value for key, value in params.items() if key.partition(".")[0] in describe.LATER}
    report = read_json(root / PREPARED / "report.json")
    return Outputs(
        root=root,
        params=params,
        identity=identity,
        dvc_lock_hash=dvc_lock_hash(dvc_lock),
        data_md5=data_digest(dvc_lock),
        report=report,
        training=training,
        history=history,
        scores=scores,
        metrics=metrics,
        headline=describe.headline(scores),
        files=files,
        evaluation=evaluation,
        digest=_digest(files, dvc_lock_hash(dvc_lock), evaluation),
    )


def read_history(path: Path) -> Iterator[Epoch]:
    """Read the epochs of reports/train/history.csv.

    Raises:
        MissingOutput: the file is missing, or a row is not numbers.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                metrics = {name: float(value) for name, value in row.items() if name not in ("epoch", "time") and value}
                yield Epoch(int(float(row["epoch"])), metrics, float(row["time"]))
    except FileNotFoundError:
        raise MissingOutput(f"{path} is missing; run `dvc repro`") from None
    except (KeyError, TypeError, ValueError) as error:
        raise MissingOutput(f"{path} is not a table of epochs: {error}; run `dvc repro --force train`") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that a stage wrote.

    Raises:
        MissingOutput: the file is missing, or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingOutput(f"{path} is missing; run `dvc repro` in the repository's root") from None
    except ValueError as error:
        raise MissingOutput(f"{path} is not JSON: {error}; run `dvc repro`") from None
    if not isinstance(value, dict):
        raise MissingOutput(f"{path}: expected a JSON object; run `dvc repro`")
    return value


def _numbers(scores: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield every finite number with its name in MLflow; that of a class is `per_class/recall_disgust`."""
    for key, value in scores.items():
        if key == "per_class" and isinstance(value, dict):
            for name, measures in value.items():
                yield from ((f"per_class/{measure}_{name}", number) for measure, number in _numbers(measures))
        elif isinstance(value, dict):
            yield from ((f"{key}_{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, list) and len(value) == 2:
            yield from ((f"{key}_{end}", number) for end, number in _numbers({"low": value[0], "high": value[1]}))
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield key, float(value)


def _files(root: Path) -> dict[str, Path]:
    """Return the artifacts of a run. Figures that show faces of the data set are left out: only numbers are logged."""
    files = {name: root / path for name, path in FILES.items()}
    for stage in _FIGURES:
        for figure in sorted((root / "reports" / stage).glob("*.png")):
            if not any(word in figure.stem.lower() for word in _FACE_WORDS):
                files[f"figures/{stage}/{figure.name}"] = figure
    for result in sorted((root / "reports/validate").glob("*/validation.json")):
        files[f"validation/{result.parent.name}.json"] = result
    return {name: path for name, path in files.items() if path.is_file()}


def _digest(files: Mapping[str, Path], own_hash: str, evaluation: Mapping[str, Any]) -> str:
    """Return the hash of everything that is attached to a run after its training."""
    parts = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name != _DVC_LOCK}
    parts |= {_DVC_LOCK: own_hash, SETTINGS: json.dumps(evaluation, sort_keys=True)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
