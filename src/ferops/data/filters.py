"""The paper's median filter on a stack of images."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]

_CHUNK: Final = 1_000


def median(images: Images, kernel: int) -> Images:
    """Median-filter every image as `cv2.medianBlur` does, with the border replicated.

    The images are padded and filtered as one tall picture, so that OpenCV is called once a chunk and not once an image.

    Args:
        images: uint8 (N, H, W).
        kernel: side of the square window in pixels: 1 (no filter), 3, 5 or 7.

    Returns:
        A new array, uint8 (N, H, W).
    """
    filtered = np.array(images)
    radius = kernel // 2
    for start in range(0, len(images) if radius else 0, _CHUNK):
        padding = ((0, 0), (radius, radius), (radius, radius))
        padded = np.pad(images[start : start + _CHUNK], padding, mode="edge")
        tall = cv2.medianBlur(padded.reshape(-1, padded.shape[2]), kernel)
        filtered[start : start + _CHUNK] = tall.reshape(padded.shape)[:, radius:-radius, radius:-radius]
    return filtered
