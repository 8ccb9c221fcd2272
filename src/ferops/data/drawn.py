"""The drawn sample that stands in for FER2013: gray faces drawn by code from a seed.

A face is a person (shape, skin, hair), a mood (how far each facial muscle is pulled), a pose and a light. Moods follow
the Facial Action Coding System (Ekman, Friesen and Hager, 2002): an expression is a set of action units, each pulled
with its own strength, so expressions shade into one another as real ones do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES, OFFICIAL_COUNTS, SIDE, SPLITS, USAGES

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

BLANKS: Final = 2
"""Training images that are all black."""

REPEATED: Final = 0.01
"""Share of every split that repeats a training image exactly."""

LEAST: Final = 2
"""Images of every class in every split, at least."""

_FINE: Final = 4  # drawn at four times the side, then averaged down
_CANVAS: Final = SIDE * _FINE
_FRACTION_BITS: Final = 4  # cv2 takes points in sixteenths of a pixel: what is drawn is integer arithmetic
_ROUND: Final = 2 * math.pi

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


class Drawn(NamedTuple):
    """A drawn sample, ordered by split (train, validation, test), shuffled within each.

    Fields:
        images: uint8 (N, 48, 48), grey levels.
        labels: int64 (N,), codes 0-6 of `ferops.labels.NAMES`.
        splits: str (N,), names of `ferops.labels.SPLITS`.
    """

    images: Image
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]


def draw_sample(*, seed: int, counts: Mapping[str, int]) -> Drawn:
    """Draw a sample with FER2013's class shares, and with some of its flaws.

    As in FER2013, some images repeat another exactly: one in a hundred of each split, and one at least, is a copy of a
    training image of the same class; and two training images are all black. Every face has a generator of its own,
    seeded by (seed, split, index): a larger sample begins with other rows but a face does not depend on its neighbours.

    Args:
        seed: 0 or more.
        counts: images of each split, 14 or more.
    """
    labels, images = [], []
    for k, split in enumerate(SPLITS):
        codes = np.random.default_rng([seed, k, 0]).permutation(_classes(split, counts[split]))
        faces = [draw_face(int(code), np.random.default_rng([seed, k, 1 + row])) for row, code in enumerate(codes)]
        labels.append(codes)
        images.append(np.stack(faces))
    _spoil(images, labels, np.random.default_rng([seed, len(SPLITS), 0]))
    splits = np.repeat(np.array(SPLITS), [len(codes) for codes in labels])
    return Drawn(np.concatenate(images), np.concatenate(labels), splits)


def write_csv(path: Path, drawn: Drawn) -> None:
    """Write a sample in the layout of Kaggle's fer2013.csv: `emotion,pixels,Usage`."""
    usage = {split: name for name, split in USAGES.items()}
    digits = [str(level) for level in range(256)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii", newline="\n") as stream:
        stream.write("emotion,pixels,Usage\n")
        for image, label, split in zip(drawn.images, drawn.labels, drawn.splits, strict=True):
            pixels = " ".join([digits[level] for level in image.tobytes()])
            stream.write(f"{label},{pixels},{usage[str(split)]}\n")


def _classes(split: str, count: int) -> NDArray[np.int64]:
    """`count` sorted labels in the official shares of a split, by largest remainder; no class has fewer than LEAST."""
    official = np.array(OFFICIAL_COUNTS[split])
    if count < LEAST * len(official):
        raise ValueError(f"{split}: {count} images; {LEAST * len(official)} is the least for {LEAST} of each class")
    shares, remainders = np.divmod(official * count, official.sum())
    shares[np.argsort(-remainders, kind="stable")[: count - shares.sum()]] += 1
    while shares.min() < LEAST:
        shares[shares.argmin()] += 1
        shares[shares.argmax()] -= 1
    return np.repeat(np.arange(len(official), dtype=np.int64), shares)


def _spoil(images: list[Image], labels: list[NDArray[np.int64]], rng: np.random.Generator) -> None:
    """Write the blanks and the repeats into the images of each split, in place."""
    train = labels[0]
    free = np.ones(len(train), dtype=bool)  # neither blank nor already one of a pair
    blank = rng.choice(np.flatnonzero(train == np.bincount(train).argmax()), BLANKS, replace=False)
    images[0][blank], free[blank] = 0, False
    for split, codes in enumerate(labels):
        wanted = max(1, round(REPEATED * len(codes)))
        for row in rng.permutation(len(codes)):
            same = free & (train == codes[row])
            if split == 0:
                if not free[row]:
                    continue
                same[row] = False
            if wanted == 0:
                break
            if same.sum() <= LEAST:  # a rare class keeps its own faces
                continue
            origin = int(rng.choice(np.flatnonzero(same)))
            images[split][row] = images[0][origin]
            free[origin] = False
            if split == 0:
                free[row] = False
            wanted -= 1


@dataclass(frozen=True)
class _Person:
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
class _Pose:
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

    def halved(self) -> "_Pose":
        """The same pose on a canvas of half the side."""
        return replace(self, scale=self.scale / 2, x=self.x / 2, y=self.y / 2)


Mood = dict[str, float]


def draw_face(label: int, rng: np.random.Generator) -> Image:
    """Draw one face.

    Args:
        label: code 0-6.
        rng: the only source of chance.

    Returns:
        uint8 (48, 48), grey levels.
    """
    person, mood, pose = _person(rng), _mood(NAMES[label], rng), _pose(rng)
    canvas = _background(rng)
    head = _head(canvas, person, mood, pose, rng)
    _relief(canvas, head, person, mood, pose)
    for side in (-1, 1):
        _eye(canvas, side, person, mood, pose, rng)
    _mouth(canvas, person, mood, pose)
    _beard(canvas, head, person, mood, pose)
    for side in (-1, 1):
        _brow(canvas, side, person, mood, pose)
    _fringe(canvas, person, pose, rng)
    _glasses(canvas, person, pose)
    _occlude(canvas, person, pose, rng)
    return _develop(canvas, head, pose, rng)


def _person(rng: np.random.Generator) -> _Person:
    skin = rng.uniform(95, 215)
    hair = float(rng.choice([20, 35, 60, 100, 165, 205], p=[0.3, 0.25, 0.2, 0.1, 0.08, 0.07]))
    return _Person(
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


def _mood(name: str, rng: np.random.Generator) -> Mood:
    """Pull of every action unit, 0 to about 1.2: the expression at some intensity, over everyday twitches."""
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


def _pose(rng: np.random.Generator) -> _Pose:
    return _Pose(
        yaw=math.radians(float(np.clip(rng.normal(0, 9), -22, 22))),
        pitch=math.radians(float(np.clip(rng.normal(0, 5), -12, 12))),
        roll=math.radians(float(np.clip(rng.normal(0, 5), -14, 14))),
        scale=_FINE * rng.uniform(18.2, 21.6),
        x=_CANVAS / 2 + _FINE * rng.uniform(-1.6, 1.6),
        y=_CANVAS / 2 + _FINE * rng.uniform(-2.8, 0.6),
    )


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << _FRACTION_BITS)).astype(np.int32).reshape(-1, 1, 2)


