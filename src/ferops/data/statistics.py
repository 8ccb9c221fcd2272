"""Pixel statistics of images: of the manifests, and those by which monitoring compares new images with old ones."""

import math
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.data.on_disk import chunks

STATISTICS: Final = {
    "mean": "brightness: the mean gray level",
    "std": "contrast: the standard deviation of the gray levels",
    "sharpness": "the standard deviation of the Laplacian: low where an image is blurred, high where it is noisy",
    "unevenness": "how far the gray levels lie from evenly spread ones: near 0 where the histogram was equalised",
}
"""Name of each statistic and its description; all in gray levels."""


def mean_and_std(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute mean and standard deviation of every image's pixels.

    Args:
        images: uint8 (N, H, W).

    Returns:
        Two float64 (N,), in gray levels; from integer sums, so the same on every machine.
    """
    size = math.prod(images.shape[1:])
    sums, squares = images.reshape(-1, size).sum(axis=1, dtype=np.int64), sums_of_squares(images)
    return sums / size, np.sqrt(size * squares - sums * sums) / size


def sums_of_squares(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sum the squares of every image's gray levels: int64 (N,)."""
    flat = images.reshape(-1, math.prod(images.shape[1:]))
    return np.asarray(np.einsum("ij,ij->i", flat, flat, dtype=np.int64))


def measure(images: NDArray[np.uint8]) -> pd.DataFrame:
    """Compute the pixel statistics of every image: float64, the columns of `STATISTICS`.

    Sharpness is the standard deviation of the four-neighbour Laplacian over the inner pixels. Unevenness is the mean
    distance between the sorted gray levels and as many evenly spread over 0 to 255: the Wasserstein distance from the
    histogram that an equalisation aims at. Unlike the entropy it hardly depends on noise or on the image's size.

    Args:
        images: uint8 (N, H, W), H and W at least 3.
    """
    mean, std = mean_and_std(images)
    parts = chunks(images)
    sharpness, unevenness = (np.concatenate([compute(p) for p in parts]) for compute in (_sharpness, _unevenness))
    return pd.DataFrame({"mean": mean, "std": std, "sharpness": sharpness, "unevenness": unevenness})


def _sharpness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    levels = images.astype(np.int16)
    neighbours = levels[:, :-2, 1:-1] + levels[:, 2:, 1:-1] + levels[:, 1:-1, :-2] + levels[:, 1:-1, 2:]
    laplacian = neighbours - 4 * levels[:, 1:-1, 1:-1]
    return np.asarray(laplacian.std(axis=(1, 2), dtype=np.float64))


def _unevenness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    size = math.prod(images.shape[1:])
    levels = np.sort(images.reshape(-1, size), axis=1)
    even = (np.arange(size) + 0.5) * (256 / size) - 0.5
    return np.asarray(np.abs(levels - even).mean(axis=1))
