"""Frames of videos and cameras, one in memory at a time, and copies of videos with their faces drawn in."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from ferops.errors import FeropsError
from ferops.machine.files import replacing
from ferops.predict.detection import Picture
from ferops.predict.drawing import annotate
from ferops.predict.recognizer import ExpressionRecognizer, Face, Prediction

SUFFIXES: Final = (".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv")
"""Names of files that are videos; what is in them is FFmpeg's to tell."""

WRITTEN: Final = {".mp4": "mp4v", ".webm": "VP80"}
"""Suffix of an annotated copy, and its codec: FFmpeg in OpenCV has no encoder for H.264, and writes VP9 100 times as
slowly as MPEG-4."""

_BETWEEN: Final = 0.2
"""Seconds between frames that are recognised, by default: an expression lasts half a second to four (Ekman, 2003)."""

_MISSING: Final = 0.05
"""Share of the declared frames that may be missing at the end: containers estimate their number."""

_FPS: Final = (1, 240)
"""Frames a second that are believed; browsers' recordings declare 1,000."""


class BadVideo(FeropsError):
    """A file is no video that can be read, or ends before its end."""


class NoCamera(FeropsError):
    """There is no camera of this number, or it gives no picture."""


class Frame(NamedTuple):
    """A frame: its number, from 0; its time in seconds; and its pixels, upright, RGB uint8 (H, W, 3)."""

    number: int
    seconds: float
    picture: Picture


def recognise(recognizer: ExpressionRecognizer, path: Path, every: int | None = None) -> Iterator[Prediction]:
    """Recognise the expressions in a video.

    Args:
        recognizer: searches several frames at once.
        path: of the video.
        every: recognise each frame whose number is a multiple of it; by default about five a second.

    Yields:
        A prediction for each frame that is recognised; last, where the video cannot be read to its end, one with an
        `error` that has no frame.
    """
    times: deque[tuple[int, float]] = deque()
    errors = []

    def pictures() -> Iterator[Picture]:
        try:
            for frame in _read(path, every):
                times.append((frame.number, round(frame.seconds, 3)))
                yield frame.picture
        except BadVideo as error:  # the frames before are still being recognised
            errors.append(str(error))

    for answer in recognizer.stream(pictures()):
        number, seconds = times.popleft()
        yield replace(answer, path=str(path), frame=number, seconds=seconds)
    yield from (Prediction(str(path), recognizer.network.name, error=error) for error in errors)


def save(path: Path, copy: Path, answers: Iterator[Prediction]) -> Iterator[Prediction]:
    """Write a copy of a video with each frame's faces as they were last recognised, and hand the predictions on.

    The copy has a constant frame rate and no sound. The video is read a second time: to hold the frames between those
    that are being recognised would take gigabytes.

    Raises:
        BadVideo: the copy cannot be written, as on a full disk.
    """
    first = next(answers)
    if first.error:
        yield first
        return
    upcoming: Prediction | None = first
    faces: tuple[Face, ...] = ()
    rate = _rate(_opened(path))
    writer, written, left_out = cv2.VideoWriter(), 0, 0
    with replacing(copy) as scratch:
        try:
            with suppress(BadVideo):  # `answers` says it too
                for frame in _read(path, 1):
                    if upcoming and upcoming.frame == frame.number:
                        yield upcoming
                        faces, upcoming = upcoming.faces, next(answers, None)
                    if not written:
                        code = cv2.VideoWriter.fourcc(*WRITTEN[copy.suffix.lower()])
                        writer.open(str(scratch), cv2.CAP_FFMPEG, code, rate, frame.picture.shape[1::-1])
                    drawn = cv2.cvtColor(annotate(frame.picture, faces), cv2.COLOR_RGB2BGR)
                    # of a recording whose rate varies, frames are doubled and left out; a gap lasts a second
                    missing = round(frame.seconds * rate) + 1 - left_out - written
                    times = max(0, min(missing, round(rate)))
                    left_out += max(0, missing - times)
                    for _ in range(times):
                        writer.write(drawn)
                    written += times
        finally:
            writer.release()
        if not scratch.is_file() or length(scratch) < written * (1 - _MISSING):
            raise BadVideo(f"{copy} cannot be written; is the disk full?")
    if upcoming:
        yield upcoming
        yield from answers


def length(path: Path) -> int:
    """Return the number of frames that a video declares; 0 where it declares none, or is none."""
    return max(0, int(_opened(path).get(cv2.CAP_PROP_FRAME_COUNT))) if path.is_file() else 0  # a pipe would wait


def camera(number: int) -> Iterator[Frame]:
    """Iterate over the frames of a camera, as fast as it gives them and they are taken.

    Raises:
        NoCamera: there is none of this number, or it gives no picture.
    """
    capture = cv2.VideoCapture(number)
    started = time.monotonic()
    try:
        for frame in count():
            whole, pixels = capture.read()
            if not whole:
                ways = "there is none, another program uses it, or you may not open it"
                raise NoCamera(f"camera {number} gives no picture: {ways}")
            yield Frame(frame, time.monotonic() - started, _rgb(pixels))
    finally:
        capture.release()


def _read(path: Path, every: int | None) -> Iterator[Frame]:
    """Iterate over the frames of a video that are a multiple of `every`, or else `_BETWEEN` apart.

    Raises:
        BadVideo: it cannot be read, or ends before its end.
    """
    if not path.is_file():
        raise BadVideo("no such file")
    capture = _opened(path)
    rate, declared = _rate(capture), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    due = 0.0
    try:
        for number in count():
            if not capture.grab():
                break
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or number / rate
            if number % every == 0 if every else seconds >= due:
                due = seconds + _BETWEEN - 0.5 / rate
                yield Frame(number, seconds, _rgb(capture.retrieve()[1]))
    finally:
        capture.release()
    if not number:
        raise BadVideo("no video that can be read here, or one without frames")
    if number < declared * (1 - _MISSING):
        raise BadVideo(f"a video damaged or cut short: {number:,} of {int(declared):,} frames")


def _opened(path: Path) -> Any:
    return cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)  # absolute: no protocol, as in http:name


def _rate(capture: Any) -> float:
    """Return the frames a second that a video declares, where they can be believed."""
    declared = capture.get(cv2.CAP_PROP_FPS)
    return float(declared) if _FPS[0] <= declared <= _FPS[1] else 30.0


def _rgb(pixels: Any) -> Picture:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
