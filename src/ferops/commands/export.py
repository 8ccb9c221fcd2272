"""`ferops export`: a trained network for LiteRT, ONNX or TensorFlow, checked against Keras on the validation split."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

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

_LOST: Final = 0.005
"""Accuracy that a network in 8-bit integers may lose."""

_SAMPLES: Final = 200
"""Training images on which the ranges of these integers are measured."""

_BATCH: Final = 256

_Run: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From faces, uint8 (N, 48, 48), to probabilities, float32 (N, 7)."""


class NotExported(FeropsError):
    """The output cannot have this name, or the exported network answers differently from the Keras model."""


def export(model: Path, out: Path, console: Console, *, int8: bool = False) -> None:
    """Export a trained network behind its median filter.

    Args:
        model: a .keras file, as `train` writes it from data/prepared as it is now.
        out: what to write, which must not exist: NAME.tflite, with a card of its figures on the validation split beside
            it, NAME.json; NAME.onnx; or NAME, a folder with a SavedModel of TensorFlow.
        console: where the figures are shown.
        int8: convolutions in 8-bit integers, in a .tflite file.

    Raises:
        NotAModel: the model cannot be loaded.
        NotExported: the output cannot have this name, its format needs a package that is not installed, or the exported
            network differs from the Keras model.
        BadPrepared: data/prepared is missing: `dvc repro preprocess` makes it.
    """
    if out.suffix not in (".tflite", ".onnx", ""):
        raise NotExported(f"{out}: expected NAME.tflite, NAME.onnx, or NAME for the folder of a SavedModel")
    if int8 and out.suffix != ".tflite":
        raise NotExported(f"{out}: 8-bit integers are for a .tflite file")
    files = (out, out.with_suffix(".json")) if out.suffix == ".tflite" else (out,)
    if existing := next((file for file in files if file.exists()), None):
        raise NotExported(f"{existing} exists and is kept; remove it, or give another name")
    if not model.is_file():
        raise NotExported(f"{model} does not exist; `dvc repro` writes models/core.keras")
    data = prepared.load(Path("data/prepared"))
    faces, labels = data.split("validation")
    if len(faces) == 0:
        raise NotExported("data/prepared has no validation split to compare the networks on")
    split = _split(data.report["dataset"])
    with quiet_imports():
        core = load_model(model)
    if tuple(core.input_shape) != (None, SIDE, SIDE):
        raise NotExported(f"{model}: {core.name} does not take faces alone; it cannot be exported")
    with quiet_imports():
        from ferops.model import serving, weights
    raw = serving.load_raw_model(model, data.report["median_kernel"])
    with console.status("comparing with the Keras model"), replacing(out) as scratch:
        # data/prepared is filtered: both networks filter it once more, the core takes it as it is
        expected = _predict(raw.predict_on_batch, faces)
        with quiet_imports():  # the converters report on themselves
            run = _write(raw, scratch, data.split("training")[0] if int8 else None)
        ours = _predict(run, faces)
        agreement = float((ours.argmax(axis=1) == expected.argmax(axis=1)).mean())
        difference = float(np.abs(ours - expected).max())
        before, after = (_share(each.argmax(axis=1) == labels) for each in (expected, ours))
        found = f"{agreement:.2%} of {len(faces):,} faces of {split}"
        if before - after > _LOST if int8 else agreement < _AGREEMENT:
            raise NotExported(
                f"{model}: as {out.name}{' in 8-bit integers' if int8 else ''} it agrees with itself in {found} only, "
                f"and its accuracy is {after:.3f} instead of {before:.3f}"
            )
        console.out(f"agreement  {found}, probabilities to {difference:.0e}", highlight=False)
        if out.suffix != ".tflite":
            console.out(f"accuracy   {after:.3f}\nwritten    {out}", highlight=False)
            return
        content, probabilities = scratch.read_bytes(), ours if int8 else _predict(core.predict_on_batch, faces)
        correct, certainty = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
        threshold = uncertain_below(correct, certainty)
        certain = certainty >= threshold
        card = Card(
            schema="ferops.card/1",
            network=core.name,
            weights=weights.digest(core),
            sha256=hashlib.sha256(content).hexdigest(),
            split=split,
            n=len(faces),
            accuracy=round(float(correct.mean()), 4),
            agreement=round(agreement, 6),
            largest_difference=float(f"{difference:.1e}"),
            uncertain_below=threshold,
            coverage=round(float(certain.mean()), 4),
            accuracy_certain=round(_share(correct[certain]), 4),
        )
        with replacing(files[-1]) as scratch_card:
            text = json.dumps(card.model_dump(by_alias=True), indent=2) + "\n"
            scratch_card.write_text(text, encoding="utf-8")
    console.out(
        f"accuracy   {card.accuracy:.3f}; uncertain below {threshold:.2f}: the other {card.coverage:.0%} are "
        f"right in {card.accuracy_certain:.0%}\n"
        f"written    {out}, {len(content) / 1e6:.1f} MB, and its card {files[-1]}",
        highlight=False,
    )


def _write(raw: Any, out: Path, training: NDArray[np.uint8] | None) -> _Run:
    """Write a network in the format that the name tells.

    Args:
        raw: from raw uint8 faces to probabilities; called before.
        out: a .tflite or .onnx file, or a folder.
        training: faces for 8-bit integers in a .tflite file.

    Returns:
        What runs the network in that format.

    Raises:
        NotExported: the format needs a package that is not installed.
    """
    import keras

    from ferops.model import conversion

    if out.suffix == ".tflite":
        conversion.export_litert(raw, out, training if training is None else training[:: 1 + len(training) // _SAMPLES])
        network = litert.Network(out.read_bytes())
        return lambda batch: network.run(batch)[0]
    if out.suffix == ".onnx":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it looks up hosts when it is imported
        try:
            import onnxruntime
            import tf2onnx  # noqa: F401  # Keras imports it, and has another way out
        except ModuleNotFoundError as error:
            raise NotExported(f"{error.name} is not installed: `pip install 'ferops[onnx]'`") from None
        raw.export(out, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        (faces,) = session.get_inputs()
        return lambda batch: session.run(None, {faces.name: batch})[0]
    raw.export(out, format="tf_saved_model", verbose=False)
    saved = keras.layers.TFSMLayer(out)
    return lambda batch: np.asarray(saved(batch))


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


def _predict(network: _Run, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([network(np.array(faces[at : at + _BATCH])) for at in range(0, len(faces), _BATCH)])


def _split(dataset: str) -> str:
    names = {"fer2013": "FER2013's PublicTest", "sample": "the synthetic sample's validation split"}
    return names.get(dataset, "a validation split")
