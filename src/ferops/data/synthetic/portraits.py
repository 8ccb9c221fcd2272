"""One synthetic face: a person with a mood, in a pose, before a background, in some light."""

import math

import numpy as np
from numpy.typing import NDArray

from ferops.data.synthetic import features, sitters
from ferops.data.synthetic.canvas import (
    CANVAS,
    FINE,
    ROUND,
    Image,
    Points,
    circle,
    curve,
    ellipse,
    enlarge,
    fill,
    shrink,
    smooth,
    soften,
    stroke,
)
from ferops.data.synthetic.sitters import Mood, Person, Pose
from ferops.labels import NAMES, SIDE


def draw_face(label: int, rng: np.random.Generator) -> Image:
    """Draw one face.

    Args:
        label: code 0-6.
        rng: the only source of chance.

    Returns:
        uint8 (48, 48), grey levels.
    """
    person, mood, pose = sitters.person(rng), sitters.mood(NAMES[label], rng), sitters.pose(rng)
    canvas = _background(rng)
    head = _head(canvas, person, mood, pose, rng)
    features.relief(canvas, head, person, mood, pose)
    for side in (-1, 1):
        features.eye(canvas, side, person, mood, pose, rng)
    features.mouth(canvas, person, mood, pose)
    features.beard(canvas, head, person, mood, pose)
    for side in (-1, 1):
        features.brow(canvas, side, person, mood, pose)
    _fringe(canvas, person, pose, rng)
    _glasses(canvas, person, pose)
    _occlude(canvas, person, pose, rng)
    return _develop(canvas, head, pose, rng)


def _background(rng: np.random.Generator) -> Image:
    """A ramp with blobs, out of focus: drawn small, as it has no detail."""
    start, stop = rng.uniform(20, 235, 2)
    small = np.tile(np.rint(np.linspace(start, stop, SIDE)).astype(np.uint8), (SIDE, 1))
    if rng.integers(2):
        small = np.ascontiguousarray(small.T)
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform(0, SIDE, 2)
        fill(small, ellipse(x, y, rng.uniform(2, 15), rng.uniform(2, 15)), rng.uniform(10, 245))
    return enlarge(soften(small, 4), FINE).astype(np.uint8)


def _head(canvas: Image, person: Person, mood: Mood, pose: Pose, rng: np.random.Generator) -> Image:
    """Draw hair at the back, shoulders, neck, ears and the bare face; returns the face's mask."""
    place = pose.place
    wear = rng.uniform(15, 240)
    if person.style == "long":
        mane = np.array([(-1.15, 1.6), (-1.25, 0.4), (-1.2, -0.6), (-0.6, -1.3), (0.6, -1.3), (1.2, -0.6), (1.25, 0.4),
                         (1.15, 1.6)])  # fmt: skip
        fill(canvas, place(smooth(mane), -0.1), 0.85 * person.hair)
    elif person.style != "bald":
        fill(canvas, place(ellipse(0, -0.35, 1.04 * person.width, 0.9), -0.1), person.hair)
    fill(canvas, place(ellipse(0, 2.0, 1.9, 0.62), -0.2), wear)
    fill(canvas, place(np.array([[-0.52, 0.7], [0.52, 0.7], [0.6, 1.7], [-0.6, 1.7]]), -0.2), 0.7 * person.skin)
    for side in () if person.style == "long" else (-1, 1):
        fill(canvas, place(ellipse(side * person.width, 0.02, 0.13, 0.26), -0.15), 0.85 * person.skin)
    outline = place(_outline(person, mood), 0.0)
    fill(canvas, outline, person.skin)
    mask = np.zeros_like(canvas)
    fill(mask, outline, 255)
    return mask


def _outline(person: Person, mood: Mood) -> Points:
    """The face's outline (48, 2): half an ellipse above, a jaw that narrows below and drops with the mouth."""
    x, y = circle(48).T
    width = person.width * (1.0 - person.jaw * np.maximum(y, 0.0) ** 2)
    chin = (1.12 + 0.16 * mood["jaw_drop"]) * person.height
    return np.stack([width * x, np.where(y > 0, chin, 1.12 * person.height) * y], axis=1)


