"""What shows an expression: eyes, brows, mouth, nose, cheeks and wrinkles, drawn by the pull of the action units."""

import numpy as np

from ferops.data.synthetic.canvas import CANVAS, Image, Points, curve, ellipse, enlarge, fill, soften, stroke
from ferops.data.synthetic.sitters import Mood, Person, Pose


def relief(canvas: Image, head: Image, person: Person, mood: Mood, pose: Pose) -> None:
    """Shade nose, sockets, cheeks and wrinkles: soft dark and bright strokes inside the face, in place."""
    dark, bright = np.zeros((2, CANVAS // 2, CANVAS // 2), dtype=np.uint8)  # blurred anyway: half the side will do
    pose = pose.halved()
    unit, place = pose.scale, pose.place
    for side in (-1, 1):
        eye = side * person.eye_gap
        fill(dark, place(ellipse(eye, -0.27, 0.27, 0.15)), 46)
        stroke(dark, place(curve((side * 0.2, 0.0), (side * 0.2, 0.12), (side * 0.16, 0.26))), 40, 0.07 * unit)
        _cheek(dark, bright, side, person, mood, pose)
    _nose(dark, bright, person, mood, pose)
    _forehead(dark, person, mood, pose)
    chin = 0.66 + person.mouth_height + 0.3 + 0.2 * mood["jaw_drop"]
    stroke(dark, place(curve((-0.2, chin), (0, chin - 0.05), (0.2, chin))), 50, 0.06 * unit)
    if mood["lip_corner_down"] > 0.4:
        fill(bright, place(ellipse(0, chin + 0.12, 0.18, 0.1)), 40)
    inside = head[::2, ::2].astype(np.uint16)
    shade = 256 - (soften(dark, 3) * inside >> 8)
    glow = soften(bright, 6) * inside >> 8
    lit = (canvas * enlarge(shade, 2) >> 8) + enlarge(glow, 2)
    np.copyto(canvas, np.minimum(lit, 255).astype(np.uint8))


def eye(canvas: Image, side: int, person: Person, mood: Mood, pose: Pose, rng: np.random.Generator) -> None:
    """One eye, -1 the left and 1 the right of the picture: lids, white, iris, gaze."""
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
    fill(opening, almond, 255)
    ball = canvas.copy()
    fill(ball, almond, white)
    gaze = pose.place(np.array([[x + rng.uniform(-0.03, 0.03), y - 0.015]]))[0]
    radius = 0.12 * person.eye_size * pose.scale
    fill(ball, ellipse(gaze[0], gaze[1], radius, radius), person.iris + 30)
    fill(ball, ellipse(gaze[0], gaze[1], 0.55 * radius, 0.55 * radius), 8)
    fill(ball, ellipse(gaze[0] - 0.35 * radius, gaze[1] - 0.4 * radius, 0.22 * radius, 0.22 * radius, 10), 245)
    np.copyto(canvas, np.where(opening > 127, ball, canvas))
    stroke(canvas, pose.place(top), 0.25 * person.skin, 0.04 * pose.scale)
    stroke(canvas, pose.place(bottom), 0.55 * person.skin, 0.022 * pose.scale)
    crease = np.stack([top[:, 0], top[:, 1] - 0.05 - 0.02 * mood["lid_droop"]], axis=1)
    stroke(canvas, pose.place(crease[2:-2]), 0.68 * person.skin, 0.022 * pose.scale)


def brow(canvas: Image, side: int, person: Person, mood: Mood, pose: Pose) -> None:
    """One brow, -1 the left and 1 the right of the picture."""
    lean = 1.0 + 0.25 * side * mood["skew"]
    eye, base = person.eye_gap, -0.43 + person.brow_height
    down = lean * (mood["brow_lower"] + 0.45 * mood["nose_wrinkle"])
    inner_x = eye - 0.25 - 0.06 * mood["brow_lower"]
    inner = base - 0.17 * mood["inner_raise"] + 0.2 * down + 0.02
    middle = base - 0.1 * mood["inner_raise"] - 0.17 * mood["outer_raise"] + 0.09 * down - 0.05
    outer = (
        base - 0.14 * mood["outer_raise"] - 0.02 * down + 0.06 + 0.04 * mood["lid_droop"] + 0.03 * mood["inner_raise"]
    )
    spine = curve((side * inner_x, inner), (side * (eye + 0.02), middle - 0.05), (side * (eye + 0.3), outer), n=12)
    weight = 0.06 * person.brow_weight * np.linspace(1.0, 0.35, 12)
    body = np.concatenate(
        [spine - np.stack([0 * weight, weight], 1), (spine + np.stack([0 * weight, weight], 1))[::-1]]
    )
    grey = min(0.75 * person.hair + 10, 0.62 * person.skin)
    fill(canvas, pose.place(body), grey)


def mouth(canvas: Image, person: Person, mood: Mood, pose: Pose) -> None:
    """Lips, and what is seen between them."""
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
    fill(canvas, pose.place(np.concatenate([top, above[::-1]])), 0.88 * lips)
    fill(canvas, pose.place(np.concatenate([below, bottom[::-1]])), lips)
    hole = pose.place(np.concatenate([above, below[::-1]]))
    opening, inside = np.zeros_like(canvas), canvas.copy()
    fill(opening, hole, 255)
    fill(inside, hole, 0.22 * person.skin + 8)
    if drop > 0.35:
        fill(inside, pose.place(ellipse(0, float(lower[10]) + 0.02, 0.6 * half, 0.32 * gap)), 0.42 * person.skin)
    if mood["bare"] > 0.2:
        bite = np.stack([x, upper + np.minimum(0.15, 0.75 * np.maximum(lower - upper, 0.0))], axis=1)
        fill(inside, pose.place(np.concatenate([above, bite[::-1]])), min(250.0, 150 + 0.45 * person.skin))
    np.copyto(canvas, np.where(opening > 127, inside, canvas))
    line = 0.35 * person.skin
    stroke(canvas, pose.place(above), line, (0.03 + 0.015 * mood["lip_tighten"]) * pose.scale)
    for end in (0, -1):
        fill(canvas, pose.place(ellipse(float(x[end]), float(upper[end]), 0.03, 0.025, 10)), line)


def beard(canvas: Image, head: Image, person: Person, mood: Mood, pose: Pose) -> None:
    """A beard, where the person has one, about the mouth and inside the face's mask."""
    if not person.beard:
        return
    y, drop = 0.66 + person.mouth_height, mood["jaw_drop"]
    mask = np.zeros((CANVAS // 2, CANVAS // 2), dtype=np.uint8)
    place = pose.halved().place
    for rise, width, height, grey in (
        (1.02 - y, 0.95, 0.62, 255),
        (-0.14, 0.36, 0.08, 255),
        (0.18 * drop, 0.42, 0.16 + 0.28 * drop, 0),  # the mouth stays free
        (-0.16, 0.3, 0.06, 255),
    ):
        fill(mask, place(ellipse(0, y + rise, width, height)), grey)
    weight = round(256 * person.beard) * (soften(mask, 4).astype(np.int32) * head[::2, ::2] // 255) // 255
    target = round(min(person.hair, 0.6 * person.skin))
    np.copyto(canvas, (canvas + ((target - canvas.astype(np.int32)) * enlarge(weight, 2) >> 8)).astype(np.uint8))


def _cheek(dark: Image, bright: Image, side: int, person: Person, mood: Mood, pose: Pose) -> None:
    lift, unit, age = mood["cheek_raise"], pose.scale, 0.5 + 0.5 * person.age
    pull = max(mood["lip_corner_up"], 0.8 * mood["nose_wrinkle"], 0.8 * mood["lip_raise"], 0.6 * mood["lip_stretch"])
    corner = 0.36 * person.mouth_width + 0.1 * mood["lip_corner_up"] + 0.1 * mood["lip_stretch"]
    up = 0.08 * mood["nose_wrinkle"]
    fold = curve((side * 0.2, 0.22 - up), (side * (corner + 0.12), 0.34 - up), (side * (corner + 0.1), 0.62))
    stroke(dark, pose.place(fold), age * (18 + 95 * pull), 0.06 * unit)
    fill(bright, pose.place(ellipse(side * 0.52, 0.22 - 0.08 * lift, 0.2, 0.14)), 10 + 38 * lift)
    eye = side * person.eye_gap
    bag = curve((eye - 0.2, -0.08), (eye, 0.02 - 0.02 * lift), (eye + 0.2, -0.08))
    stroke(
        dark, pose.place(bag), age * (20 + 70 * max(lift, mood["lid_tighten"], 0.6 * mood["lid_droop"])), 0.04 * unit
    )
    if lift > 0.25:
        for slope in (-0.08, 0.0, 0.08):
            foot = curve((eye + side * 0.27, -0.17 + slope * 0.4), (eye + side * 0.43, -0.17 + slope))
            stroke(dark, pose.place(foot), age * 90 * lift, 0.025 * unit)


def _nose(dark: Image, bright: Image, person: Person, mood: Mood, pose: Pose) -> None:
    wrinkle, unit = mood["nose_wrinkle"], pose.scale
    tip = 0.3 + person.nose_length - 0.07 * wrinkle
    wing = 0.16 * person.nose_width * (1 + 0.2 * wrinkle)

    def lay(points: Points) -> Points:
        return pose.place(points, 0.98)  # the nose stands out from the face

    stroke(bright, lay(curve((0, -0.15), (0, tip - 0.06))), 42, 0.1 * unit)
    for side in (-1, 1):
        stroke(dark, lay(curve((side * 0.1, -0.2), (side * 0.07, 0.05), (side * wing, tip - 0.08))), 42, 0.05 * unit)
        ala = curve((side * wing, tip - 0.1), (side * wing * 1.35, tip + 0.02), (side * wing * 0.7, tip + 0.05))
        stroke(dark, lay(ala), 85, 0.045 * unit)
        fill(dark, lay(ellipse(side * wing * 0.55, tip + 0.04, 0.05, 0.03)), 230)
        if wrinkle > 0.25:
            for y in (-0.16, -0.06, 0.04):
                line = curve((side * 0.03, y - 0.02), (side * 0.13, y - 0.03), (side * 0.2, y + 0.06))
                stroke(dark, lay(line), 105 * wrinkle, 0.03 * unit)
    stroke(dark, lay(curve((-wing * 0.5, tip + 0.06), (0, tip + 0.08), (wing * 0.5, tip + 0.06))), 90, 0.03 * unit)


def _forehead(dark: Image, person: Person, mood: Mood, pose: Pose) -> None:
    raised, frown = (
        0.6 * mood["inner_raise"] + 0.4 * mood["outer_raise"],
        mood["brow_lower"] + 0.5 * mood["nose_wrinkle"],
    )
    width = 0.25 + 0.3 * mood["outer_raise"]
    if raised > 0.3:
        for y in (-0.62, -0.71, -0.8):
            bow = 0.05 * (mood["inner_raise"] - mood["outer_raise"])
            line = curve((-width, y + bow), (0, y - 2 * bow), (width, y + bow))
            stroke(dark, pose.place(line), 85 * raised * person.age, 0.03 * pose.scale)
    if frown > 0.3:
        for side in (-1, 1):
            line = curve((side * 0.06, -0.3), (side * 0.05, -0.4), (side * 0.08, -0.52))
            stroke(dark, pose.place(line), min(1.2, frown) * 100 * (0.5 + 0.5 * person.age), 0.035 * pose.scale)
