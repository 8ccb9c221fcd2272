"""Facial expressions as landmarks that muscles move.

The Facial Action Coding System (Ekman, Friesen and Hager, 2002) numbers the movements of a face: its action units.
Here an action unit shifts some landmarks of a neutral face, and an expression is a set of action units, each with its
own strength. So expressions differ in intensity and shade into one another, as real ones do.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferops.labels import NAMES

Points = NDArray[np.float64]

_LANDMARKS: Final = {
    "brow": {"inner": (0.17, -0.42), "middle": (0.44, -0.53), "outer": (0.72, -0.40)},
    "eye": {"inner": (0.20, -0.15), "outer": (0.65, -0.17), "upper_lid": (0.42, -0.28), "lower_lid": (0.42, -0.10)},
    "nose": {"root": (0.11, -0.24), "bridge": (0.08, 0.05), "wing": (0.20, 0.27), "tip": (0.00, 0.36)},
    "mouth": {"corner": (0.38, 0.66)},
    "mouth_upper": {"lip": (0.00, 0.59), "lip_side": (0.13, 0.57), "edge": (0.00, 0.66), "edge_side": (0.19, 0.655)},
    "mouth_lower": {"edge": (0.00, 0.665), "edge_side": (0.19, 0.66), "lip": (0.00, 0.77), "lip_side": (0.20, 0.74)},
    "jaw": {"chin": (0.00, 1.12), "chin_side": (0.35, 1.03), "angle": (0.76, 0.62), "ear": (0.97, 0.00)},
}
NEUTRAL: Final = {f"{place}_{name}": point for place, points in _LANDMARKS.items() for name, point in points.items()}
"""Landmarks of the right half of a neutral face: x from the middle, y downwards, in half widths of the face."""

ACTION_UNITS: Final[Mapping[int, Mapping[str, tuple[float, float]]]] = {
    # inner brow raiser, outer brow raiser, brow lowerer
    1: {"brow_inner": (0, -0.17), "brow_middle": (0, -0.06)},
    2: {"brow_outer": (0, -0.14), "brow_middle": (0, -0.14), "brow_inner": (0, -0.04)},
    4: {"brow_inner": (-0.06, 0.17), "brow_middle": (-0.02, 0.10), "eye_upper": (0, 0.02)},
    # upper lid raiser, cheek raiser, lid tightener
    5: {"eye_upper": (0, -0.08), "eye_lower": (0, 0.02)},
    6: {"eye_upper": (0, 0.03), "eye_lower": (0, -0.07)},
    7: {"eye_upper": (0, 0.05), "eye_lower": (0, -0.05)},
    # nose wrinkler, upper lip raiser
    9: {"nose": (0.02, -0.06), "brow": (-0.02, 0.06), "eye_lower": (0, -0.04)},
    10: {"mouth_upper": (0, -0.10)},
    # lip corner puller, lip corner depressor, lip stretcher, lip tightener
    12: {"mouth": (0, 0.03), "mouth_corner": (0.11, -0.18)},
    15: {"mouth": (0, -0.05), "mouth_corner": (0, 0.18)},
    20: {"mouth_corner": (0.11, 0.05), "mouth_lower": (0, 0.03)},
    23: {"mouth_corner": (-0.05, 0), "mouth_upper_lip": (0, 0.045), "mouth_lower_lip": (0, -0.06)},
    # lips part, jaw drop, mouth stretch, eyes closed
    25: {"mouth_upper": (0, -0.04), "mouth_lower": (0, 0.07)},
    26: {"mouth_lower": (0, 0.21), "mouth_corner": (0, 0.04), "jaw_chin": (0, 0.10)},
    27: {"mouth_lower": (-0.01, 0.36), "mouth_upper": (0, -0.03), "mouth_corner": (-0.13, 0.14), "jaw_chin": (0, 0.15)},
    43: {"eye_upper": (0, 0.06), "eye_outer": (0, 0.04), "brow_outer": (0, 0.04)},
}
"""Action unit -> how far it shifts, fully pulled, the landmarks whose names begin so."""

EXPRESSIONS: Final[Mapping[str, tuple[Mapping[int, float], ...]]] = {
    "angry": ({4: 1.0, 5: 0.2, 7: 0.6, 15: 0.3, 23: 1.0}, {4: 1.0, 7: 0.5, 10: 0.4, 20: 0.4, 25: 1.0, 26: 0.4}),
    "disgust": ({4: 0.4, 6: 0.4, 7: 0.8, 9: 1.0, 10: 1.0, 15: 0.5}, {4: 0.4, 7: 0.8, 9: 1.0, 10: 1.0, 25: 0.8}),
    "fear": ({1: 1.0, 2: 0.5, 4: 0.4, 5: 1.0, 20: 1.0, 25: 0.7}, {1: 1.0, 2: 0.5, 4: 0.4, 5: 0.9, 20: 0.8, 26: 0.9}),
    "happy": ({6: 0.7, 12: 0.9}, {6: 0.8, 12: 1.0, 25: 1.0}, {6: 0.9, 12: 1.0, 25: 1.0, 26: 0.5}),
    "sad": ({1: 0.9, 4: 0.3, 15: 1.0, 43: 0.7}, {1: 1.0, 15: 0.9, 23: 0.3, 43: 0.9}),
    "surprise": ({1: 0.9, 2: 1.0, 5: 0.9, 27: 1.0}, {1: 1.0, 2: 1.0, 5: 0.7, 25: 0.4, 26: 1.0}),
    "neutral": ({},),
}
"""Expression -> the sets of action units that show it, each unit with its strength."""

INTENSITY: Final = (0.45, 1.05)
"""Range of an expression's strength; the weaker, the harder it is to tell."""

