"""Photographs for the tests, those that installed packages bring along, and videos of them."""

from collections.abc import Iterable
from functools import cache
from itertools import chain
from pathlib import Path

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


def moving(frames: int, size: tuple[int, int] = (320, 240)) -> list[Picture]:
    """A head that moves to the right over the temple, in small frames, width x height."""
    background = cv2.resize(temple(), size, interpolation=cv2.INTER_AREA)
    head = cv2.resize(portrait()[60:400, 110:430], (128, 136), interpolation=cv2.INTER_AREA)
    pictures = [background.copy() for _ in range(frames)]
    for number, picture in enumerate(pictures):
        left = round(number * (size[0] - 130) / max(1, frames - 1))
        picture[40 : 40 + len(head), left : left + head.shape[1]] = head
    return pictures


def video(path: Path, pictures: Iterable[Picture], rate: float = 25) -> Path:
    """Write a video: .mp4 by MPEG-4, .webm by VP8, others by Motion JPEG."""
    code = {".mp4": "mp4v", ".webm": "VP80"}.get(path.suffix, "MJPG")
    rest = iter(pictures)
    first = next(rest)
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), rate, (first.shape[1], first.shape[0])
    )
    for picture in chain([first], rest):
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def frames(path: Path) -> list[Picture]:
    """The frames of a video, as another program reads them."""
    capture, found = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        found.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8))
    return found
