"""Portraits of synthetic faces: drawn on a canvas finer than the image, then lit and photographed."""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.data.synthetic.expressions import Face, Points, sample_face, smooth
from ferops.labels import SIDE

Image = NDArray[np.uint8]

_FINE: Final = 4  # pixels of the canvas for one of the image, each way
_BITS: Final = 4  # OpenCV takes points in sixteenths of a pixel and draws in integers: the same bytes everywhere
_ANGLES: Final = np.linspace(0, 2 * math.pi, 25)
_CIRCLE: Final = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)

_JAW: Final = ("jaw_chin", "jaw_chin_side", "jaw_angle", "jaw_ear")

_HAIRLINES: Final = (
    ((0.0, -0.86), (0.45, -0.84), (0.8, -0.6), (0.98, -0.1)),
    ((0.0, -0.68), (0.4, -0.64), (0.8, -0.52), (1.0, 0.0)),
    ((0.0, -0.95), (0.4, -0.8), (0.84, -0.3), (0.96, 0.3), (1.0, 1.4)),
)  # short hair, a fringe and long hair, from the middle to the right

_WRINKLES: Final = (
    ((1, 2), smooth(((0.0, -0.73), (0.25, -0.73), (0.48, -0.69)))),
    ((4, 9), smooth(((0.07, -0.28), (0.06, -0.4), (0.09, -0.52)))),
    ((9,), smooth(((0.03, -0.1), (0.12, -0.12), (0.2, -0.02)))),
    ((9, 10, 12, 20), smooth(((0.22, 0.2), (0.46, 0.36), (0.55, 0.6)))),
    ((6, 7, 43), smooth(((0.22, -0.04), (0.42, 0.02), (0.62, -0.06)))),
    ((6,), smooth(((0.72, -0.17), (0.82, -0.22), (0.9, -0.26)))),
)  # the action units that deepen a wrinkle, and where it is on the right half


class _Canvas:
    """A fine canvas with a random background; a face in a random pose is drawn on it, in the face's coordinates."""

    def __init__(self, rng: np.random.Generator) -> None:
        blobs = np.maximum(0, 1 - np.abs(np.linspace(0, 3, SIDE)[:, None] - np.arange(4)))  # interpolates 4 levels
        background = np.rint(blobs @ rng.uniform(20, 235, (4, 4)) @ blobs.T).astype(np.uint8)
        self._pixels = background.repeat(_FINE, axis=0).repeat(_FINE, axis=1)
        yaw, pitch, roll = np.radians(np.clip(rng.normal(0, (10, 6, 8)), -24, 24))
        self._scale = _FINE * rng.uniform(17, 22)
        rotation = self._scale * np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
        self._plane = np.array([[math.cos(yaw)], [math.cos(pitch)]]) * rotation
        self._depth = np.array([math.sin(yaw), math.sin(pitch)]) @ rotation
        self._centre = _FINE * (SIDE / 2 + rng.uniform((-3, -3.5), (3, 2)))

    def fill(self, outline: Points, gray: float) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self._pixels, [self._project(outline)], gray, cv2.LINE_AA, _BITS)

    def line(self, points: Points, gray: float, width: float) -> None:
        """Draw an open line."""
        pixels = max(1, round(width * self._scale))
        cv2.polylines(self._pixels, [self._project(points)], False, gray, pixels, cv2.LINE_AA, _BITS)

    def shrink(self) -> Points:
        """Return the image (48, 48), in gray levels: means of blocks of pixels."""
        return np.asarray(self._pixels.reshape(SIDE, _FINE, SIDE, _FINE).mean(axis=(1, 3)))

    def _project(self, points: Points) -> NDArray[np.int32]:
        """Project points (n, 2) of a face, which bulges towards the camera, onto the canvas."""
        x, y = points.T
        depth = np.sqrt(np.maximum(0.56 - 0.4 * x * x - 0.17 * y * y, 0))
        placed = points @ self._plane + depth[:, None] * self._depth + self._centre
        return np.asarray(np.rint(placed * (1 << _BITS)), np.int32)


def render_face(label: int, rng: np.random.Generator) -> Image:
    """Render the face of a random person with an expression, in a random pose and light.

    Args:
        label: code 0-6.
        rng: the only source of chance.

    Returns:
        uint8 (48, 48), gray levels.
    """
    face, canvas = sample_face(label, rng), _Canvas(rng)
    skin = rng.uniform(95, 215)
    hair = skin * rng.choice([0.15, 0.3, 0.45, 0.6, 0.9, 1.1], p=[0.3, 0.25, 0.2, 0.1, 0.08, 0.07])
    _draw_head(canvas, face, skin, rng)
    _draw_wrinkles(canvas, face, skin)
    _draw_hair(canvas, face, skin, hair, rng)
    _draw_eyes(canvas, face, skin, hair, rng)
    _draw_mouth(canvas, face, skin)
    return _photograph(canvas.shrink(), rng)


def _draw_head(canvas: _Canvas, face: Face, skin: float, rng: np.random.Generator) -> None:
    """Draw shoulders, neck, ears and a bare face."""
    canvas.fill(_CIRCLE * (1.9, 0.62) + (0, 2), rng.uniform(15, 240))
    canvas.fill(np.array([(-0.55, 0.7), (0.55, 0.7), (0.6, 1.7), (-0.6, 1.7)]), 0.7 * skin)
    jaw = face.across(*_JAW)
    for ear in (jaw[0], jaw[-1]):
        canvas.fill(_CIRCLE * (0.13, 0.26) + ear, 0.85 * skin)
    canvas.fill(np.concatenate([jaw[::-1], _CIRCLE[12:] * (jaw[-1, 0], 1.12)]), skin)


