"""The paper's median filter on a stack of images."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

_STRIP: Final = 64
"""Images in a strip: more are no faster."""


def median(images: Images, kernel: int) -> Images:
    """Median-filter every image as `cv2.medianBlur` does, with the border replicated.

    Args:
        images: uint8 (N, H, W).
        kernel: side of the square window in pixels: 1 (no filter), 3, 5 or 7.

    Returns:
        A new array, uint8 (N, H, W).
    """
    filtered = np.empty(images.shape, np.uint8)
    _, height, width = images.shape
    radius = kernel // 2
    for start in range(0, len(images), _STRIP):
        # side by side, with borders of their own: OpenCV's vectors are up to 64 pixels wide, and what is less is slow
        side_by_side = images[start : start + _STRIP].transpose(1, 0, 2)
        strip = np.pad(side_by_side, ((0, 0), (0, 0), (radius, radius)), mode="edge")
        blurred = cv2.medianBlur(strip.reshape(height, -1), kernel).reshape(strip.shape)
        filtered[start : start + _STRIP] = blurred[:, :, radius : radius + width].transpose(1, 0, 2)
    return filtered
