"""Views of an image whose predictions are averaged (test-time augmentation)."""

from collections.abc import Iterator
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHIFT: Final = 4
"""Shift of the four corner crops from the centre, in pixels."""


def views(images: NDArray[np.uint8], how: str) -> Iterator[NDArray[np.uint8]]:
    """Yield views of images, each uint8 (N, H, W); the first are the images themselves.

    Args:
        images: uint8 (N, H, W).
        how: `mirror`: an image and its mirror image. `crops`: the centre and four crops that are shifted towards the
            corners, the border replicated, each with its mirror image: ten views.
    """
    height, width = images.shape[1:]
    corners = product((-SHIFT, SHIFT), repeat=2) if how == "crops" else ()
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    for down, right in ((0, 0), *corners):
        top, left = SHIFT + down, SHIFT + right
        crop = padded[:, top : top + height, left : left + width]
        yield crop
        yield crop[:, :, ::-1]
