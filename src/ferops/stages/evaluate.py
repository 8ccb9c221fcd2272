"""Stage `evaluate`: score the trained network; the only stage that scores the test split and extra sets."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ferops import params as parameters
from ferops.data import filters, prepared
from ferops.data.views import views
from ferops.labels import NAMES
from ferops.model import metrics, plots
from ferops.model.networks import descriptors

METRICS = Path("metrics")
REPORTS = Path("reports/evaluate")
BATCH = 256


def main() -> None:
    """Read models/core.keras, data/prepared and data/extra; write metrics/, predictions.parquet, reports/evaluate/."""
    params = parameters.load()
    data = prepared.load(Path("data/prepared"))
    core = keras.models.load_model("models/core.keras", compile=False)
    trained_on = set(data.manifest.loc[data.manifest["split"] == "train", "duplicate_of"].dropna())

    METRICS.mkdir(exist_ok=True)
    REPORTS.mkdir(parents=True, exist_ok=True)
    predictions, scores = [], {}
    for split in ("validation", "test") if params.evaluate.test else ("validation",):
        manifest = data.manifest[data.rows(split)]
        is_duplicate = manifest["duplicate_of"].isin(trained_on).to_numpy(bool)
        probabilities, scores[split] = _score(core, data.split(split), is_duplicate, split, params.evaluate)
        columns = {name: probabilities[:, code] for code, name in enumerate(NAMES)}
        # the hashes tell whether two networks were scored on the same raw images
        rows = manifest[["id", "split", "label", "hash"]].assign(**columns, duplicate_in_train=is_duplicate)
        predictions.append(rows)

    extra = _extra(core, data.report["median_kernel"], params.evaluate) if params.evaluate.test else {}
    for file, figures in {"val": scores["validation"], "test": scores.get("test", {}), "extra": extra}.items():
        (METRICS / f"{file}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    pd.concat(predictions, ignore_index=True).to_parquet("predictions.parquet", index=False)
    _report(data.split(split)[1], probabilities, scores[split]["ece"], params.evaluate.calibration_bins)


def predict(core: keras.Model, images: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Predict probabilities (N, 7) of filtered faces (N, 48, 48), with a progress bar."""
    starts = track(range(0, len(images), BATCH), f"scoring {name}", transient=True, disable=not Console().is_terminal)
    faces = (np.ascontiguousarray(images[at : at + BATCH]) for at in starts)
    return np.concatenate([core.predict_on_batch(descriptors.inputs(core, batch)) for batch in faces])


def _score(
    core: keras.Model, faces: prepared.Split, is_duplicate: NDArray[np.bool_], name: str, settings: parameters.Evaluate
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Predict probabilities (N, 7) of filtered faces (N, 48, 48), and compute their metrics."""
    by_view = [predict(core, view, name) for view in views(faces[0], settings.tta)]
    tta, bins = np.mean(by_view, axis=0), settings.calibration_bins
    return by_view[0], metrics.evaluate(faces[1], by_view[0], duplicate_in_train=is_duplicate, tta=tta, bins=bins)


def _extra(core: keras.Model, kernel: int, settings: parameters.Evaluate) -> dict[str, Any]:
    """Score each set in data/extra, its faces filtered like the training images.

    The sets are independent of FER2013: no image has a duplicate in training.
    """
    scores = {}
    for folder in sorted(path for path in Path("data/extra").glob("[!.]*") if path.is_dir()):
        images, labels = prepared.load(folder).split("test")
        faces = filters.median(images, kernel), labels
        _, scores[folder.name] = _score(core, faces, np.zeros(len(labels), np.bool_), folder.name, settings)
    return scores


def _report(labels: Any, probabilities: Any, ece: float, bins: int) -> None:
    """Write confusion matrix, per-class metrics and reliability curve of the last scored split, as CSV and PNG."""
    predicted = probabilities.argmax(axis=1)
    named = pd.DataFrame({"actual": np.take(NAMES, labels), "predicted": np.take(NAMES, predicted)})
    named.to_csv(REPORTS / "confusion.csv", index=False)
    counts = metrics.confusion(labels, predicted)
    plots.confusion(REPORTS / "confusion.png", counts, normalised=False)
    plots.confusion(REPORTS / "confusion_normalised.png", counts, normalised=True)
    metrics.by_class(labels, predicted).to_csv(REPORTS / "per_class.csv")
    curve = metrics.reliability(labels, probabilities, bins)
    curve.to_csv(REPORTS / "reliability.csv", index=False)
    plots.reliability(REPORTS / "reliability.png", curve, ece)
