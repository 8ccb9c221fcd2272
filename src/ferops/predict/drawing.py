"""Pictures with the boxes and expressions of their faces drawn in."""

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from ferops.data import pictures
from ferops.predict.detection import Picture, affine
from ferops.predict.recognizer import Explanation, Face

_COLOUR: Final = (37, 99, 168)
_UNCERTAIN: Final = (120, 120, 120)


def annotate(picture: Picture, faces: Iterable[Face]) -> Picture:
    """Return a copy of a picture, RGB uint8 (H, W, 3), with a box and a label for each face; gray where uncertain.

    Below them lie the explanations of the faces that have one.
    """
    faces, drawn = list(faces), picture.copy()
    for face in faces:
        if face.explanation:
            _overlay(drawn, face.explanation)
    line = max(2, round(max(picture.shape[:2]) / 500))
    for face in faces:
        left, top, width, height = face.box
        colour = _UNCERTAIN if face.uncertain else _COLOUR
        cv2.rectangle(drawn, (left, top), (left + width - 1, top + height - 1), colour, line)
        text = f"{face.label} {face.probability:.0%}"
        scale = max(0.4, line / 4)
        (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line // 2)
        bottom = top if top >= high + below + line else min(top + height + high + below + line, picture.shape[0])
        start = min(left, max(0, picture.shape[1] - wide))
        cv2.rectangle(drawn, (start, bottom - high - below - line), (start + wide, bottom), colour, cv2.FILLED)
        place = (start, bottom - below)
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), line // 2, cv2.LINE_AA)
    return np.asarray(drawn, np.uint8)


def _overlay(picture: Picture, explanation: Explanation) -> None:
    """Draw a map over the part of the picture that its crop was cut out of."""
    corners, heat = explanation
    ends = np.concatenate([corners, [corners[1] + corners[2] - corners[0]]])
    left, top = (max(0, int(least)) for least in np.floor(ends.min(axis=0)))
    right, bottom = (int(most) for most in np.ceil(ends.max(axis=0)))
    region = picture[top:bottom, left:right]
    if region.size == 0:
        return
    whole = np.array([[0, 0], [heat.shape[1], 0], [0, heat.shape[0]]], np.float32)
    matrix = affine(whole, corners - np.array([left, top], np.float32))
    region[:] = pictures.overlay(region, cv2.warpAffine(heat, matrix, region.shape[1::-1], flags=cv2.INTER_CUBIC))