def _hairline(person: Person) -> Points:
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
    return smooth(np.array(over)) * [w, 1.0]


def _fringe(canvas: Image, person: Person, pose: Pose, rng: np.random.Generator) -> None:
    """Hair on the head and over the forehead, with strands."""
    if person.style == "bald":
        return
    brim = _hairline(person)
    top = -1.16 * person.height - (0.12 if person.style != "short" else 0.05)
    width = float(brim[-1, 0]) + (0.16 if person.style == "long" else 0.05)
    foot = float(brim[-1, 1])
    crown = smooth(np.array([(brim[-1, 0], foot), (width, -0.3), (0.95 * width, -0.85), (0.5, top), (-0.5, top),
                              (-0.95 * width, -0.85), (-width, -0.3), (brim[0, 0], foot)]))  # fmt: skip
    fill(canvas, pose.place(np.concatenate([brim, crown]), 0.2), person.hair)
    if person.style == "curly":
        for x, y in np.concatenate([crown[::3], brim[2:-2:3]]):
            ball = ellipse(x, y, rng.uniform(0.13, 0.2), rng.uniform(0.12, 0.17), 12)
            fill(canvas, pose.place(ball, 0.2), person.hair * rng.uniform(0.8, 1.25) + 4)
    for at in rng.uniform(-0.85, 0.85, 8):
        root, tip = (0.6 * person.parting + 0.2 * at, top + 0.22), (at * 1.08, person.hairline - 0.08)
        strand = curve(root, (0.75 * at, top + 0.3), tip)
        stroke(canvas, pose.place(strand, 0.2), person.hair * rng.uniform(0.75, 1.15) + rng.uniform(0, 28), 2)


def _glasses(canvas: Image, person: Person, pose: Pose) -> None:
    if not person.glasses:
        return
    grey, width = 60 * person.glasses, 0.03 * pose.scale * (0.6 + person.glasses)
    for side in (-1, 1):
        rim = ellipse(side * person.eye_gap, -0.13, 0.31, 0.25)
        stroke(canvas, pose.place(np.concatenate([rim, rim[:1]])), grey, width)
        stroke(canvas, pose.place(curve((side * 0.73, -0.16), (side * 1.0, -0.2))), grey, width)
    stroke(canvas, pose.place(curve((-0.11, -0.15), (0, -0.2), (0.11, -0.15))), grey, width)


def _occlude(canvas: Image, person: Person, pose: Pose, rng: np.random.Generator) -> None:
    """Now and then a hand at the cheek or chin, or a bar over an edge of the picture."""
    chance = rng.uniform()
    side = int(rng.choice([-1, 1]))
    if chance < 0.05:
        for k in range(4):
            start = (side * (0.62 + 0.16 * k), 1.6)
            finger = curve(start, (side * (0.55 + 0.14 * k), 1.0), (side * (0.5 + 0.15 * k), 0.55 + 0.12 * k))
            stroke(canvas, pose.place(finger, 0.2), 0.55 * person.skin, 0.2 * pose.scale)
            stroke(canvas, pose.place(finger, 0.2), 0.92 * person.skin, 0.15 * pose.scale)
    elif chance < 0.1:
        edge = rng.uniform(0.1, 0.24) * CANVAS
        corners = np.array([[0, 0], [edge, 0], [edge * rng.uniform(0.5, 1.5), CANVAS], [0, CANVAS]])
        if side > 0:
            corners[:, 0] = CANVAS - corners[:, 0]
        fill(canvas, corners, rng.uniform(10, 245))


def _develop(canvas: Image, head: Image, pose: Pose, rng: np.random.Generator) -> Image:
    """Average down, light from one side, gamma, blur, noise: uint8 (48, 48)."""
    small, mask = shrink(canvas).astype(np.float64), shrink(head) / 255.0
    grid = (np.arange(SIDE) + 0.5) * FINE
    x, y = (grid[None, :] - pose.x) / pose.scale, (grid[:, None] - pose.y) / pose.scale
    angle, strength = rng.uniform(0, ROUND), rng.uniform(0.0, 0.38)
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
    return _levels((1 - blur) * picture + blur * soften(picture, 2) + noise)


def _levels(values: NDArray[np.float64]) -> Image:
    levels: Image = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return levels
