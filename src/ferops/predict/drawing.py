"""Pictures with the boxes and expressions of their faces drawn in."""

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from ferops.predict.detection import Picture
from ferops.predict.recognizer import Face

_COLOUR: Final = (37, 99, 168)
_UNCERTAIN: Final = (120, 120, 120)


def annotate(picture: Picture, faces: Iterable[Face]) -> Picture:
    """Return a copy of a picture, RGB uint8 (H, W, 3), with a box and a label for each face; gray where uncertain."""
    drawn = picture.copy()
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
