"""Photographs for the tests: those that installed packages bring along."""

from functools import cache

import cv2
import numpy as np
from matplotlib import cbook
from sklearn.datasets import load_sample_image

from ferops.predict.detection import Picture


@cache
def portrait() -> Picture:
    """Grace Hopper, 512 x 600; her face is about 190 pixels wide, around (265, 230)."""
    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        content = np.frombuffer(stream.read(), np.uint8)
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB), np.uint8)


@cache
def temple() -> Picture:
    """A photograph without a face, 1200 x 900."""
    return np.asarray(cv2.resize(load_sample_image("china.jpg"), (1200, 900)), np.uint8)


def with_face(left: int, top: int, scale: float, turned: float = 0) -> Picture:
    """The temple with the portrait's head pasted in, scaled and turned by degrees; its box is 190 * scale wide."""
    head = portrait()[60:400, 110:430]
    matrix = cv2.getRotationMatrix2D((159.5, 169.5), turned, 1)
    head = cv2.warpAffine(head, matrix, (320, 340), borderMode=cv2.BORDER_REPLICATE)
    head = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = temple().copy()
    picture[top : top + head.shape[0], left : left + head.shape[1]] = head
    return picture


def encoded(picture: Picture, suffix: str = ".png") -> bytes:
    """The content of an image file."""
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    return cv2.imencode(suffix, colours)[1].tobytes()
