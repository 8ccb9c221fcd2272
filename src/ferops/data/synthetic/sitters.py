"""Who is drawn: a person (shape, skin, hair), a mood (how far each facial muscle is pulled) and a pose.

Moods follow the Facial Action Coding System (Ekman, Friesen and Hager, 2002): an expression is a set of action units,
each pulled with its own strength, so expressions shade into one another as real ones do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from ferops.data.synthetic.canvas import CANVAS, FINE, Points

Mood = dict[str, float]
"""Pull of every action unit, 0 to about 1.2."""

_MOODS: Final[Mapping[str, tuple[Mapping[str, float], ...]]] = {
    "angry": (
        {"brow_lower": 1.0, "lid_tighten": 0.55, "lip_tighten": 1.0, "lip_corner_down": 0.3, "lid_raise": 0.25},
        {"brow_lower": 1.0, "lid_tighten": 0.45, "jaw_drop": 0.42, "lip_stretch": 0.35, "lip_raise": 0.35, "bare": 1.0},
    ),
    "disgust": (
        {"nose_wrinkle": 1.0, "lip_raise": 1.0, "brow_lower": 0.45, "lid_tighten": 0.9, "cheek_raise": 0.45,
         "lip_corner_down": 0.45, "skew": 1.0},
        {"nose_wrinkle": 1.0, "lip_raise": 1.0, "brow_lower": 0.5, "lid_tighten": 0.8, "cheek_raise": 0.4,
         "jaw_drop": 0.2, "bare": 0.7, "skew": 0.7, "lip_corner_down": 0.3},
    ),
    "fear": (
        {"inner_raise": 1.0, "outer_raise": 0.45, "brow_lower": 0.4, "lid_raise": 1.0, "lip_stretch": 1.0,
         "jaw_drop": 0.45, "bare": 0.6},
        {"inner_raise": 1.0, "outer_raise": 0.5, "brow_lower": 0.45, "lid_raise": 0.9, "lip_stretch": 0.8,
         "jaw_drop": 0.6, "bare": 0.6},
    ),
    "happy": (
        {"lip_corner_up": 0.85, "cheek_raise": 0.65},
        {"lip_corner_up": 1.0, "cheek_raise": 0.9, "jaw_drop": 0.38, "bare": 1.0},
        {"lip_corner_up": 0.95, "cheek_raise": 0.8, "jaw_drop": 0.2, "bare": 1.0},
    ),
    "sad": (
        {"inner_raise": 0.9, "brow_lower": 0.25, "lip_corner_down": 1.0, "lid_droop": 0.7},
        {"inner_raise": 1.0, "lip_corner_down": 0.85, "lid_droop": 0.9, "lip_tighten": 0.3},
    ),
    "surprise": (
        {"inner_raise": 0.9, "outer_raise": 1.0, "lid_raise": 0.85, "jaw_drop": 1.0, "pucker": 0.9},
        {"inner_raise": 1.0, "outer_raise": 1.0, "lid_raise": 0.7, "jaw_drop": 0.65, "pucker": 0.7, "bare": 0.4},
    ),
    "neutral": ({},),
}  # fmt: skip
_UNITS: Final = (
    "inner_raise", "outer_raise", "brow_lower", "lid_raise", "lid_tighten", "lid_droop", "cheek_raise", "nose_wrinkle",
    "lip_raise", "lip_corner_up", "lip_corner_down", "lip_stretch", "lip_tighten", "jaw_drop", "pucker", "bare", "skew",
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """What stays the same in every expression; lengths in units of half the face's width."""

    skin: float
    hair: float
    lips: float
    iris: float
    width: float
    height: float
    jaw: float
    eye_gap: float
    eye_size: float
    brow_weight: float
    brow_height: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    fullness: float
    age: float
    style: str
    hairline: float
    parting: float
    beard: float
    glasses: float


