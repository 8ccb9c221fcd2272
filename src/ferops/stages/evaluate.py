"""Stage `evaluate`: score the chosen network; the only place that opens the test split's labels."""

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
from ferops.data import prepared
from ferops.labels import NAMES
from ferops.model import metrics, plots

METRICS = Path("metrics")
REPORTS = Path("reports/evaluate")
BATCH = 256


def main() -> None:
    """Read models/core.keras and data/prepared; write metrics/, predictions.parquet and reports/evaluate/."""
    params = parameters.load()
    data = prepared.load(Path("data/prepared"))
    core = keras.models.load_model("models/core.keras", compile=False)
    trained_on = set(data.manifest.loc[data.manifest["split"] == "train", "twin_of"].dropna())

    METRICS.mkdir(exist_ok=True)
    REPORTS.mkdir(parents=True, exist_ok=True)
    scored = ["validation", "test"] if params.evaluate.test else ["validation"]
    predictions, scores = [], {}
    for split in scored:
        images, labels = data.split(split)
        probabilities = predict(core, images, split)
        # averaged over each image and its mirror image
        tta = np.mean([probabilities, predict(core, images[:, :, ::-1], f"{split}, mirrored")], axis=0)
        twin = data.manifest[data.rows(split)]["twin_of"].isin(trained_on).to_numpy(bool)
        scores[split] = metrics.evaluate(
            labels, probabilities, twin_in_training=twin, tta=tta, bins=params.evaluate.calibration_bins
        )
        predictions.append(_table(data.manifest[data.rows(split)], probabilities, twin))

    for split, file in (("validation", "val.json"), ("test", "test.json")):
        (METRICS / file).write_text(json.dumps(scores.get(split, {}), indent=2) + "\n", encoding="utf-8")
    pd.concat(predictions, ignore_index=True).to_parquet("predictions.parquet", index=False)
    _report(labels, probabilities, scores[scored[-1]]["ece"], params.evaluate.calibration_bins)


def predict(core: keras.Model, images: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Probabilities (N, 7) of filtered faces (N, 48, 48), behind a progress bar."""
    console = Console()
    batches = range(0, len(images), BATCH)
    bar = track(batches, f"scoring {name}", console=console, transient=True, disable=not console.is_terminal)
    return np.concatenate([core.predict_on_batch(np.ascontiguousarray(images[at : at + BATCH])) for at in bar])


def _table(manifest: pd.DataFrame, probabilities: Any, twin: Any) -> pd.DataFrame:
    """One row an image; its hash tells whether two networks were measured on the same raw images."""
    columns = {name: probabilities[:, code] for code, name in enumerate(NAMES)}
    return manifest[["id", "split", "label", "hash"]].assign(**columns, twin_in_training=twin)


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
