"""Faces in pictures: what a detector finds, and crops as FER2013's images are."""

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.data.readers.decoding import resize
from ferops.labels import SIDE

Picture = NDArray[np.uint8]
"""RGB uint8 (H, W, 3)."""

Floats = NDArray[np.float32]

_LEVELLED: Final = 0.5
"""Share of the eyes' angle by which the crop turns with the face: the angle is known to some 10 degrees, and FER2013's
own faces are not level."""


class Detection(NamedTuple):
    """A face.

    Fields:
        box: left, top, right, bottom in pixels of the picture, float32 (4,); it may reach beyond the picture.
        corners: x and y of the crop's upper left, upper right and lower left corner, float32 (3, 2).
        score: confidence in 0-1; 1 where the detector gives none.
    """

    box: Floats
    corners: Floats
    score: float


def framed(box: Floats, eyes: Floats, side: float, up: float) -> Floats:
    """Return the corners of a crop: a square around a face that turns with it, framed as FER2013's images are.

    Args:
        box: left, top, right, bottom.
        eyes: x and y of the person's right eye, which is on the left, and of the other, (4,).
        side: of the crop, and
        up: how far its centre lies above that of the box, as shares of the mean of the box' sides.
    """
    size = float((box[2:] - box[:2]).mean())
    right, down = eyes[2:] - eyes[:2]
    angle = _LEVELLED * float(np.arctan2(down, right))
    across = np.array([np.cos(angle), np.sin(angle)], np.float32) * size
    below = np.array([-across[1], across[0]], np.float32)
    centre = (box[:2] + box[2:]) / 2 - up * below
    half = np.float32(side / 2)
    return np.stack(
        [centre - half * (across + below), centre + half * (across - below), centre - half * (across - below)]
    )


def cut(picture: Picture, corners: Floats) -> NDArray[np.uint8]:
    """Cut a face out of a picture; beyond the picture its border is repeated.

    Returns:
        Gray levels, uint8 (48, 48).
    """
    sides = np.linalg.norm(corners[1:] - corners[0], axis=1)
    width, height = (max(SIDE, round(float(side))) for side in sides)
    whole = np.array([[0, 0], [width, 0], [0, height]], np.float32)
    face = cv2.warpAffine(
        picture, affine(corners, whole), (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return resize(np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.uint8))


def affine(corners: Floats, target: Floats) -> NDArray[np.float64]:
    """Return the matrix (2, 3) that takes three corners, float32 (3, 2), to others.

    Pixels are squares, and OpenCV's places are their centres.
    """
    return np.asarray(cv2.getAffineTransform(corners - np.float32(0.5), target - np.float32(0.5)))
