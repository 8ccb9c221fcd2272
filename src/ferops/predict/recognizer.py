"""Expressions in pictures: faces are found and cut out on every core, and the network answers many at once."""

import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ferops.data.readers.decoding import LARGEST_PHOTOGRAPH_FILE, decode_photograph
from ferops.data.readers.faces import BadImage
from ferops.labels import NAMES, SIDE
from ferops.predict import detection, networks
from ferops.predict.detection import Picture

SCHEMA: Final = "ferops.prediction/1"

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8]
"""A picture: the path of an image file, the bytes of one, or pixels, uint8 RGB (H, W, 3) or gray (H, W)."""

Box: TypeAlias = tuple[int, int, int, int]

_FACES: Final = 64
"""Faces, or pictures, that are answered at once, unless no more are there yet."""

_AHEAD: Final = 2 * (os.cpu_count() or 1)
"""Pictures that are searched ahead of the one that is answered."""

_LONGEST_SIDE: Final = 32_000  # pixels: OpenCV's warps stop at 32,767


class Explanation(NamedTuple):
    """Where a face speaks for its expression: a Grad-CAM map of its crop, which may be turned.

    Fields:
        corners: of the crop: x and y of the upper left, upper right and lower left one, in pixels, float32 (3, 2).
        heat: rows of the map, which divide the crop evenly, float32 (12, 12) in 0-1.
    """

    corners: detection.Floats
    heat: NDArray[np.float32]


@dataclass(frozen=True)
class Face:
    """A face and its expression.

    Attributes:
        box: left, top, width and height in pixels, inside the picture.
        detector_score: how certain the detector is of the face, 0-1.
        probabilities: of the seven expressions; they sum to 1.
        uncertain: whether the greatest probability is too low to rely on, see `Card.uncertain_below`.
        explanation: where the face speaks for `label`; None unless it was asked for.
    """

    box: Box
    detector_score: float
    probabilities: Mapping[str, float]
    uncertain: bool
    explanation: Explanation | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """Return the most probable expression."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """Return the probability of `label`."""
        return self.probabilities[self.label]


@dataclass(frozen=True)
class Prediction:
    """The faces of a picture.

    Attributes:
        path: of the picture, as it was given; empty for pixels and bytes.
        model: name and digest of the network that answered.
        faces: from left to right; empty where there is none.
        error: why the picture could not be read, empty where it could.
    """

    path: str
    model: str
    faces: tuple[Face, ...] = ()
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the prediction as an object of the schema `ferops.prediction/1`."""
        head = {"schema": SCHEMA, "path": self.path, "model": self.model}
        if self.error:
            return head | {"error": self.error}
        return head | {
            "faces": [
                {
                    "box": list(face.box),
                    "detector_score": round(face.detector_score, 4),
                    "label": face.label,
                    "probability": round(face.probability, 4),
                    "probabilities": {name: round(value, 4) for name, value in face.probabilities.items()},
                    "uncertain": face.uncertain,
                    **(_explanation_as_json(face.explanation) if face.explanation else {}),
                }
                for face in self.faces
            ]
        }


def _explanation_as_json(explanation: Explanation) -> dict[str, Any]:
    rows, corners = explanation.heat.tolist(), explanation.corners.tolist()
    return {
        "crop": [[round(value, 1) for value in corner] for corner in corners],
        "heat": [[round(value, 2) for value in row] for row in rows],
    }


