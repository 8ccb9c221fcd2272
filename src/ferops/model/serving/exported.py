"""Exported networks: a .tflite file, which answers without Keras, and the card of its figures beside it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ferops.errors import FeropsError
from ferops.model.serving import litert

if TYPE_CHECKING:
    import keras

_AGREEMENT: Final = 0.999
_BATCH: Final = 256
_SPLITS: Final = {"fer2013": "FER2013's PublicTest", "sample": "the synthetic sample's validation split"}

Share = Annotated[float, Field(ge=0, le=1)]


class NotExported(FeropsError):
    """An exported network would answer differently from its Keras model, or its file cannot have this name."""


class Card(BaseModel):
    """What is known of an exported network; NAME.json beside NAME.tflite.

    Attributes:
        schema: of this card.
        network: name of its system, as `lean_cnn`.
        weights: digest of the weights that it was exported from.
        sha256: of the .tflite file.
        split, n: the images on which the following was measured: FER2013's PublicTest, or the validation split of
            another data set.
        accuracy: of the Keras model.
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
    return network.with_suffix(".json")


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
) -> Card:
    """Export a trained core between its median filter and its temperature, compared with the Keras model.

    A second output of the .tflite file are its Grad-CAM maps.

    Args:
        core: from filtered uint8 faces (N, 48, 48) to probabilities (N, 7).
        faces: of the validation split, as they are prepared, uint8 (N, 48, 48).
        labels: of these faces, codes 0-6, int64 (N,).
        probabilities: the core's answers to them, (N, 7).
        out: the .tflite file to write; its card is written beside it.
        temperature: of `calibration.fit_temperature` on these answers.
        report: data/prepared/report.json.
        uncertain_below: an answer with a lower probability is uncertain.

    Raises:
        NotExplainable: of `gradcam.explained`.
        NotExported: the two networks do not agree in 99.9% of the faces; nothing is written.
    """
    from ferops.model import calibration, conversion, weights
    from ferops.model.serving.graph import raw_model

    raw = raw_model(core, report["median_kernel"], temperature, explained=True)
    conversion.export_litert(raw, out)
    content = out.read_bytes()
    network = litert.Network(content)
    # the prepared faces are filtered: both networks filter them once more
    ours = _probabilities(lambda batch: answers(network, batch), faces)
    expected = _probabilities(raw.predict_on_batch, faces)
    agreement = float((ours.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if agreement < _AGREEMENT:
        out.unlink()
        raise NotExported(f"exported, {core.name} agrees with itself in {agreement:.2%} of {len(faces):,} faces only")
    calibrated = calibration.calibrate(probabilities, temperature)
    coverage, accuracy_certain = calibration.certainty(labels, calibrated, uncertain_below)
    card = Card(
        schema="ferops.card/1",
        network=core.name,
        weights=weights.digest(core),
        sha256=hashlib.sha256(content).hexdigest(),
        split=_SPLITS.get(report["dataset"], "a validation split"),
        n=len(faces),
        accuracy=round(float((probabilities.argmax(axis=1) == labels).mean()), 4),
        agreement=round(agreement, 6),
        largest_difference=float(f"{np.abs(ours - expected).max():.1e}"),
        temperature=temperature,
        uncertain_below=uncertain_below,
        coverage=round(coverage, 4),
        accuracy_certain=round(accuracy_certain, 4),
    )
    card_file(out).write_text(json.dumps(card.model_dump(by_alias=True), indent=2) + "\n", encoding="utf-8")
    return card


def answers(network: litert.Network, faces: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return an exported network's probabilities (N, 7) and Grad-CAM maps (N, 12, 12); earlier exports have no maps."""
    return sorted(network.run(faces), key=np.ndim)  # LiteRT gives them in any order


def _probabilities(network: Callable[[NDArray[np.uint8]], Any], faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([network(np.array(faces[at : at + _BATCH]))[0] for at in range(0, len(faces), _BATCH)])