@dataclass(frozen=True)
class Pose:
    """Where the face is in the picture; angles in radians, lengths in fine pixels."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    x: float
    y: float

    def place(self, points: Points, depth: float | None = None) -> Points:
        """Face coordinates (n, 2) to fine pixels (n, 2); `depth` None lays them on the face's curved front."""
        flat, rise, centre = self._axes
        if depth is not None:
            return points @ flat + (depth * rise + centre)
        z = 0.75 * np.sqrt(np.maximum(1.0 - points**2 @ (0.7, 0.3), 0.0))
        return points @ flat + z[:, None] * rise + centre

    @cached_property
    def _axes(self) -> tuple[Points, Points, Points]:
        """Images of the face's x and y axes (2, 2), of its depth axis (2,), and of its centre (2,)."""
        cos, sin = math.cos(self.roll) * self.scale, math.sin(self.roll) * self.scale
        turn = np.array([[cos, sin], [-sin, cos]])
        flat = np.array([[math.cos(self.yaw)], [math.cos(self.pitch)]]) * turn
        return flat, np.array([math.sin(self.yaw), math.sin(self.pitch)]) @ turn, np.array([self.x, self.y])

    def halved(self) -> "Pose":
        """The same pose on a canvas of half the side."""
        return replace(self, scale=self.scale / 2, x=self.x / 2, y=self.y / 2)


def person(rng: np.random.Generator) -> Person:
    """Somebody, at random."""
    skin = rng.uniform(95, 215)
    hair = float(rng.choice([20, 35, 60, 100, 165, 205], p=[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]))
    return Person(
        skin=skin,
        hair=min(hair, 0.6 * skin if skin < 150 else 1.1 * skin),
        lips=rng.uniform(0.7, 0.9),
        iris=rng.uniform(15, 70),
        width=rng.uniform(0.9, 1.06),
        height=rng.uniform(0.94, 1.08),
        jaw=rng.uniform(0.08, 0.32),
        eye_gap=rng.uniform(0.39, 0.45),
        eye_size=rng.uniform(0.88, 1.14),
        brow_weight=rng.uniform(0.6, 1.3),
        brow_height=rng.uniform(-0.04, 0.04),
        nose_width=rng.uniform(0.85, 1.25),
        nose_length=rng.uniform(-0.05, 0.05),
        mouth_width=rng.uniform(0.9, 1.12),
        mouth_height=rng.uniform(-0.04, 0.04),
        fullness=rng.uniform(0.7, 1.35),
        age=rng.uniform(0.3, 1.0),
        style=str(
            rng.choice(["short", "swept", "long", "bald", "fringe", "curly"], p=[0.24, 0.2, 0.24, 0.08, 0.12, 0.12])
        ),
        hairline=rng.uniform(-0.94, -0.78),
        parting=rng.uniform(-0.5, 0.5),
        beard=float(rng.choice([0.0, rng.uniform(0.25, 0.85)], p=[0.84, 0.16])),
        glasses=float(rng.choice([0.0, rng.uniform(0.4, 1.0)], p=[0.87, 0.13])),
    )


def mood(name: str, rng: np.random.Generator) -> Mood:
    """An expression at some intensity, over everyday twitches."""
    variants = _MOODS[name]
    variant = variants[int(rng.integers(len(variants)))]
    intensity = rng.uniform(0.5, 1.1)
    rest = {unit: 0.2 * rng.uniform(0, 1) ** 2 for unit in _UNITS}
    rest["bare"], rest["skew"] = 0.0, rng.uniform(-0.15, 0.15)
    pulled = {unit: intensity * pull * rng.uniform(0.75, 1.15) for unit, pull in variant.items()}
    mood = rest | pulled
    if "skew" in pulled:
        mood["skew"] *= rng.choice([-1, 1])
    return mood


def pose(rng: np.random.Generator) -> Pose:
    """A pose near the front, most of the face in the picture."""
    return Pose(
        yaw=math.radians(float(np.clip(rng.normal(0, 9), -22, 22))),
        pitch=math.radians(float(np.clip(rng.normal(0, 5), -12, 12))),
        roll=math.radians(float(np.clip(rng.normal(0, 5), -14, 14))),
        scale=FINE * rng.uniform(18.2, 21.6),
        x=CANVAS / 2 + FINE * rng.uniform(-1.6, 1.6),
        y=CANVAS / 2 + FINE * rng.uniform(-2.8, 0.6),
    )