class ExpressionRecognizer:
    """Finds faces in pictures and recognises their expressions, without TensorFlow; thread-safe."""

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        detector: str = "blazeface",
        *,
        tta: bool = False,
        explain: bool = False,
    ) -> None:
        """Load network and detector.

        Args:
            model: an exported or a .keras file, or a registered model, as `networks.load` takes it; by default the
                network that is shipped.
            detector: `blazeface`, `haar`, or `none` for pictures that are faces.
            tta: average the probabilities over each face and its mirror image, at twice the cost.
            explain: give each face an `explanation`, of the face as it is, at twice the cost.

        Raises:
            BadNetwork, UnknownVersion, TrackingUnreachable: of `networks.load`.
            UnknownDetector: there is no such detector.
            NoMaps: explanations are asked of a network that has no Grad-CAM maps.
        """
        self._detector = detection.load(detector)
        self._tta, self._explain = tta, explain
        self.network = networks.load(model)
        if explain:
            self.network.maps(np.zeros((0, SIDE, SIDE), np.uint8))  # says at once that it has none
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata, and of what is refused

    def predict(self, pictures: Source | Iterable[Source]) -> list[Prediction]:
        """Recognise the expressions in one picture or many.

        Returns:
            A prediction for each picture, in order; one that cannot be read has an `error`.
        """
        one = isinstance(pictures, str | os.PathLike | bytes | bytearray | memoryview)
        one = one or (isinstance(pictures, np.ndarray) and pictures.ndim < 4)
        return list(self.stream([pictures] if one else pictures))  # type: ignore[list-item, arg-type]

    def stream(self, pictures: Iterable[Source]) -> Iterator[Prediction]:
        """Recognise as `predict` does, in any number of pictures, a few of which are in memory at a time.

        Each prediction is returned when it is there: faces wait for one another only while more are being found.
        """
        rest = iter(pictures)
        waiting: list[_Found] = []
        with ThreadPoolExecutor() as pool:
            ahead = deque(pool.submit(self._find, picture) for picture in islice(rest, _AHEAD))
            while ahead:
                waiting.append(ahead.popleft().result())
                enough = len(waiting) == _FACES or sum(len(found.crops) for found in waiting) >= _FACES
                if enough or not ahead or not ahead[0].done():
                    yield from self._answers(waiting)
                    waiting = []
                ahead.extend(pool.submit(self._find, picture) for picture in islice(rest, 1))

    def _find(self, source: Source) -> "_Found":
        """Decode a picture, and find and cut out its faces."""
        path = os.fsdecode(source) if isinstance(source, str | os.PathLike) else ""
        try:
            picture = read_picture(source)
        except BadImage as error:
            return _Found(path, [], [], [], [], error.found)
        found = sorted(self._detector.find(picture), key=lambda face: tuple(face.box))
        crops = [detection.cut(picture, face.corners) for face in found]
        boxes, scores = [_inside(face.box, picture) for face in found], [face.score for face in found]
        return _Found(path, boxes, scores, [face.corners for face in found], crops, "")

    def _answers(self, found: list["_Found"]) -> Iterator[Prediction]:
        """Ask the network for all faces at once."""
        crops = [crop for each in found for crop in each.crops]
        cut_out = np.array(crops, np.uint8).reshape(-1, SIDE, SIDE)
        answers = iter(self.network.probabilities(cut_out, tta=self._tta).tolist())
        maps = iter(self.network.maps(cut_out) if self._explain else [])
        for path, boxes, scores, corners, _, error in found:
            faces = []
            for box, score, crop in zip(boxes, scores, corners, strict=True):
                probabilities = dict(zip(NAMES, next(answers), strict=True))
                uncertain = max(probabilities.values()) < self.network.uncertain_below
                explanation = Explanation(crop, next(maps)) if self._explain else None
                faces.append(Face(box, score, probabilities, uncertain, explanation))
            yield Prediction(path, self.network.name, tuple(faces), error)


class _Found(NamedTuple):
    """A picture's faces before the network was asked, or why it cannot be read."""

    path: str
    boxes: list[Box]
    scores: list[float]
    corners: list[detection.Floats]
    crops: list[NDArray[np.uint8]]
    error: str


def read_picture(source: Source) -> Picture:
    """Return a picture as RGB, uint8 (H, W, 3), upright.

    Raises:
        BadImage: it cannot be read, is no image of `FORMATS`, damaged or too large, or of another form.
    """
    picture = _read(source)
    height, width = picture.shape[:2]
    if max(height, width) > _LONGEST_SIDE:
        raise BadImage("picture", f"a picture of {width:,} x {height:,} pixels, more than {_LONGEST_SIDE:,} a side")
    return picture


def _read(source: Source) -> Picture:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.size == 0 or source.shape[2:] not in ((), (3,)) or source.ndim < 2:
            raise BadImage("pixels", f"{source.dtype} {source.shape}, expected uint8 (H, W, 3) or (H, W)")
        return np.ascontiguousarray(source if source.ndim == 3 else source[..., None].repeat(3, axis=2))
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_photograph("picture", bytes(source))
    if not isinstance(source, str | os.PathLike):
        raise BadImage("picture", f"a {type(source).__name__}, expected a path, bytes or an array")
    path = Path(os.fsdecode(source))
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise BadImage(str(path), "no regular file")
        with path.open("rb") as stream:
            return decode_photograph(str(path), stream.read(LARGEST_PHOTOGRAPH_FILE + 1))
    except (OSError, ValueError) as error:  # a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadImage(str(path), reason or "a file that cannot be read") from None


def _inside(box: detection.Floats, picture: Picture) -> Box:
    """Return the part of a box inside its picture: left, top, width and height in whole pixels."""
    height, width = picture.shape[:2]
    left, top = (int(np.clip(np.floor(low), 0, most - 1)) for low, most in zip(box[:2], (width, height), strict=True))
    right, bottom = (int(np.clip(np.ceil(high), 1, most)) for high, most in zip(box[2:], (width, height), strict=True))
    return left, top, max(1, right - left), max(1, bottom - top)
