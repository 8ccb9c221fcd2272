"""`ferops predict --camera`: lines as the expressions before a camera change, and a window where there can be one."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import cv2
from rich.console import Console

from ferops.errors import FeropsError
from ferops.machine.environment import only_python_stderr
from ferops.predict import video
from ferops.predict.detection import Picture
from ferops.predict.drawing import annotate
from ferops.predict.recognizer import ExpressionRecognizer, Face
from ferops.predict.video import Frame

_WINDOW = "ferops: q ends"


class OnlyCamera(FeropsError):
    """Something was given that does not go with a camera."""


def watch(number: int, console: Console, *, as_json: bool, model: str | None, detector: str, tta: bool) -> None:
    """Watch a camera until Ctrl-C, or until the window is closed.

    Raises:
        NoCamera: there is no such camera, or it gives no picture.
        BadNetwork, UnknownDetector: of `ExpressionRecognizer`.
    """
    recognizer = ExpressionRecognizer(model, detector, tta=tta)
    has_window, errors = _has_windows(), Console(stderr=True)
    with only_python_stderr():
        frames = video.camera(number)
        first = next(frames)  # or there is no camera
        if errors.is_terminal and not has_window:
            errors.print("no window here: `ferops serve` shows the camera in a browser; Ctrl-C ends", highlight=False)
        say(chain([first], frames), recognizer, console, as_json=as_json, has_window=has_window)


def say(
    frames: Iterator[Frame], recognizer: ExpressionRecognizer, console: Console, *, as_json: bool, has_window: bool
) -> None:
    """Print a line whenever the expressions change, or one of JSON for each frame; last, how many frames there were."""
    before: tuple[str, ...] | None = None
    frame, seconds = -1, 0.0
    with suppress(KeyboardInterrupt):
        for frame, seconds, picture in frames:
            (answer,) = recognizer.predict(picture)
            now = tuple("?" if face.uncertain else face.label for face in answer.faces)
            if as_json:
                answer = replace(answer, frame=frame, seconds=round(seconds, 3))
                print(json.dumps(answer.as_json()), flush=True)
            elif now != before:
                console.print(f"{seconds:8.1f} s  {_faces(answer.faces)}", highlight=False, soft_wrap=True)
            before = now
            if has_window and _is_closed(annotate(picture, answer.faces)):
                break
    if not as_json:
        console.print(f"{frame + 1:,} frames in {seconds:.1f} s", highlight=False)


def _faces(faces: tuple[Face, ...]) -> str:
    shown = (f"{face.label}{'?' * face.uncertain} {face.probability:.2f}" for face in faces)
    return ", ".join(shown) or "no face"


def _has_windows() -> bool:
    """Whether OpenCV can show windows here: without a display its own toolkit would end the process."""
    is_display = sys.platform != "linux" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return bool(cv2.currentUIFramework()) and is_display


def _is_closed(picture: Picture) -> bool:
    """Show a picture, and return whether the window was closed, or q or Escape pressed."""
    cv2.imshow(_WINDOW, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    pressed = cv2.waitKey(1) & 0xFF in (ord("q"), 27)
    return pressed or cv2.getWindowProperty(_WINDOW, cv2.WND_PROP_VISIBLE) < 1
