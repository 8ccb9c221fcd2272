"""`ferops export`: a trained network as a .tflite file, checked against the Keras model on the validation split."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ferops.commands.weights_files import load_model
from ferops.data import prepared
from ferops.errors import FeropsError
from ferops.labels import SIDE
from ferops.machine.files import replacing
from ferops.machine.tensorflow import quiet_imports
from ferops.predict import litert
from ferops.predict.networks import Card

_AGREEMENT: Final = 0.999
_CERTAIN: Final = 0.8
"""Accuracy that the answers which are not uncertain have at least."""

_BATCH: Final = 256


class NotExported(FeropsError):
    """The output file cannot have this name, or the exported network answers differently from the Keras model."""


def export(model: Path, out: Path, console: Console) -> None:
    """Export a trained network behind its median filter, with a card of its figures on the validation split.

    Args:
        model: a .keras file, as `train` writes it from data/prepared as it is now.
        out: the .tflite file to write, which must not exist; its card is NAME.json beside it.
        console: where the figures are shown.

    Raises:
        NotAModel: the model cannot be loaded.
        NotExported: the output file cannot have this name, or the exported network differs from the Keras model.
        BadPrepared: data/prepared is missing: `dvc repro preprocess` makes it.
    """
    card_file = out.with_suffix(".json")
    if out.suffix != ".tflite":
        raise NotExported(f"{out}: expected a name that ends in .tflite")
    if existing := next((file for file in (out, card_file) if file.exists()), None):
        raise NotExported(f"{existing} exists and is kept; remove it, or give another name")
    if not model.is_file():
        raise NotExported(f"{model} does not exist; `dvc repro` writes models/core.keras")
    data = prepared.load(Path("data/prepared"))
    faces, labels = data.split("validation")
    if len(faces) == 0:
        raise NotExported("data/prepared has no validation split to compare the networks on")
    with quiet_imports():
        core = load_model(model)
    if tuple(core.input_shape) != (None, SIDE, SIDE):
        raise NotExported(f"{model}: {core.name} does not take faces alone; it cannot be exported")
    with quiet_imports():
        from ferops.model import conversion, serving, weights
    raw = serving.load_raw_model(model, data.report["median_kernel"])
    with replacing(out) as scratch, replacing(card_file) as scratch_card:
        with quiet_imports():  # the converter reports on itself
            conversion.export_litert(raw, scratch)
        content = scratch.read_bytes()
        exported = litert.Network(content)
        with console.status("comparing with the Keras model"):
            # data/prepared is filtered: both networks filter it once more, the core takes it as it is
            ours, expected = (
                _predict(lambda batch: exported.run(batch)[0], faces),
                _predict(raw.predict_on_batch, faces),
            )
            probabilities = _predict(core.predict_on_batch, faces)
        agreement = float((ours.argmax(axis=1) == expected.argmax(axis=1)).mean())
        difference = float(np.abs(ours - expected).max())
        if agreement < _AGREEMENT:
            raise NotExported(
                f"{model}: as .tflite it agrees with itself in {agreement:.2%} of {len(faces):,} faces only"
            )
        correct, certainty = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
        threshold = uncertain_below(correct, certainty)
        certain = certainty >= threshold
        card = Card(
            schema="ferops.card/1",
            network=core.name,
            weights=weights.digest(core),
            sha256=hashlib.sha256(content).hexdigest(),
            split=_split(data.report["dataset"]),
            n=len(faces),
            accuracy=round(float(correct.mean()), 4),
            agreement=round(agreement, 6),
            largest_difference=float(f"{difference:.1e}"),
            uncertain_below=threshold,
            coverage=round(float(certain.mean()), 4),
            accuracy_certain=round(_share(correct[certain]), 4),
        )
        scratch_card.write_text(json.dumps(card.model_dump(by_alias=True), indent=2) + "\n", encoding="utf-8")
    console.out(
        f"written    {out}, {len(content) / 1e6:.1f} MB, and its card {card_file}\n"
        f"agreement  {agreement:.2%} of {len(faces):,} faces of {card.split}, probabilities to {difference:.0e}\n"
        f"accuracy   {card.accuracy:.3f}; uncertain below {threshold:.2f}: the other {card.coverage:.0%} are "
        f"right in {card.accuracy_certain:.0%}",
        highlight=False,
    )


def uncertain_below(correct: NDArray[np.bool_], certainty: NDArray[np.float32]) -> float:
    """Return the lowest threshold, a multiple of 0.05, at which the answers that are as certain are right in 80%.

    Args:
        correct: whether each answer is right, bool (N,).
        certainty: the greatest probability of each, (N,).

    Returns:
        A threshold from 0 to 0.95, the last where none reaches 80%.
    """
    thresholds = [step / 20 for step in range(20)]
    good = (each for each in thresholds if _share(correct[certainty >= each]) >= _CERTAIN)
    return next(good, thresholds[-1])


def _share(correct: NDArray[np.bool_]) -> float:
    return float(correct.mean()) if len(correct) else 0.0


def _predict(
    network: Callable[[NDArray[np.uint8]], NDArray[np.float32]], faces: NDArray[np.uint8]
) -> NDArray[np.float32]:
    return np.concatenate([network(np.array(faces[at : at + _BATCH])) for at in range(0, len(faces), _BATCH)])


def _split(dataset: str) -> str:
    names = {"fer2013": "FER2013's PublicTest", "sample": "the synthetic sample's validation split"}
    return names.get(dataset, "a validation split")
