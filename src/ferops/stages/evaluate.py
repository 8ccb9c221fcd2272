"""Stage `evaluate`: score, calibrate and export the trained network; it alone scores the test split and extra sets."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops import params as parameters
from ferops.data import pictures, prepared
from ferops.data.preprocessing import filters
from ferops.data.views import views
from ferops.labels import NAMES
from ferops.model import calibration, gradcam, metrics, plots
from ferops.model.networks import descriptors
from ferops.model.serving import exported
from ferops.model.serving.batches import in_batches

METRICS = Path("metrics")
REPORTS = Path("reports/evaluate")
FACES = Path("reports/evaluate_faces")
"""Out of git: it shows faces of the data set."""

EXPORTED = Path("models/exported")


def main() -> None:
    """Read models/core.keras and the data; write metrics/, predictions.parquet, models/exported/ and the reports."""
    params = parameters.load()
    data, settings = prepared.load(Path("data/prepared")), params.evaluate
    core = keras.models.load_model("models/core.keras", compile=False)
    trained_on = set(data.manifest.loc[data.manifest["split"] == "train", "duplicate_of"].dropna())

    for folder in (METRICS, REPORTS, EXPORTED):
        folder.mkdir(parents=True, exist_ok=True)
    splits = ("validation", "test") if settings.test else ("validation",)
    answers = {split: _predict_views(core, data.split(split)[0], split, settings.tta) for split in splits}
    faces, labels = data.split("validation")
    probabilities, _ = answers["validation"]
    temperature = calibration.fit_temperature(labels, probabilities)
    _show_faces(core, faces, labels, calibration.calibrate(probabilities, temperature))
    if descriptors.is_served(core) and keras.backend.backend() == "tensorflow":  # jax and torch cannot export
        exported.export(
            core, faces, labels, probabilities, EXPORTED / "network.tflite",
            temperature=temperature, report=data.report, uncertain_below=settings.uncertain_below,
        )  # fmt: skip

    predictions, scores, certain = [], {}, {}
    for split, (probabilities, tta) in answers.items():
        manifest, (_, labels) = data.manifest[data.rows(split)], data.split(split)
        is_duplicate = manifest["duplicate_of"].isin(trained_on).to_numpy(bool)
        scores[split] = metrics.evaluate(
            labels, probabilities, tta=tta, duplicate_in_train=is_duplicate, bins=settings.calibration_bins,
            temperature=temperature,
        )  # fmt: skip
        calibrated = calibration.calibrate(probabilities, temperature)
        certain[split] = calibration.certainty(labels, calibrated, settings.uncertain_below)._asdict()
        columns = {name: probabilities[:, code] for code, name in enumerate(NAMES)}
        # the hashes tell whether two networks were scored on the same raw images
        rows = manifest[["id", "split", "label", "hash"]].assign(**columns, duplicate_in_train=is_duplicate)
        predictions.append(rows)

    figures = {
        "val": scores["validation"],
        "test": scores.get("test", {}),
        "extra": _extra(core, data.report["median_kernel"], settings, temperature) if settings.test else {},
        "calibration": {"temperature": temperature, "uncertain_below": settings.uncertain_below, **certain},
    }
    for file, values in figures.items():
        (METRICS / f"{file}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    pd.concat(predictions, ignore_index=True).to_parquet("predictions.parquet", index=False)
    _report(labels, probabilities, scores[split]["ece"], settings.calibration_bins)


def _predict_views(
    core: keras.Model, faces: NDArray[np.uint8], name: str, how: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict probabilities (N, 7) of filtered faces (N, 48, 48), as they are and averaged over their views."""

    def answer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        inputs = (descriptors.inputs(core, np.ascontiguousarray(view)) for view in views(batch, how))
        by_view = [core.predict_on_batch(each) for each in inputs]
        return np.stack([by_view[0], np.mean(by_view, axis=0)], axis=1)

    answers = in_batches(answer, faces, f"scoring {name}")
    return answers[:, 0], answers[:, 1]


def _extra(core: keras.Model, kernel: int, settings: parameters.Evaluate, temperature: float) -> dict[str, Any]:
    """Score each set in data/extra, its faces filtered like the training images.

    The sets are independent of FER2013: no image has a duplicate in training.
    """
    scores = {}
    for folder in sorted(path for path in Path("data/extra").glob("[!.]*") if path.is_dir()):
        images, labels = prepared.load(folder).split("test")
        probabilities, tta = _predict_views(core, filters.median(images, kernel), folder.name, settings.tta)
        scores[folder.name] = metrics.evaluate(
            labels, probabilities, tta=tta, duplicate_in_train=np.zeros(len(labels), np.bool_),
            bins=settings.calibration_bins, temperature=temperature,
        )  # fmt: skip
    return scores


def _show_faces(
    core: keras.Model, faces: NDArray[np.uint8], labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> None:
    """Write sheets of the most confident mistakes and, with Grad-CAM maps, of right answers."""
    pictures.save_png(FACES / "mistakes.png", pictures.mistakes_sheet(faces, labels, probabilities))
    chosen = pictures.examples(labels, probabilities)
    try:
        maps = keras.ops.convert_to_numpy(gradcam.explained(core)(faces[chosen])[1])
        sheet = pictures.explanations_sheet(faces[chosen], labels[chosen], maps)
    except gradcam.NotExplainable as error:
        sheet = pictures.titled(str(error))
    pictures.save_png(FACES / "gradcam.png", sheet)


def _report(labels: Any, probabilities: Any, ece: float, bins: int) -> None:
    """Write confusion matrix, per-class metrics and reliability curve of the last scored split, as CSV and PNG."""
    predicted = probabilities.argmax(axis=1)
    named = pd.DataFrame({"actual": np.take(NAMES, labels), "predicted": np.take(NAMES, predicted)})
    named.to_csv(REPORTS / "confusion.csv", index=False)
    counts = metrics.confusion(labels, predicted)
    plots.confusion(REPORTS / "confusion.png", counts, normalised=False)
    plots.confusion(REPORTS / "confusion_normalised.png", counts, normalised=True)
    metrics.by_class(labels, predicted).to_csv(REPORTS / "per_class.csv")
    curve = calibration.reliability(labels, probabilities, bins)
    curve.to_csv(REPORTS / "reliability.csv", index=False)
    plots.reliability(REPORTS / "reliability.png", curve, ece)
