"""Pictures of the data: contact sheets of faces, and bars of the class distribution."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import NAMES

Image = NDArray[np.uint8]

_PAPER = 255
_INK = 40


class PictureNotWritten(FeropsError):
    """An image file could not be written."""


def contact_sheet(
    images: Image, labels: NDArray[np.int64], *, columns: int = 10, scale: int = 2, seed: int = 0
) -> Image:
    """Examples of every expression, one row a class, its name at the left.

    A row shows `columns` faces chosen by chance from `seed`, without repetition; a class with fewer leaves its row open.

    Args:
        images: uint8 (N, H, W), grey levels.
        labels: integers (N,), codes 0-6.
        columns: faces in a row.
        scale: how many times larger than life.
        seed: of the choice.

    Returns:
        uint8 (height, width), grey levels, dark on white.
    """
    rng = np.random.default_rng(seed)
    side, gap = images.shape[1:], 2 * scale
    step = scale * np.array(side) + gap
    margin = 46 * scale
    sheet = np.full((len(NAMES) * step[0] + gap, margin + columns * step[1] + gap), _PAPER, dtype=np.uint8)
    for code, name in enumerate(NAMES):
        top = gap + code * step[0]
        _write(sheet, name, margin - 2 * gap, top + scale * side[0] // 2, scale)
        chosen = np.flatnonzero(labels == code)
        chosen = np.sort(rng.choice(chosen, min(columns, len(chosen)), replace=False))
        for column, face in enumerate(images[chosen]):
            left = margin + gap + column * step[1]
            sheet[top : top + scale * side[0], left : left + scale * side[1]] = _magnify(face, scale)
    return sheet


def save_png(path: Path, array: Image) -> None:
    """Write a picture, making its folder.

    Args:
        path: ends in .png.
        array: uint8 (H, W) grey or (H, W, 3) in OpenCV's order blue, green, red.

    Raises:
        PictureNotWritten: the file cannot be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), array):
        raise PictureNotWritten(f"{path}: the picture could not be written there")


def plot_class_distribution(path: Path, before: Sequence[int], after: Sequence[int]) -> None:
    """Plot training images per class before and after augmentation (the paper's Figures 1 and 5).

    Args:
        path: of the PNG; its folder is made.
        before: images of each class in code order, as prepared.
        after: the same with the augmented copies.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at = np.arange(len(NAMES))
    for offset, counts, name, colour in (
        (-0.2, before, f"before ({sum(before):,})", "#9aa5b1"),
        (0.2, after, f"after ({sum(after):,})", "#2b6cb0"),
    ):
        bars = axes.bar(at + offset, counts, width=0.38, color=colour, label=name)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2, color="#333333")
    axes.set_xticks(at, NAMES)
    axes.set_ylabel("training images")
    axes.set_title("Class distribution before and after augmentation", loc="left", fontsize=11)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.margins(y=0.12)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _magnify(face: Image, scale: int) -> Image:
    height, width = face.shape
    return np.asarray(
        cv2.resize(face, (scale * width, scale * height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8
    )


def _write(sheet: Image, text: str, right: int, middle: int, scale: int) -> None:
    """Write a word that ends at `right`, in place."""
    font, size, weight = cv2.FONT_HERSHEY_SIMPLEX, 0.28 * scale, max(1, round(0.5 * scale))
    (width, height), _ = cv2.getTextSize(text, font, size, weight)
    cv2.putText(sheet, text, (right - width, middle + height // 2), font, size, (_INK,), weight, cv2.LINE_AA)
