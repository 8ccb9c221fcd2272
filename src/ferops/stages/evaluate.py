"""Stage `evaluate`: score the chosen network; the only place that opens the labels of the test split and extra sets."""

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

EXTRA = Path("data/extra")
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
    scored = ["validation", "test"] if params.evaluate.test else ["validation"]
    predictions, scores = [], {}
    for split in scored:
        images, labels = data.split(split)
        duplicate = data.manifest[data.rows(split)]["duplicate_of"].isin(trained_on).to_numpy(bool)
        probabilities, scores[split] = _score(core, images, labels, duplicate, split, params.evaluate)
        predictions.append(_table(data.manifest[data.rows(split)], probabilities, duplicate))

    extra = _extra(core, data.report["median_kernel"], params.evaluate) if params.evaluate.test else {}
    for figures, file in (
        (scores.get("validation", {}), "val.json"),
        (scores.get("test", {}), "test.json"),
        (extra, "extra.json"),
    ):
        (METRICS / file).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    pd.concat(predictions, ignore_index=True).to_parquet("predictions.parquet", index=False)
    _report(labels, probabilities, scores[scored[-1]]["ece"], params.evaluate.calibration_bins)


def predict(core: keras.Model, images: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Probabilities (N, 7) of filtered faces (N, 48, 48), behind a progress bar."""
    console = Console()
    batches = range(0, len(images), BATCH)
    bar = track(batches, f"scoring {name}", console=console, transient=True, disable=not console.is_terminal)
    faces = (np.ascontiguousarray(images[at : at + BATCH]) for at in bar)
    return np.concatenate([core.predict_on_batch(descriptors.inputs(core, batch)) for batch in faces])


def _score(
    core: keras.Model,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    duplicate: NDArray[np.bool_],
    name: str,
    settings: parameters.Evaluate,
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Probabilities (N, 7) of filtered faces (N, 48, 48), and every figure of them."""
    seen = [predict(core, view, name) for view in views(images, settings.tta)]
    tta = np.mean(seen, axis=0)
    return seen[0], metrics.evaluate(
        labels, seen[0], duplicate_in_train=duplicate, tta=tta, bins=settings.calibration_bins
    )


def _extra(core: keras.Model, kernel: int, settings: parameters.Evaluate) -> dict[str, Any]:
    """Figures of each set in data/extra, its faces filtered as those that were trained on.

    They were made apart from FER2013: no image has a duplicate in training. A class that a set lacks is not in its
    macro averages; to predict it is a miss.
    """
    scores = {}
    for folder in sorted(path for path in EXTRA.glob("[!.]*") if path.is_dir()):
        images, labels = prepared.load(folder).split("test")
        alone = np.zeros(len(labels), np.bool_)
        _, figures = _score(core, filters.median(images, kernel), labels, alone, folder.name, settings)
        has = [row for row in figures["per_class"].values() if row["support"]]
        macro = {key: float(np.mean([row[key] for row in has])) for key in has[0] if key != "support"}
        scores[folder.name] = figures | {f"{key}_macro": value for key, value in macro.items()}
    return scores


def _table(manifest: pd.DataFrame, probabilities: Any, duplicate: Any) -> pd.DataFrame:
    """One row an image; its hash tells whether two networks were measured on the same raw images."""
    columns = {name: probabilities[:, code] for code, name in enumerate(NAMES)}
    return manifest[["id", "split", "label", "hash"]].assign(**columns, duplicate_in_train=duplicate)


def _report(labels: Any, probabilities: Any, ece: float, bins: int) -> None:
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
