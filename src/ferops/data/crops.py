"""Face crops: find the face in a portrait and cut it out, 48 x 48."""

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from cv2.data import haarcascades

from ferops.data.readers.decoding import Picture, resize

CENTRAL: Final = 5 / 8
"""Side of the central crop, as a share of the picture's shorter side."""

_SMALLEST: Final = 1 / 3  # of the shorter side: what is smaller is no face that fills the middle


class Box(NamedTuple):
    """A square in a picture, in pixels."""

    left: int
    top: int
    side: int


def detector() -> Any:
    """Load OpenCV's own cascade for frontal faces (Viola and Jones, 2001; Lienhart's features)."""
    return cv2.CascadeClassifier(f"{haarcascades}haarcascade_frontalface_default.xml")


def find(cascade: Any, picture: Picture) -> Box | None:
    """Find the largest face in a portrait, uint8 (H, W), gray levels; None where the cascade finds none."""
    smallest = int(_SMALLEST * min(picture.shape))
    found = cascade.detectMultiScale(picture, scaleFactor=1.1, minNeighbors=5, minSize=(smallest, smallest))
    if len(found) == 0:
        return None
    # by size, then place: the order of the list is that in which OpenCV's threads ended
    side, left, top = max((width, left, top) for left, top, width, _ in np.asarray(found).tolist())
    return Box(left, top, side)


def central(picture: Picture) -> Box:
    """Return the central square of a picture, (H, W); its side is `CENTRAL`."""
    height, width = picture.shape
    side = round(CENTRAL * min(height, width))
    return Box((width - side) // 2, (height - side) // 2, side)


def cut(picture: Picture, box: Box) -> Picture:
    """Cut a square out of a picture, uint8 (H, W), and resize it to uint8 (48, 48)."""
    return resize(picture[box.top : box.top + box.side, box.left : box.left + box.side])