_POINTS: Final = np.array(list(NEUTRAL.values()))
_FEATURES: Final = np.unique([name.split("_")[0] for name in NEUTRAL], return_inverse=True)[1]
_SHIFTS: Final = np.zeros((len(ACTION_UNITS), len(NEUTRAL), 2))
for _unit, _moves in enumerate(ACTION_UNITS.values()):
    for _start, _shift in _moves.items():
        _SHIFTS[_unit, [name.startswith(_start) for name in NEUTRAL]] += _shift


class Face(NamedTuple):
    """A face with an expression.

    Fields:
        halves: the landmarks of the left and of the right half.
        pulls: how far each action unit is pulled, 0 to about 1.3.
    """

    halves: Sequence[Mapping[str, Points]]
    pulls: Mapping[int, float]

    def across(self, middle: str, *names: str) -> Points:
        """Return the smooth curve from the left half over a landmark in the middle to the right half."""
        left, right = ([half[name] for name in names] for half in self.halves)
        return smooth([*reversed(left), self.halves[0][middle], *right])


def sample_face(label: int, rng: np.random.Generator) -> Face:
    """Return the face of a random person who shows an expression, code 0-6, at a random intensity."""
    variants = EXPRESSIONS[NAMES[label]]
    variant, intensity = variants[rng.integers(len(variants))], rng.uniform(*INTENSITY)
    pulls = {
        unit: 0.2 * rng.uniform() ** 2 + intensity * variant.get(unit, 0) * rng.uniform(0.75, 1.15)
        for unit in ACTION_UNITS  # even those at rest are pulled a little
    }
    features = _FEATURES.max() + 1
    stretch, rise = rng.normal(1, 0.05, features)[_FEATURES], rng.normal(0, 0.02, features)[_FEATURES]
    neutral = np.stack([_POINTS[:, 0] * stretch, _POINTS[:, 1] + rise + rng.normal(0, 0.01, len(_POINTS))], axis=1)
    shifts = (np.array(list(pulls.values()))[:, None, None] * _SHIFTS).sum(axis=0)
    skew = rng.normal(0, 0.1)
    halves = [(neutral + (1 + side * skew) * shifts) * (side, 1) for side in (-1, 1)]
    return Face([dict(zip(NEUTRAL, half, strict=True)) for half in halves], pulls)


def smooth(corners: ArrayLike) -> Points:
    """Return a curve (4n - 3, 2) through points (n, 2): the four-point scheme of Dyn, Levin and Gregory (1987)."""
    points = np.asarray(corners, dtype=np.float64)
    for _ in range(2):
        ends = np.concatenate([points[:1], points, points[-1:]])
        curve = np.repeat(points, 2, axis=0)[:-1]
        curve[1::2] = (9 * (points[:-1] + points[1:]) - ends[:-3] - ends[3:]) / 16
        points = curve
    return points