def _draw_wrinkles(canvas: _Canvas, face: Face, skin: float) -> None:
    """Draw the nose, and the wrinkles as deep as their action units are pulled."""
    canvas.line(np.array([(0, -0.15), (0, 0.24)]), 1.15 * skin, 0.1)
    for side, half in zip((-1, 1), face.halves, strict=True):
        canvas.line(smooth([half["nose_root"], half["nose_bridge"], half["nose_wing"]]), 0.85 * skin, 0.05)
        canvas.line(smooth([half["nose_wing"], half["nose_tip"]]), 0.5 * skin, 0.06)
        for units, right in _WRINKLES:
            depth = max(face.pulls[unit] for unit in units)
            canvas.line(right * (side, 1), (1 - 0.4 * depth) * skin, 0.04)


def _draw_hair(canvas: _Canvas, face: Face, skin: float, hair: float, rng: np.random.Generator) -> None:
    """Draw short hair, a fringe or long hair, and a beard now and then."""
    right = np.array(_HAIRLINES[rng.choice(len(_HAIRLINES), p=(0.5, 0.2, 0.3))])
    hairline = smooth([*(right[:0:-1] * (-1, 1)), *right])
    hairline[:, 1] += rng.normal(0, 0.08) * hairline[:, 0]
    crown = smooth([hairline[0] * (1.15, 1), *(_CIRCLE[13:24] * (1.12, 1.22)), hairline[-1] * (1.15, 1)])
    canvas.fill(np.concatenate([hairline, crown[::-1]]), hair)
    if rng.uniform() < 0.15:
        jaw = face.across(*_JAW)
        beard = smooth([jaw[-1], (0.4, 0.5), (0, 0.45), (-0.4, 0.5), jaw[0]])
        canvas.fill(np.concatenate([jaw, beard]), skin + rng.uniform(0.3, 0.8) * (hair - skin))


def _draw_eyes(canvas: _Canvas, face: Face, skin: float, hair: float, rng: np.random.Generator) -> None:
    """Draw eyes, brows, and glasses now and then."""
    gaze, glasses = rng.uniform(-0.04, 0.04), rng.uniform() < 0.13
    for half in face.halves:
        inner, outer = half["eye_inner"], half["eye_outer"]
        upper, lower = smooth([inner, half["eye_upper_lid"], outer]), smooth([inner, half["eye_lower_lid"], outer])
        lower = np.maximum(lower, upper + np.array((0, 0.02)))
        canvas.fill(np.concatenate([upper, lower[::-1]]), 0.35 * skin + 140)
        middle, along = (inner + outer) / 2, np.argsort(upper[:, 0])
        for radius, gray in ((0.12, 55), (0.06, 10)):  # the iris and the pupil, between the lids
            x, y = (_CIRCLE * radius + middle + (gaze, -0.02)).T
            y = np.clip(y, *(np.interp(x, lid[along, 0], lid[along, 1]) for lid in (upper, lower)))
            canvas.fill(np.stack([x, y], axis=1), gray)
        canvas.line(upper, 0.25 * skin, 0.04)
        canvas.line(lower, 0.55 * skin, 0.02)
        canvas.line(upper - (0, 0.06), 0.7 * skin, 0.02)
        brow = smooth([half["brow_inner"], half["brow_middle"], half["brow_outer"]])
        thickness = np.linspace((0, 0.06), (0, 0.02), len(brow))
        canvas.fill(np.concatenate([brow - thickness, (brow + thickness)[::-1]]), min(0.75 * hair + 10, 0.62 * skin))
        if glasses:
            canvas.line(_CIRCLE * (0.31, 0.25) + middle + (0, 0.03), 30, 0.04)
            canvas.line(np.array([middle * (0.3, 1), middle * (0, 1)]), 30, 0.04)


def _draw_mouth(canvas: _Canvas, face: Face, skin: float) -> None:
    """Draw the lips, and teeth where the lips part."""
    top, upper, lower, bottom = (
        face.across(f"mouth_{part}", f"mouth_{part}_side", "mouth_corner")
        for part in ("upper_lip", "upper_edge", "lower_edge", "lower_lip")
    )
    gap = np.maximum(lower - upper, 0) * (0, 1)
    canvas.fill(np.concatenate([top, bottom[::-1]]), 0.75 * skin)
    canvas.fill(np.concatenate([upper, (upper + gap)[::-1]]), 0.22 * skin)
    if face.pulls[25] > 0.3:
        canvas.fill(np.concatenate([upper, (upper + np.minimum(0.75 * gap, 0.13))[::-1]]), 150 + 0.45 * skin)
    canvas.line(upper, 0.35 * skin, 0.035)


def _photograph(picture: Points, rng: np.random.Generator) -> Image:
    """Light a picture from one side, expose it for its contrast, blur it and add noise."""
    x = np.linspace(-1, 1, SIDE)
    y = x[:, None]
    angle, strength, falloff = rng.uniform(0, (2 * math.pi, 0.4, 0.3))
    lit = picture * (1 + strength * (math.cos(angle) * x + math.sin(angle) * y) - falloff * (x * x + y * y))
    contrast = min(1.5, rng.uniform(40, 62) / (lit.std() + 1))
    exposed = (lit - lit.mean()) * contrast + rng.uniform(108, 146)
    blur = max(0.0, rng.uniform(-0.4, 0.8))
    blurred = exposed + blur * (_soften(_soften(exposed)) - exposed)
    noisy = blurred + rng.normal(0, rng.uniform(1, 6), picture.shape)
    return np.asarray(np.rint(np.clip(noisy, 0, 255)), np.uint8)


def _soften(image: Points) -> Points:
    """Blur by (1, 2, 1) / 4 both ways."""
    padded = np.pad(image, 1, mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
