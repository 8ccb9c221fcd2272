"""Pictures of images and of their classes, as PNG."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferops.errors import FeropsError, describe_os_error
from ferops.labels import NAMES, SIDE

Image = NDArray[np.uint8]

BLUE: Final = "#2563a8"
ORANGE: Final = "#d9730d"

_PAPER, _INK, _FAINT = 255, 30, 120  # grey levels of the sheet, the names and the counts
_GAP: Final = 2  # these three in pixels at scale 1
_MARGIN: Final = 4
_NAME_WIDTH: Final = 44


class PictureNotWritten(FeropsError):
    """A picture could not be written where it was asked for."""


def contact_sheet(
    images: Image, labels: NDArray[np.int64], *, columns: int = 10, scale: int = 2, seed: int = 0
) -> Image:
    """Examples of every expression: one row each, its name and number of images at the left.

    A row is drawn evenly from the images of its class, without repeats and in their order, by a generator of its own:
    it does not depend on the other classes. A class without images has no row.

    Args:
        images: uint8 (N, 48, 48), grey levels.
        labels: int64 (N,), codes 0-6.
        columns: examples of a class, at most.
        scale: side of an image's pixel on the sheet, in pixels.
        seed: of the draw, 0 or more.

    Returns:
        uint8 (height, width), grey levels. The width depends on `columns` and `scale` alone, the height on the rows.
    """
    rows = [(code, np.flatnonzero(labels == code)) for code in range(len(NAMES)) if (labels == code).any()]
    step = SIDE + _GAP
    height = 2 * _MARGIN + max(len(rows), 1) * step - _GAP
    width = 2 * _MARGIN + _NAME_WIDTH + columns * step - _GAP
    sheet = np.full((height * scale, width * scale), _PAPER, np.uint8)
    if not rows:
        _write(sheet, "no images", SIDE / 2 + _MARGIN, 0.3 * scale, _FAINT, scale)
    for row, (code, found) in enumerate(rows):
        top = _MARGIN + row * step
        _write(sheet, NAMES[code], top + SIDE / 2 - 1, 0.3 * scale, _INK, scale)
        _write(sheet, f"{len(found):,}", top + SIDE / 2 + 10, 0.25 * scale, _FAINT, scale)
        drawn = np.random.default_rng([seed, code]).choice(found, min(columns, len(found)), replace=False)
        for column, image in enumerate(images[np.sort(drawn)]):
            left = _MARGIN + _NAME_WIDTH + column * step
            large = image.repeat(scale, axis=0).repeat(scale, axis=1)
            sheet[top * scale : (top + SIDE) * scale, left * scale : (left + SIDE) * scale] = large
    return sheet


def save_png(path: Path, image: Image) -> None:
    """Write an image, uint8 (height, width) or (height, width, 3) in BGR, and the folders above it.

    Raises:
        PictureNotWritten: the path is not one that can be written, or does not end as a picture's name does.
    """
    try:
        encoded = cv2.imencode(path.suffix or ".", image)[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except (OSError, cv2.error) as error:
        reason = describe_os_error(error) if isinstance(error, OSError) else "OpenCV cannot write such a file"
        raise PictureNotWritten(f"cannot write {path}: {reason}") from None


def plot_class_distribution(path: Path, before: ArrayLike, after: ArrayLike) -> None:
    """Training images of each class before and after augmentation (Figures 1 and 5 of the paper).

    Args:
        path: a PNG; the folders above it are made.
        before: seven counts in code order.
        after: seven counts in code order.
    """
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    axes = figure.subplots()
    places, width = np.arange(len(NAMES)), 0.4
    for side, name, colour, counts in (
        (-1, "before", BLUE, np.asarray(before)),
        (1, "after", ORANGE, np.asarray(after)),
    ):
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


def _write(sheet: Image, text: str, baseline: float, size: float, grey: int, scale: int) -> None:
    """Write text at the left of the sheet, in place; `baseline` in pixels at scale 1."""
    at = (_MARGIN * scale, round(baseline * scale))
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, grey, max(1, scale // 2), cv2.LINE_AA)
