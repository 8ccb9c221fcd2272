"""Pictures for people to look at, as PNG: contact sheets of images, and the distribution of the classes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES, SIDE

Image = NDArray[np.uint8]

BLUE, ORANGE = "#2563a8", "#d9730d"

COLUMNS: Final = 10
"""Examples of a class on a contact sheet, at most."""

_SCALE: Final = 2  # pixels of the sheet for one of an image, each way; the other lengths are in pixels of the sheet
_CELL: Final = _SCALE * SIDE
_STEP: Final = _CELL + 4
_MARGIN: Final = 8
_NAME_WIDTH: Final = 88
_PAPER, _INK, _FAINT = 255, 30, 120  # gray levels of the sheet, the names and the counts

SUSPECTS: Final = 70
"""Faces on the sheet of labels in doubt, at most."""

_MISTAKES, _A_ROW = 35, 7  # faces on the sheet of mistakes, and in a row of it
_EXAMPLES: Final = 4  # faces of a class on the sheet of explanations
_TITLE, _SHEET, _CAPTIONED = 32, 916, _CELL + 44
_OPACITY: Final = 0.6  # of a map where it is 1


def contact_sheet(images: Image, labels: NDArray[np.int64]) -> Image:
    """Return a contact sheet: a row of examples for each expression, after its name and number of images.

    The examples of a class are chosen at random from all of its images, by a seed that is always the same, and shown
    in their order. They do not depend on the other classes. A class without images has no row.

    Args:
        images: uint8 (N, 48, 48), gray levels.
        labels: int64 (N,), codes 0-6.

    Returns:
        uint8 (height, width), gray levels. The width is always the same, the height depends on the number of rows.
    """
    rows = [_row(NAMES[code], images, np.flatnonzero(labels == code), code) for code in np.unique(labels)]
    none = _row("no images", images, np.arange(0), 0)
    return np.pad(np.concatenate(rows or [none]), _MARGIN, constant_values=_PAPER)


def _row(name: str, images: Image, members: NDArray[np.int64], seed: int) -> Image:
    """Return a row of a contact sheet: the name of a class, the number of its images, and some of them."""
    row = np.full((_STEP, _NAME_WIDTH + COLUMNS * _STEP), _PAPER, np.uint8)
    for text, baseline, size, gray in ((name, 46, 0.6, _INK), (f"{len(members):,}", 68, 0.5, _FAINT)):
        cv2.putText(row, text, (0, baseline), cv2.FONT_HERSHEY_SIMPLEX, size, gray, 1, cv2.LINE_AA)
    chosen = np.random.default_rng([0, seed]).choice(len(members), min(COLUMNS, len(members)), replace=False)
    for column, image in enumerate(images[members[np.sort(chosen)]]):
        left = _NAME_WIDTH + column * _STEP
        row[:_CELL, left : left + _CELL] = image.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
    return row


def mistakes_sheet(images: Image, labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Image:
    """Return a sheet of the most confident mistakes: below each face the true expression, and the predicted one.

    Args:
        images: uint8 (N, 48, 48), gray levels.
        labels: int64 (N,), codes 0-6.
        probabilities: (N, 7).

    Returns:
        uint8 (height, width, 3).
    """
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    chosen = wrong[np.argsort(-certainty[wrong], kind="stable")][:_MISTAKES]
    title = (
        f"The {len(chosen)} most confident of {len(wrong):,} mistakes: true expression, predicted one and probability"
    )
    names = [f"{NAMES[predicted[face]]} {certainty[face]:.2f}" for face in chosen]
    return _captioned(title, images[chosen], np.take(NAMES, labels[chosen]), names)


def suspects_sheet(images: Image, given: Iterable[str], suggested: Iterable[str], count: int) -> Image:
    """Return a sheet of labels in doubt: below each face its label, and the suggested one.

    Args:
        images: uint8 (N, 48, 48), gray levels, the most doubtful first; at most `SUSPECTS`.
        given: N names of expressions.
        suggested: N names of expressions.
        count: of all images in doubt.

    Returns:
        uint8 (height, width, 3).
    """
    title = f"The {len(images)} most doubtful of {count:,} labels in doubt: the label, and the suggested one"
    return _captioned(title, images, given, suggested)


def _captioned(title: str, images: Image, names: Iterable[str], below: Iterable[str]) -> Image:
    """Return a sheet of faces (N, 48, 48), with two lines of text under each."""
    sheet = titled(title, -(-len(images) // _A_ROW) * _CAPTIONED)
    for place, (face, name, faint) in enumerate(zip(images, names, below, strict=True)):
        top, left = _TITLE + place // _A_ROW * _CAPTIONED, place % _A_ROW * (_SHEET // _A_ROW)
        sheet[top : top + _CELL, left : left + _CELL] = _enlarged(face)
        _write(sheet, name, left, top + _CELL + 16, _INK)
        _write(sheet, faint, left, top + _CELL + 34, _FAINT)
    return sheet


def examples(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the rows of a few right answers for each expression, evenly spread over the more confident half."""
    rows: list[int] = []
    for code in range(len(NAMES)):
        right = np.flatnonzero((labels == code) & (probabilities.argmax(axis=1) == code))
        half = right[np.argsort(-probabilities[right, code], kind="stable")][: -(-len(right) // 2)]
        rows += half[np.unique(np.linspace(0, len(half), _EXAMPLES, endpoint=False, dtype=int))[: len(half)]].tolist()
    return np.array(rows, np.int64)


def explanations_sheet(images: Image, labels: NDArray[np.int64], maps: NDArray[np.float32]) -> Image:
    """Return a sheet with a row for each expression: faces, and beside each the same with its Grad-CAM map over it.

    Args:
        images: uint8 (N, 48, 48), gray levels, at most 4 of each class.
        labels: int64 (N,), codes 0-6.
        maps: in [0, 1], float32 (N, height, width).

    Returns:
        uint8 (height, width, 3), in BGR.
    """
    codes = np.unique(labels)
    title = "Grad-CAM of right answers: bright where features speak for it, plain where none do"
    sheet = titled(title, len(codes) * _STEP)
    for line, code in enumerate(codes):
        top = _TITLE + line * _STEP
        _write(sheet, NAMES[code], 0, top + _CELL // 2, _INK)
        for column, row in enumerate(np.flatnonzero(labels == code)):
            face, left = _enlarged(images[row]), _NAME_WIDTH + column * (2 * _CELL + 12)
            heat = cv2.resize(maps[row], (_CELL, _CELL), interpolation=cv2.INTER_CUBIC)
            pair = np.concatenate([face, overlay(face, heat)[..., ::-1]], axis=1)
            sheet[top : top + _CELL, left : left + 2 * _CELL] = pair
    return sheet


def overlay(image: Image, heat: NDArray[np.float32]) -> Image:
    """Lay a map over an image, the more opaque the hotter.

    Args:
        image: RGB, uint8 (H, W, 3).
        heat: float32 (H, W); what lies outside of [0, 1] is cut off.
    """
    heat = heat.clip(0, 1)
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = _OPACITY * heat[..., None]
    return np.asarray((1 - opacity) * image + opacity * colours, np.uint8)


def titled(title: str, height: int = 0) -> Image:
    """Return an empty sheet, uint8 (32 + height, 916, 3), with a title."""
    sheet = np.full((_TITLE + height, _SHEET, 3), _PAPER, np.uint8)
    _write(sheet, title, 0, 20, _INK)
    return sheet


def _write(sheet: Image, text: str, left: int, baseline: int, gray: int) -> None:
    cv2.putText(sheet, text, (left + 2, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (gray,) * 3, 1, cv2.LINE_AA)


def _enlarged(image: Image) -> Image:
    """Return a gray image in the size of a cell, with three channels."""
    return np.asarray(image.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)[..., None].repeat(3, axis=2), np.uint8)


def save_png(path: Path, image: Image) -> None:
    """Write an image, uint8 (height, width) or (height, width, 3) in BGR, and make the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def plot_class_distribution(path: Path, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
    """Plot the training images of each class before and after augmentation (Figures 1 and 5 of the paper).

    Args:
        path: a PNG; the folders above it are made.
        before: seven counts in code order.
        after: seven counts in code order.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    with style.context("default"):  # not that of the user's matplotlibrc
        figure = Figure(figsize=(10, 4.8), layout="constrained")
        axes = figure.subplots()
        places, width = np.arange(len(NAMES)), 0.4
        for side, name, colour, counts in ((-1, "before", BLUE, before), (1, "after", ORANGE, after)):
            label = f"{name} augmentation ({counts.sum():,} images)"
            bars = axes.bar(places + side * width / 2, counts, width * 0.94, color=colour, label=label)
            axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=8)
        axes.set_xticks(places, NAMES)
        axes.tick_params(axis="x", length=0)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylabel("training images")
        axes.margins(x=0.01, y=0.08)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        figure.savefig(path, dpi=110)
