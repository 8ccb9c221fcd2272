"""Expressions in pictures: faces are found and cut out on every core, and the network answers many at once."""

import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ferops.data.readers.decoding import LARGEST_PHOTOGRAPH_FILE, decode_photograph, from_pillow
from ferops.data.readers.faces import BadImage
from ferops.labels import NAMES, SIDE
from ferops.predict import detection, detectors, networks
from ferops.predict.detection import Picture

SCHEMA: Final = "ferops.prediction/1"

Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]
"""A picture: the path of an image file, the bytes of one, Pillow's, or pixels, uint8 RGB (H, W, 3) or gray (H, W);
whatever NumPy makes an array of, as a tensor, is pixels too."""

Box: TypeAlias = tuple[int, int, int, int]

_FACES: Final = 64
"""Faces from which on no further picture's are added to a batch."""

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
        frame, seconds: of a frame of a video: its number, from 0, and its time; of a camera, since it was opened.
        picture: decoded, where `stream` was asked to keep it.
    """

    path: str
    model: str
    faces: tuple[Face, ...] = ()
    error: str = ""
    frame: int | None = None
    seconds: float | None = None
    picture: Picture | None = field(default=None, repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the prediction as an object of the schema `ferops.prediction/1`."""
        head: dict[str, Any] = {"schema": SCHEMA, "path": self.path}
        if self.frame is not None:
            head |= {"frame": self.frame, "seconds": self.seconds}
        head |= {"model": self.model}
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
            detector: `blazeface`, `mtcnn`, `haar`, or `none` for pictures that are faces.
            tta: average the probabilities over each face and its mirror image, at twice the cost.
            explain: give each face an `explanation`, of the face as it is, at twice the cost.

        Raises:
            BadNetwork, UnknownVersion, TrackingUnreachable: of `networks.load`.
            UnknownDetector, MissingPackage: of `detectors.load`.
            NoMaps: explanations are asked of a network that has no Grad-CAM maps.
        """
        self._detector = detectors.load(detector)
        self._tta, self._explain = tta, explain
        self.network = networks.load(model)
        self._searching, self._answering = ThreadPoolExecutor(os.cpu_count()), ThreadPoolExecutor(1)
        self._waiting: SimpleQueue[tuple[_Found, Future[Prediction]]] = SimpleQueue()
        if explain:
            self.network.maps(np.zeros((0, SIDE, SIDE), np.uint8))  # says at once that it has none
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata, and of what is refused

    def predict(self, pictures: Source | Iterable[Source]) -> list[Prediction]:
        """Recognise the expressions in one picture or many.

        Returns:
            A prediction for each picture, in order; one that cannot be read has an `error`.
        """
        one = isinstance(pictures, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)
        one = one or (hasattr(pictures, "__array__") and np.asarray(pictures).ndim < 4)
        return list(self.stream([pictures] if one else pictures))  # type: ignore[list-item, arg-type]

    def stream(self, pictures: Iterable[Source], *, keep: bool = False) -> Iterator[Prediction]:
        """Recognise as `predict` does, in any number of pictures, a few of which are in memory at a time.

        Each prediction is returned when it is there, in order; where asked to, with its picture as it was decoded.
        """
        rest = iter(pictures)
        ahead = deque(self.submit(picture, keep=keep) for picture in islice(rest, _AHEAD))
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(self.submit(picture, keep=keep) for picture in islice(rest, 1))
        finally:
            for answer in ahead:
                answer.cancel()

    def submit(self, picture: Source, *, keep: bool = False) -> Future[Prediction]:
        """Recognise the expressions in a picture, in the background; until its turn comes it can be cancelled.

        The network is asked at once for all faces that were found while it was busy, of whatever picture.
        """
        answer: Future[Prediction] = Future()
        held = [picture]
        answer.add_done_callback(lambda _: held.clear())  # one that is cancelled takes no memory until its turn
        self._searching.submit(self._search, held, answer, keep)
        return answer

    def _search(self, held: list[Source], answer: Future[Prediction], keep: bool) -> None:
        if answer.set_running_or_notify_cancel():
            try:
                self._waiting.put((self._find(held.pop(), keep), answer))
                self._answering.submit(self._answer)
            except BaseException as error:  # whoever waits for it raises it
                answer.set_exception(error)

    def _answer(self) -> None:
        """Answer pictures that wait, up to `_FACES` faces; there may be none, where an earlier call took them along."""
        waiting: list[tuple[_Found, Future[Prediction]]] = []
        with suppress(Empty):
            while sum(len(found.faces) for found, _ in waiting) < _FACES:
                waiting.append(self._waiting.get_nowait())
        try:
            predictions = list(self._answers([found for found, _ in waiting]))
        except BaseException as error:
            for _, answer in waiting:
                answer.set_exception(error)
        else:
            for (_, answer), prediction in zip(waiting, predictions, strict=True):
                answer.set_result(prediction)

    def _find(self, source: Source, keep: bool) -> "_Found":
        """Decode a picture, and find and cut out its faces."""
        path = os.fsdecode(source) if isinstance(source, str | os.PathLike) else ""
        try:
            picture = read_picture(source)
        except BadImage as error:
            return _Found(path, [], error=error.found)
        found = sorted(self._detector.find(picture), key=lambda face: tuple(face.box))
        faces = [
            _Crop(_inside(face.box, picture), face.score, face.corners, detection.cut(picture, face.corners))
            for face in found
        ]
        return _Found(path, faces, picture=picture if keep else None)

    def _answers(self, found: list["_Found"]) -> Iterator[Prediction]:
        """Ask the network for all faces at once."""
        crops = [face.pixels for each in found for face in each.faces]
        cut_out = np.array(crops, np.uint8).reshape(-1, SIDE, SIDE)
        answers = iter(self.network.probabilities(cut_out, tta=self._tta).tolist())
        maps = iter(self.network.maps(cut_out) if self._explain else [])
        for each in found:
            faces = []
            for face in each.faces:
                probabilities = dict(zip(NAMES, next(answers), strict=True))
                uncertain = max(probabilities.values()) < self.network.uncertain_below
                explanation = Explanation(face.corners, next(maps)) if self._explain else None
                faces.append(Face(face.box, face.detector_score, probabilities, uncertain, explanation))
            yield Prediction(each.path, self.network.name, tuple(faces), each.error, picture=each.picture)


class _Crop(NamedTuple):
    """A face before the network was asked: gray levels, uint8 (48, 48), and where they are from."""

    box: Box
    detector_score: float
    corners: detection.Floats
    pixels: NDArray[np.uint8]


class _Found(NamedTuple):
    """A picture's faces before the network was asked, or why it cannot be read."""

    path: str
    faces: list[_Crop]
    error: str = ""
    picture: Picture | None = None


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
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise BadImage("picture", f"a picture of {source.width} x {source.height} pixels")
        return from_pillow("picture", source)
    if hasattr(source, "__array__"):
        try:
            source = np.asarray(source)
        except Exception as error:  # of any kind: it is another library's, as a tensor's that needs a gradient
            raise BadImage("pixels", f"a {type(source).__name__} that is no array: {error}") from None
        if source.dtype != np.uint8 or source.size == 0 or source.shape[2:] not in ((), (3,)) or source.ndim < 2:
            raise BadImage("pixels", f"{source.dtype} {source.shape}, expected uint8 (H, W, 3) or (H, W)")
        return np.ascontiguousarray(source if source.ndim == 3 else source[..., None].repeat(3, axis=2))
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_photograph("picture", bytes(source))
    if not isinstance(source, str | os.PathLike):
        raise BadImage("picture", f"a {type(source).__name__}, expected a path, bytes, an image or an array")
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
