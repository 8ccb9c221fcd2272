"""Exported networks: a .tflite file with its card beside it, and the one that is shipped."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ferops.errors import FeropsError
from ferops.labels import NAMES, SIDE
from ferops.predict.litert import Network

SHIPPED: Final = Path(__file__).with_name("weights") / "lean_cnn.tflite"
"""The network of weights/ that is most accurate on PublicTest; in the wheel it lies in the package."""

_BATCH: Final = 64

Share = Annotated[float, Field(ge=0, le=1)]


class BadNetwork(FeropsError):
    """A file is no exported network, or its card is missing or of another file."""


class Card(BaseModel):
    """What is known of an exported network; NAME.json beside NAME.tflite.

    Attributes:
        schema: of this card.
        network: name of its system, as `lean_cnn`.
        weights: digest of the weights that it was exported from.
        sha256: of the .tflite file.
        split, n: the images on which the following was measured: FER2013's PublicTest, or the validation split of
            another data set.
        accuracy: of the Keras model, or of its export in 8-bit integers.
        agreement: share of images that the exported network names as the Keras model does.
        largest_difference: of a probability from the Keras model's.
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
    uncertain_below: Share
    coverage: Share
    accuracy_certain: Share


class ExpressionNetwork:
    """An exported network with its card; thread-safe."""

    def __init__(self, path: Path = SHIPPED) -> None:
        """Load a .tflite file that `ferops export` wrote; by default the one that is shipped.

        Raises:
            BadNetwork: there is no such file, it is damaged, or it and its card do not belong together.
        """
        self.card = _card(path)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.card.sha256:
            raise BadNetwork(f"{path}: {path.with_suffix('.json').name} beside it is the card of another file")
        try:
            self._network = Network(content)
            (answers,) = self._network.run(np.zeros((1, SIDE, SIDE), np.uint8))
            fits = answers.shape == (1, len(NAMES))
        except (ValueError, RuntimeError):
            fits = False
        if not fits:
            raise BadNetwork(f"{path} is damaged, or no network from faces to the seven expressions")

    @property
    def name(self) -> str:
        """Return the system and the beginning of the weights' digest, as `lean_cnn/5582fc45e4a3`."""
        return f"{self.card.network}/{self.card.weights[:12]}"

    def probabilities(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of the seven expressions, float32 (N, 7), of faces, uint8 (N, 48, 48)."""
        batches = [self._network.run(faces[at : at + _BATCH])[0] for at in range(0, len(faces), _BATCH)]
        return np.concatenate([np.empty((0, len(NAMES)), np.float32), *batches])


def _card(path: Path) -> Card:
    if path.suffix != ".tflite":
        raise BadNetwork(f"{path}: expected a .tflite file; `ferops export {path} NAME.tflite` writes one")
    if not path.is_file():
        raise BadNetwork(f"{path} does not exist; `ferops export` writes an exported network")
    beside = path.with_suffix(".json")
    try:
        return Card.model_validate(json.loads(beside.read_text(encoding="utf-8")))
    except OSError:
        raise BadNetwork(f"{beside} is missing; `ferops export` writes it beside the network") from None
    except ValueError:  # no JSON, or pydantic's
        raise BadNetwork(f"{beside} is no card that `ferops export` wrote") from None
