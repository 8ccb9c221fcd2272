"""A fine canvas: the shapes that are drawn on it, blurs, and the way down to an image's own pixels."""

import math
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.labels import SIDE

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

FINE: Final = 4
"""Times that the canvas is finer than the image: it is averaged down."""

CANVAS: Final = SIDE * FINE
"""Side of the canvas, in fine pixels."""

ROUND: Final = 2 * math.pi
"""A whole turn in radians."""

_FRACTION_BITS: Final = 4  # cv2 takes points in sixteenths of a pixel: what is drawn is integer arithmetic


def fill(canvas: Image, points: Points, grey: float) -> None:
    """Fill a polygon (n, 2) in fine pixels with a grey level, in place."""
    cv2.fillPoly(canvas, [_fixed(points)], _grey(grey), cv2.LINE_AA, _FRACTION_BITS)


def stroke(canvas: Image, points: Points, grey: float, width: float) -> None:
    """An open line, `width` in fine pixels."""
    cv2.polylines(canvas, [_fixed(points)], False, _grey(grey), max(1, round(width)), cv2.LINE_AA, _FRACTION_BITS)


def curve(*points: tuple[float, float], n: int = 12) -> Points:
    """A Bezier curve (n, 2) through its first and last point."""
    curve: Points = _bernstein(len(points) - 1, n) @ np.array(points)
    return curve


def smooth(corners: Points) -> Points:
    """A polyline with its corners cut off three times (Chaikin); the ends stay."""
    for _ in range(3):
        near, far = 0.75 * corners[:-1] + 0.25 * corners[1:], 0.25 * corners[:-1] + 0.75 * corners[1:]
        inner = np.stack([near, far], axis=1).reshape(-1, 2)
        corners = np.concatenate([corners[:1], inner[1:-1], corners[-1:]])
    return corners


def ellipse(x: float, y: float, rx: float, ry: float, n: int = 24) -> Points:
    """An ellipse (n, 2) about (x, y)."""
    return circle(n) * (rx, ry) + (x, y)


@cache
def circle(n: int) -> Points:
    """The unit circle (n, 2), closed, from (1, 0)."""
    angle = np.linspace(0.0, ROUND, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def soften(layer: Image, times: int) -> NDArray[np.uint16]:
    """Blur by (1, 2, 1) / 4 both ways, `times` over: integers, so not a matter of how cv2 was built."""
    soft = layer.astype(np.uint16)
    for _ in range(times):
        soft[1:-1] = (soft[:-2] + 2 * soft[1:-1] + soft[2:] + 2) >> 2
        soft[:, 1:-1] = (soft[:, :-2] + 2 * soft[:, 1:-1] + soft[:, 2:] + 2) >> 2
    return soft


def enlarge(small: NDArray[Any], times: int) -> NDArray[Any]:
    """Repeat every pixel so often each way."""
    return small.repeat(times, axis=0).repeat(times, axis=1)


def shrink(fine: Image) -> Image:
    """Average blocks of fine pixels, rounded."""
    blocks = fine.reshape(SIDE, FINE, SIDE, FINE).sum(axis=(1, 3), dtype=np.int32)
    means: Image = ((blocks + FINE * FINE // 2) // (FINE * FINE)).astype(np.uint8)
    return means


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << _FRACTION_BITS)).astype(np.int32).reshape(-1, 1, 2)


def _grey(level: float) -> tuple[int]:
    return (min(255, max(0, round(level))),)


@cache
def _bernstein(degree: int, n: int) -> Points:
    t = np.linspace(0.0, 1.0, n)
    return np.stack([math.comb(degree, k) * t**k * (1.0 - t) ** (degree - k) for k in range(degree + 1)], axis=1)