def _fill(canvas: Image, points: Points, grey: float) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], _grey(grey), cv2.LINE_AA, _FRACTION_BITS)


def _stroke(canvas: Image, points: Points, grey: float, width: float) -> None:
    """An open line, `width` in fine pixels."""
    cv2.polylines(canvas, [_fixed(points)], False, _grey(grey), max(1, round(width)), cv2.LINE_AA, _FRACTION_BITS)


def _grey(level: float) -> tuple[int]:
    return (min(255, max(0, round(level))),)


def _curve(*points: tuple[float, float], n: int = 12) -> Points:
    """A Bezier curve (n, 2) through its first and last point."""
    curve: Points = _bernstein(len(points) - 1, n) @ np.array(points)
    return curve


@cache
def _bernstein(degree: int, n: int) -> Points:
    t = np.linspace(0.0, 1.0, n)
    return np.stack([math.comb(degree, k) * t**k * (1.0 - t) ** (degree - k) for k in range(degree + 1)], axis=1)


def _smooth(corners: Points) -> Points:
    """A polyline with its corners cut off three times (Chaikin); the ends stay."""
    for _ in range(3):
        near, far = 0.75 * corners[:-1] + 0.25 * corners[1:], 0.25 * corners[:-1] + 0.75 * corners[1:]
        inner = np.stack([near, far], axis=1).reshape(-1, 2)
        corners = np.concatenate([corners[:1], inner[1:-1], corners[-1:]])
    return corners


