"""The paper's median filter on a stack of images."""

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def median(images: Images, kernel: int) -> Images:
    """Median-filter every image as `cv2.medianBlur` does, with the border replicated.

    Args:
        images: uint8 (N, H, W).
        kernel: side of the square window in pixels: 1 (no filter), 3, 5 or 7.

    Returns:
        A new array, uint8 (N, H, W).
    """
    filtered = np.empty(images.shape, np.uint8)  # in rows, whatever the order of the images
    for image, out in zip(images, filtered, strict=True):
        cv2.medianBlur(image, kernel, dst=out)
    return filtered
