"""The detectors of faces, by name."""

from collections.abc import Callable
from typing import Final, Protocol

import cv2
import numpy as np

from ferops.data import crops
from ferops.errors import FeropsError
from ferops.predict.blazeface import BlazeFace
from ferops.predict.detection import Detection, Picture
from ferops.predict.mtcnn import Mtcnn


class UnknownDetector(FeropsError):
    """There is no detector of this name."""


class Detector(Protocol):
    """Finds faces; thread-safe."""

    def find(self, picture: Picture) -> list[Detection]:
        """Find the faces in a picture, in any order."""


class _Cascade:
    """OpenCV's cascade for frontal faces, by whose boxes FER2013 was cut out (Goodfellow et al., 2013)."""

    def find(self, picture: Picture) -> list[Detection]:
        found = crops.detector().detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 1.1, 5)
        return [_upright(*map(float, box)) for box in np.asarray(found).tolist()]


class _Whole:
    """A picture that is a face."""

    def find(self, picture: Picture) -> list[Detection]:
        height, width = picture.shape[:2]
        return [_upright(0, 0, width, height)]


def _upright(left: float, top: float, width: float, height: float) -> Detection:
    right, bottom = left + width, top + height
    corners = np.array([[left, top], [right, top], [left, bottom]], np.float32)
    return Detection(np.array([left, top, right, bottom], np.float32), corners, 1.0)


DETECTORS: Final[dict[str, Callable[[], Detector]]] = {
    "blazeface": BlazeFace, "mtcnn": Mtcnn, "haar": _Cascade, "none": _Whole
}  # fmt: skip


def load(name: str) -> Detector:
    """Load a detector: `blazeface`, `mtcnn`, `haar` (OpenCV's cascade), or `none` for pictures that are faces.

    Raises:
        UnknownDetector: it is none of them.
        MissingPackage: the package that holds it is not installed.
    """
    if name not in DETECTORS:
        raise UnknownDetector(f"there is no detector {name!r}; expected {', '.join(DETECTORS)}")
    return DETECTORS[name]()