def _ellipse(x: float, y: float, rx: float, ry: float, n: int = 24) -> Points:
    return _circle(n) * (rx, ry) + (x, y)


@cache
def _circle(n: int) -> Points:
    angle = np.linspace(0.0, _ROUND, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _outline(person: _Person, mood: Mood) -> Points:
    """The face's outline (48, 2): half an ellipse above, a jaw that narrows below and drops with the mouth."""
    x, y = _circle(48).T
    width = person.width * (1.0 - person.jaw * np.maximum(y, 0.0) ** 2)
    chin = (1.12 + 0.16 * mood["jaw_drop"]) * person.height
    return np.stack([width * x, np.where(y > 0, chin, 1.12 * person.height) * y], axis=1)


def _background(rng: np.random.Generator) -> Image:
    """A ramp with blobs, out of focus: drawn small, as it has no detail."""
    start, stop = rng.uniform(20, 235, 2)
    small = np.tile(np.rint(np.linspace(start, stop, SIDE)).astype(np.uint8), (SIDE, 1))
    if rng.integers(2):
        small = np.ascontiguousarray(small.T)
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform(0, SIDE, 2)
        _fill(small, _ellipse(x, y, rng.uniform(2, 15), rng.uniform(2, 15)), rng.uniform(10, 245))
    return _enlarge(_soften(small, 4), _FINE).astype(np.uint8)


def _head(canvas: Image, person: _Person, mood: Mood, pose: _Pose, rng: np.random.Generator) -> Image:
    """Draw hair at the back, shoulders, neck, ears and the bare face; returns the face's mask."""
    place = pose.place
    wear = rng.uniform(15, 240)
    if person.style == "long":
        mane = np.array([(-1.15, 1.6), (-1.25, 0.4), (-1.2, -0.6), (-0.6, -1.3), (0.6, -1.3), (1.2, -0.6), (1.25, 0.4),
                         (1.15, 1.6)])  # fmt: skip
        _fill(canvas, place(_smooth(mane), -0.1), 0.85 * person.hair)
    elif person.style != "bald":
        _fill(canvas, place(_ellipse(0, -0.35, 1.04 * person.width, 0.9), -0.1), person.hair)
    _fill(canvas, place(_ellipse(0, 2.0, 1.9, 0.62), -0.2), wear)
    _fill(canvas, place(np.array([[-0.52, 0.7], [0.52, 0.7], [0.6, 1.7], [-0.6, 1.7]]), -0.2), 0.7 * person.skin)
    for side in () if person.style == "long" else (-1, 1):
        _fill(canvas, place(_ellipse(side * person.width, 0.02, 0.13, 0.26), -0.15), 0.85 * person.skin)
    outline = place(_outline(person, mood), 0.0)
    _fill(canvas, outline, person.skin)
    mask = np.zeros_like(canvas)
    _fill(mask, outline, 255)
    return mask


def _relief(canvas: Image, head: Image, person: _Person, mood: Mood, pose: _Pose) -> None:
    """Shade nose, sockets, cheeks and wrinkles: soft dark and bright strokes inside the face, in place."""
    dark, bright = np.zeros((2, _CANVAS // 2, _CANVAS // 2), dtype=np.uint8)  # blurred anyway: half the side will do
    pose = pose.halved()
    unit, place = pose.scale, pose.place
    for side in (-1, 1):
        eye = side * person.eye_gap
        _fill(dark, place(_ellipse(eye, -0.27, 0.27, 0.15)), 46)
        _stroke(dark, place(_curve((side * 0.2, 0.0), (side * 0.2, 0.12), (side * 0.16, 0.26))), 40, 0.07 * unit)
        _cheek(dark, bright, side, person, mood, pose)
    _nose(dark, bright, person, mood, pose)
    _forehead(dark, person, mood, pose)
    chin = 0.66 + person.mouth_height + 0.3 + 0.2 * mood["jaw_drop"]
    _stroke(dark, place(_curve((-0.2, chin), (0, chin - 0.05), (0.2, chin))), 50, 0.06 * unit)
    if mood["lip_corner_down"] > 0.4:
        _fill(bright, place(_ellipse(0, chin + 0.12, 0.18, 0.1)), 40)
    inside = head[::2, ::2].astype(np.uint16)
    shade = 256 - (_soften(dark, 3) * inside >> 8)
    glow = _soften(bright, 6) * inside >> 8
    lit = (canvas * _enlarge(shade, 2) >> 8) + _enlarge(glow, 2)
    np.copyto(canvas, np.minimum(lit, 255).astype(np.uint8))


def _cheek(dark: Image, bright: Image, side: int, person: _Person, mood: Mood, pose: _Pose) -> None:
    lift, unit, age = mood["cheek_raise"], pose.scale, 0.5 + 0.5 * person.age
    pull = max(mood["lip_corner_up"], 0.8 * mood["nose_wrinkle"], 0.8 * mood["lip_raise"], 0.6 * mood["lip_stretch"])
    corner = 0.36 * person.mouth_width + 0.1 * mood["lip_corner_up"] + 0.1 * mood["lip_stretch"]
    up = 0.08 * mood["nose_wrinkle"]
    fold = _curve((side * 0.2, 0.22 - up), (side * (corner + 0.12), 0.34 - up), (side * (corner + 0.1), 0.62))
    _stroke(dark, pose.place(fold), age * (18 + 95 * pull), 0.06 * unit)
    _fill(bright, pose.place(_ellipse(side * 0.52, 0.22 - 0.08 * lift, 0.2, 0.14)), 10 + 38 * lift)
    eye = side * person.eye_gap
    bag = _curve((eye - 0.2, -0.08), (eye, 0.02 - 0.02 * lift), (eye + 0.2, -0.08))
    _stroke(
        dark, pose.place(bag), age * (20 + 70 * max(lift, mood["lid_tighten"], 0.6 * mood["lid_droop"])), 0.04 * unit
    )
    if lift > 0.25:
        for slope in (-0.08, 0.0, 0.08):
            foot = _curve((eye + side * 0.27, -0.17 + slope * 0.4), (eye + side * 0.43, -0.17 + slope))
            _stroke(dark, pose.place(foot), age * 90 * lift, 0.025 * unit)


def _nose(dark: Image, bright: Image, person: _Person, mood: Mood, pose: _Pose) -> None:
    wrinkle, unit = mood["nose_wrinkle"], pose.scale
    tip = 0.3 + person.nose_length - 0.07 * wrinkle
    wing = 0.16 * person.nose_width * (1 + 0.2 * wrinkle)

    def lay(points: Points) -> Points:
        return pose.place(points, 0.98)  # the nose stands out from the face

    _stroke(bright, lay(_curve((0, -0.15), (0, tip - 0.06))), 42, 0.1 * unit)
    for side in (-1, 1):
        _stroke(dark, lay(_curve((side * 0.1, -0.2), (side * 0.07, 0.05), (side * wing, tip - 0.08))), 42, 0.05 * unit)
        ala = _curve((side * wing, tip - 0.1), (side * wing * 1.35, tip + 0.02), (side * wing * 0.7, tip + 0.05))
        _stroke(dark, lay(ala), 85, 0.045 * unit)
        _fill(dark, lay(_ellipse(side * wing * 0.55, tip + 0.04, 0.05, 0.03)), 230)
        if wrinkle > 0.25:
            for y in (-0.16, -0.06, 0.04):
                line = _curve((side * 0.03, y - 0.02), (side * 0.13, y - 0.03), (side * 0.2, y + 0.06))
                _stroke(dark, lay(line), 105 * wrinkle, 0.03 * unit)
    _stroke(dark, lay(_curve((-wing * 0.5, tip + 0.06), (0, tip + 0.08), (wing * 0.5, tip + 0.06))), 90, 0.03 * unit)


def _forehead(dark: Image, person: _Person, mood: Mood, pose: _Pose) -> None:
    raised, frown = (
        0.6 * mood["inner_raise"] + 0.4 * mood["outer_raise"],
        mood["brow_lower"] + 0.5 * mood["nose_wrinkle"],
    )
    width = 0.25 + 0.3 * mood["outer_raise"]
    if raised > 0.3:
        for y in (-0.62, -0.71, -0.8):
            bow = 0.05 * (mood["inner_raise"] - mood["outer_raise"])
            line = _curve((-width, y + bow), (0, y - 2 * bow), (width, y + bow))
            _stroke(dark, pose.place(line), 85 * raised * person.age, 0.03 * pose.scale)
    if frown > 0.3:
        for side in (-1, 1):
            line = _curve((side * 0.06, -0.3), (side * 0.05, -0.4), (side * 0.08, -0.52))
            _stroke(dark, pose.place(line), min(1.2, frown) * 100 * (0.5 + 0.5 * person.age), 0.035 * pose.scale)


def _eye(canvas: Image, side: int, person: _Person, mood: Mood, pose: _Pose, rng: np.random.Generator) -> None:
    lean = 1.0 + 0.3 * side * mood["skew"]
    x, y = side * person.eye_gap, -0.17
    half = 0.235 * person.eye_size
    tight = mood["lid_tighten"] * lean
    upper = 0.115 * person.eye_size * max(0.12, 1 + 0.75 * mood["lid_raise"] - 0.5 * tight - 0.25 * mood["cheek_raise"]
                                          - 0.5 * mood["lid_droop"] - 0.15 * mood["brow_lower"])  # fmt: skip
    lower = 0.065 * person.eye_size * (1 + 0.5 * mood["lid_raise"] - 0.8 * tight - 1.25 * mood["cheek_raise"])
    droop = 0.05 * mood["lid_droop"] + 0.03 * mood["inner_raise"]
    along = np.linspace(-1.0, 1.0, 13)
    arc = (1.0 - along * along) ** 0.75
    slope = y + droop * along * side
    top = np.stack([x + half * along, slope - upper * arc], axis=1)
    bottom = np.stack([x + half * along, slope + np.maximum(lower, 0.015 - upper) * arc], axis=1)
    almond = pose.place(np.concatenate([top, bottom[::-1]]))
    white = min(250.0, 0.35 * person.skin + 140)
    opening = np.zeros_like(canvas)
    _fill(opening, almond, 255)
    ball = canvas.copy()
    _fill(ball, almond, white)
    gaze = pose.place(np.array([[x + rng.uniform(-0.03, 0.03), y - 0.015]]))[0]
    radius = 0.12 * person.eye_size * pose.scale
    _fill(ball, _ellipse(gaze[0], gaze[1], radius, radius), person.iris + 30)
    _fill(ball, _ellipse(gaze[0], gaze[1], 0.55 * radius, 0.55 * radius), 8)
    _fill(ball, _ellipse(gaze[0] - 0.35 * radius, gaze[1] - 0.4 * radius, 0.22 * radius, 0.22 * radius, 10), 245)
    np.copyto(canvas, np.where(opening > 127, ball, canvas))
    _stroke(canvas, pose.place(top), 0.25 * person.skin, 0.04 * pose.scale)
    _stroke(canvas, pose.place(bottom), 0.55 * person.skin, 0.022 * pose.scale)
    crease = np.stack([top[:, 0], top[:, 1] - 0.05 - 0.02 * mood["lid_droop"]], axis=1)
    _stroke(canvas, pose.place(crease[2:-2]), 0.68 * person.skin, 0.022 * pose.scale)


def _brow(canvas: Image, side: int, person: _Person, mood: Mood, pose: _Pose) -> None:
    lean = 1.0 + 0.25 * side * mood["skew"]
    eye, base = person.eye_gap, -0.43 + person.brow_height
    down = lean * (mood["brow_lower"] + 0.45 * mood["nose_wrinkle"])
    inner_x = eye - 0.25 - 0.06 * mood["brow_lower"]
    inner = base - 0.17 * mood["inner_raise"] + 0.2 * down + 0.02
    middle = base - 0.1 * mood["inner_raise"] - 0.17 * mood["outer_raise"] + 0.09 * down - 0.05
    outer = (
        base - 0.14 * mood["outer_raise"] - 0.02 * down + 0.06 + 0.04 * mood["lid_droop"] + 0.03 * mood["inner_raise"]
    )
    spine = _curve((side * inner_x, inner), (side * (eye + 0.02), middle - 0.05), (side * (eye + 0.3), outer), n=12)
    weight = 0.06 * person.brow_weight * np.linspace(1.0, 0.35, 12)
    body = np.concatenate(
        [spine - np.stack([0 * weight, weight], 1), (spine + np.stack([0 * weight, weight], 1))[::-1]]
    )
    grey = min(0.75 * person.hair + 10, 0.62 * person.skin)
    _fill(canvas, pose.place(body), grey)


def _mouth(canvas: Image, person: _Person, mood: Mood, pose: _Pose) -> None:
    drop, up, down = mood["jaw_drop"], mood["lip_corner_up"], mood["lip_corner_down"]
    y = 0.66 + person.mouth_height
    half = 0.38 * person.mouth_width * (1 + 0.3 * up + 0.3 * mood["lip_stretch"] - 0.42 * mood["pucker"]
                                        - 0.12 * mood["lip_tighten"])  # fmt: skip
    along = np.linspace(-1.0, 1.0, 21)
    skew = 0.5 * mood["skew"] * along
    corner = y - 0.17 * up + 0.14 * down * (1 + skew) + (0.06 * mood["lip_stretch"] + 0.1 * mood["pucker"] * drop)
    box = 1.0 - 0.5 * max(mood["pucker"], 0.8 * mood["lip_stretch"], 0.5 * mood["bare"] * (1 - min(1.0, up)))
    arc = np.clip(1.0 - along * along, 0.0, 1.0) ** box
    raised = mood["lip_raise"] * (1 + 2.2 * skew) * np.exp(-((np.abs(along) - 0.4) ** 2) / 0.15)
    gap = 0.46 * drop + 0.06 * mood["lip_raise"] * mood["bare"]
    upper = corner + (y - 0.09 * gap + 0.03 * up - 0.05 * down - corner) * arc - 0.13 * raised
    lower = np.maximum(corner + (y + 0.91 * gap + 0.04 * up - 0.05 * down - corner) * arc - 0.06 * raised, upper)
    x = half * along
    full = person.fullness * (1 - 0.65 * min(1.0, mood["lip_tighten"])) * (1 - 0.25 * min(1.0, up))
    bow = 0.02 * np.exp(-(along**2) / 0.02)
    rim = arc**0.6
    top = np.stack([x, upper - 0.075 * full * rim + bow * full], axis=1)
    bottom = np.stack([x, lower + 0.1 * full * rim], axis=1)
    above, below = np.stack([x, upper], axis=1), np.stack([x, lower], axis=1)
    lips = person.lips * person.skin
    _fill(canvas, pose.place(np.concatenate([top, above[::-1]])), 0.88 * lips)
    _fill(canvas, pose.place(np.concatenate([below, bottom[::-1]])), lips)
    hole = pose.place(np.concatenate([above, below[::-1]]))
    opening, inside = np.zeros_like(canvas), canvas.copy()
    _fill(opening, hole, 255)
    _fill(inside, hole, 0.22 * person.skin + 8)
    if drop > 0.35:
        _fill(inside, pose.place(_ellipse(0, float(lower[10]) + 0.02, 0.6 * half, 0.32 * gap)), 0.42 * person.skin)
    if mood["bare"] > 0.2:
        bite = np.stack([x, upper + np.minimum(0.15, 0.75 * np.maximum(lower - upper, 0.0))], axis=1)
        _fill(inside, pose.place(np.concatenate([above, bite[::-1]])), min(250.0, 150 + 0.45 * person.skin))
    np.copyto(canvas, np.where(opening > 127, inside, canvas))
    line = 0.35 * person.skin
    _stroke(canvas, pose.place(above), line, (0.03 + 0.015 * mood["lip_tighten"]) * pose.scale)
    for end in (0, -1):
        _fill(canvas, pose.place(_ellipse(float(x[end]), float(upper[end]), 0.03, 0.025, 10)), line)


def _beard(canvas: Image, head: Image, person: _Person, mood: Mood, pose: _Pose) -> None:
    if not person.beard:
        return
    y, drop = 0.66 + person.mouth_height, mood["jaw_drop"]
    mask = np.zeros((_CANVAS // 2, _CANVAS // 2), dtype=np.uint8)
    place = pose.halved().place
    for rise, width, height, grey in (
        (1.02 - y, 0.95, 0.62, 255),
        (-0.14, 0.36, 0.08, 255),
        (0.18 * drop, 0.42, 0.16 + 0.28 * drop, 0),  # the mouth stays free
        (-0.16, 0.3, 0.06, 255),
    ):
        _fill(mask, place(_ellipse(0, y + rise, width, height)), grey)
    weight = round(256 * person.beard) * (_soften(mask, 4).astype(np.int32) * head[::2, ::2] // 255) // 255
    target = round(min(person.hair, 0.6 * person.skin))
    np.copyto(canvas, (canvas + ((target - canvas.astype(np.int32)) * _enlarge(weight, 2) >> 8)).astype(np.uint8))


def _hairline(person: _Person) -> Points:
    """The lower edge of the hair, from the left ear over the forehead to the right ear (n, 2)."""
    w, y, part = person.width, person.hairline, person.parting
    if person.style == "long":
        over = [(-0.98, 0.5), (-0.92, 0.0), (-0.8, -0.35), (-0.45, y + 0.06), (part - 0.06, y - 0.16),
                (part + 0.06, y - 0.16), (0.45, y + 0.06), (0.8, -0.35), (0.92, 0.0), (0.98, 0.5)]  # fmt: skip
    elif person.style == "fringe":
        over = [(-1.02, 0.05), (-0.9, -0.4), (-0.78, y + 0.24), (-0.4, y + 0.2), (-0.3, y + 0.27), (0.0, y + 0.2),
                (0.1, y + 0.27), (0.4, y + 0.2), (0.78, y + 0.24), (0.9, -0.4), (1.02, 0.05)]  # fmt: skip
    elif person.style == "swept":
        side = 1.0 if part > 0 else -1.0
        over = [(-1.02, 0.0), (-0.93, -0.35), (-0.8, y + 0.2), (-0.2, y + 0.08), (0.45, y - 0.12), (0.62, y - 0.14),
                (0.8, y + 0.1), (0.93, -0.35), (1.02, 0.0)]  # fmt: skip
        over = [(side * a, b) for a, b in over][:: int(side)]
    else:
        over = [(-1.02, 0.0), (-0.94, -0.36), (-0.84, -0.52), (-0.7, y + 0.04), (-0.3, y - 0.06), (part * 0.4, y),
                (0.3, y - 0.06), (0.7, y + 0.04), (0.84, -0.52), (0.94, -0.36), (1.02, 0.0)]  # fmt: skip
    return _smooth(np.array(over)) * [w, 1.0]


def _fringe(canvas: Image, person: _Person, pose: _Pose, rng: np.random.Generator) -> None:
    """Hair on the head and over the forehead, with strands."""
    if person.style == "bald":
        return
    brim = _hairline(person)
    top = -1.16 * person.height - (0.12 if person.style != "short" else 0.05)
    width = float(brim[-1, 0]) + (0.16 if person.style == "long" else 0.05)
    foot = float(brim[-1, 1])
    crown = _smooth(np.array([(brim[-1, 0], foot), (width, -0.3), (0.95 * width, -0.85), (0.5, top), (-0.5, top),
                              (-0.95 * width, -0.85), (-width, -0.3), (brim[0, 0], foot)]))  # fmt: skip
    _fill(canvas, pose.place(np.concatenate([brim, crown]), 0.2), person.hair)
    if person.style == "curly":
        for x, y in np.concatenate([crown[::3], brim[2:-2:3]]):
            ball = _ellipse(x, y, rng.uniform(0.13, 0.2), rng.uniform(0.12, 0.17), 12)
            _fill(canvas, pose.place(ball, 0.2), person.hair * rng.uniform(0.8, 1.25) + 4)
    for at in rng.uniform(-0.85, 0.85, 8):
        root, tip = (0.6 * person.parting + 0.2 * at, top + 0.22), (at * 1.08, person.hairline - 0.08)
        strand = _curve(root, (0.75 * at, top + 0.3), tip)
        _stroke(canvas, pose.place(strand, 0.2), person.hair * rng.uniform(0.75, 1.15) + rng.uniform(0, 28), 2)


def _glasses(canvas: Image, person: _Person, pose: _Pose) -> None:
    if not person.glasses:
        return
    grey, width = 60 * person.glasses, 0.03 * pose.scale * (0.6 + person.glasses)
    for side in (-1, 1):
        rim = _ellipse(side * person.eye_gap, -0.13, 0.31, 0.25)
        _stroke(canvas, pose.place(np.concatenate([rim, rim[:1]])), grey, width)
        _stroke(canvas, pose.place(_curve((side * 0.73, -0.16), (side * 1.0, -0.2))), grey, width)
    _stroke(canvas, pose.place(_curve((-0.11, -0.15), (0, -0.2), (0.11, -0.15))), grey, width)


def _occlude(canvas: Image, person: _Person, pose: _Pose, rng: np.random.Generator) -> None:
    """Now and then a hand at the cheek or chin, or a bar over an edge of the picture."""
    chance = rng.uniform()
    side = int(rng.choice([-1, 1]))
    if chance < 0.05:
        for k in range(4):
            start = (side * (0.62 + 0.16 * k), 1.6)
            finger = _curve(start, (side * (0.55 + 0.14 * k), 1.0), (side * (0.5 + 0.15 * k), 0.55 + 0.12 * k))
            _stroke(canvas, pose.place(finger, 0.2), 0.55 * person.skin, 0.2 * pose.scale)
            _stroke(canvas, pose.place(finger, 0.2), 0.92 * person.skin, 0.15 * pose.scale)
    elif chance < 0.1:
        edge = rng.uniform(0.1, 0.24) * _CANVAS
        corners = np.array([[0, 0], [edge, 0], [edge * rng.uniform(0.5, 1.5), _CANVAS], [0, _CANVAS]])
        if side > 0:
            corners[:, 0] = _CANVAS - corners[:, 0]
        _fill(canvas, corners, rng.uniform(10, 245))


def _develop(canvas: Image, head: Image, pose: _Pose, rng: np.random.Generator) -> Image:
    """Average down, light from one side, gamma, blur, noise: uint8 (48, 48)."""
    small, mask = _shrink(canvas).astype(np.float64), _shrink(head) / 255.0
    grid = (np.arange(SIDE) + 0.5) * _FINE
    x, y = (grid[None, :] - pose.x) / pose.scale, (grid[:, None] - pose.y) / pose.scale
    angle, strength = rng.uniform(0, _ROUND), rng.uniform(0.0, 0.38)
    light = 1.0 + strength * (math.cos(angle) * x + math.sin(angle) * y - 0.25)
    light = light - mask * rng.uniform(0.1, 0.3) * np.clip(x * x + 0.7 * y * y - 0.15, 0.0, 1.2)
    lit = np.clip(small * np.clip(light, 0.15, 1.8), 0, 255)
    toned = 255.0 * (lit / 255.0) ** rng.uniform(0.75, 1.3)
    # a camera's automatic exposure: level and contrast are set by the picture
    mean = toned.mean()
    spread = math.sqrt(((toned - mean) ** 2).mean()) + 1.0
    exposed = (toned - mean) * min(1.5, rng.uniform(40, 62) / spread) + rng.uniform(108, 146)
    picture = _levels(exposed)
    blur = max(0.0, rng.uniform(-0.4, 0.8))
    noise = rng.normal(0.0, rng.uniform(0.5, 5.0), picture.shape)
    return _levels((1 - blur) * picture + blur * _soften(picture, 2) + noise)


def _levels(values: NDArray[np.float64]) -> Image:
    levels: Image = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return levels


def _soften(layer: Image, times: int) -> NDArray[np.uint16]:
    """Blur by (1, 2, 1) / 4 both ways, `times` over: integers, so not a matter of how cv2 was built."""
    soft = layer.astype(np.uint16)
    for _ in range(times):
        soft[1:-1] = (soft[:-2] + 2 * soft[1:-1] + soft[2:] + 2) >> 2
        soft[:, 1:-1] = (soft[:, :-2] + 2 * soft[:, 1:-1] + soft[:, 2:] + 2) >> 2
    return soft


def _enlarge(small: NDArray[Any], times: int) -> NDArray[Any]:
    return small.repeat(times, axis=0).repeat(times, axis=1)


def _shrink(fine: Image) -> Image:
    """Average blocks of fine pixels, rounded."""
    blocks = fine.reshape(SIDE, _FINE, SIDE, _FINE).sum(axis=(1, 3), dtype=np.int32)
    means: Image = ((blocks + _FINE * _FINE // 2) // (_FINE * _FINE)).astype(np.uint8)
    return means
