"""Exported networks: a file which answers without Keras, mostly for LiteRT, and the card of its figures beside it."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ferops.errors import FeropsError
from ferops.model.serving.batches import in_batches

if TYPE_CHECKING:
    import keras

_AGREEMENT: Final = 0.999

_LOST: Final = 0.005
"""Accuracy that 8-bit integers may cost."""

_SAMPLES: Final = 200
"""Training images on which the ranges of these integers are measured."""

_SPLITS: Final = {"fer2013": "FER2013's PublicTest", "sample": "the synthetic sample's validation split"}

Share = Annotated[float, Field(ge=0, le=1)]


class NotExported(FeropsError):
    """An exported network would answer differently from its Keras model, or its file cannot have this name."""


class Card(BaseModel):
    """What is known of an exported network; NAME.json beside NAME.tflite, NAME.onnx or the folder NAME.

    Attributes:
        schema: of this card.
        network: name of its system, as `lean_cnn`.
        weights: digest of the weights that it was exported from.
        sha256: of the file, or of a SavedModel's graph.
        split, n: the images on which the following was measured: FER2013's PublicTest, or the validation split of
            another data set.
        accuracy: of the Keras model; in 8-bit integers that of the export, without its median filter: the faces had it.
        agreement: share of images that the exported network names as the Keras model does.
        largest_difference: of a probability from the Keras model's.
        temperature: that calibrates its probabilities, in its graph.
        uncertain_below: an answer whose probability is lower is uncertain.
        coverage, accuracy_certain: share of answers that are not, and their accuracy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_: Literal["ferops.card/1"] = Field("ferops.card/1", alias="schema")
    network: str = Field(pattern=r"^\w+$")
    weights: str = Field(pattern="^[0-9a-f]{64}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    split: str = Field(pattern=r"^[\w' ]+$")
    n: int = Field(gt=0)
    accuracy: Share
    agreement: Share
    largest_difference: Share
    temperature: float = Field(gt=0)
    uncertain_below: Share
    coverage: Share
    accuracy_certain: Share


def card_file(network: Path) -> Path:
    """Return the path of the card of an exported network."""
    return network.with_name(f"{network.name.removesuffix('.tflite').removesuffix('.onnx')}.json")


def export(
    core: "keras.Model",
    faces: NDArray[np.uint8],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    out: Path,
    *,
    temperature: float,
    report: Mapping[str, Any],
    uncertain_below: float,
    int8: NDArray[np.uint8] | None = None,
) -> Card:
    """Export a trained core between its median filter and its temperature, compared with the Keras model.

    A second output of a .tflite file are its Grad-CAM maps, but for networks that have none and in 8-bit integers.

    Args:
        core: from filtered uint8 faces (N, 48, 48) to probabilities (N, 7).
        faces: of the validation split, as they are prepared, uint8 (N, 48, 48).
        labels: of these faces, codes 0-6, int64 (N,).
        probabilities: the core's answers to them, (N, 7).
        out: what to write, as `conversion.export` takes it; its card is written beside it.
        temperature: of `calibration.fit_temperature` on these answers.
        report: data/prepared/report.json.
        uncertain_below: an answer with a lower probability is uncertain.
        int8: training images, for convolutions in 8-bit integers.

    Raises:
        NotExported: the two networks do not agree in 99.9% of the faces, or 8-bit integers cost more than half a point
            of accuracy.
        MissingPackage: of `conversion.export`.
    """
    import keras

    from ferops.model import calibration, conversion, gradcam, weights
    from ferops.model.serving.graph import raw_model

    network = core
    if out.suffix == ".tflite" and int8 is None:
        with suppress(gradcam.NotExplainable):
            network = gradcam.explained(core)
    raw = raw_model(network, report["median_kernel"], temperature)
    # the prepared faces are filtered: both networks filter them once more
    expected = in_batches(lambda batch: keras.tree.flatten(raw.predict_on_batch(batch))[0], faces)
    samples = None if int8 is None else int8[:: 1 + len(int8) // _SAMPLES]
    ours = in_batches(conversion.export(raw, out, samples), faces)
    agreement = float((ours.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if int8 is None:
        calibrated = calibration.calibrate(probabilities, temperature)
    elif report["median_kernel"] == 1:
        calibrated = ours
    else:
        with TemporaryDirectory() as scratch:
            answer = conversion.export(raw_model(core, 1, temperature), Path(scratch) / "core.tflite", samples)
        calibrated = in_batches(answer, faces)
    before, after = (float((each.argmax(axis=1) == labels).mean()) for each in (probabilities, calibrated))
    if agreement < _AGREEMENT if int8 is None else before - after > _LOST:
        raise NotExported(
            f"exported{'' if int8 is None else ' in 8-bit integers'}, {core.name} agrees with itself in "
            f"{agreement:.2%} of {len(faces):,} faces only; accuracy {before:.3f} would be {after:.3f}"
        )
    coverage, accuracy_certain = calibration.certainty(labels, calibrated, uncertain_below)
    card = Card(
        schema="ferops.card/1",
        network=core.name,
        weights=weights.digest(core),
        sha256=hashlib.sha256((out / "saved_model.pb" if out.is_dir() else out).read_bytes()).hexdigest(),
        split=_SPLITS.get(report["dataset"], "a validation split"),
        n=len(faces),
        accuracy=round(float((calibrated.argmax(axis=1) == labels).mean()), 4),
        agreement=round(agreement, 6),
        largest_difference=float(f"{np.abs(ours - expected).max():.1e}"),
        temperature=temperature,
        uncertain_below=uncertain_below,
        coverage=round(coverage, 4),
        accuracy_certain=round(accuracy_certain, 4),
    )
    card_file(out).write_text(json.dumps(card.model_dump(by_alias=True), indent=2) + "\n", encoding="utf-8")
    return card
