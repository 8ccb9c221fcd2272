"""Augmentation: the paper's five as one warp, brightness, random erasing, and the number of copies of each class."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES
from ferops.params import Warp


def warp(images: NDArray[np.uint8], settings: Warp, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Shift, rotate, zoom and flip each image by one composed affine map.

    One interpolation instead of five keeps the copy sharp; the border is replicated, as in the ImageDataGenerator that
    the paper's settings are named after.

    Args:
        images: uint8 (N, H, W).
        settings: largest amounts; each image's are drawn uniformly, either way.
        rng: the only source of randomness.

    Returns:
        uint8 (N, H, W), a new array.
    """
    n, height, width = images.shape
    shift_y = rng.uniform(-settings.height_shift, settings.height_shift, n) * height
    shift_x = rng.uniform(-settings.width_shift, settings.width_shift, n) * width
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, n))
    scale = 1 + rng.uniform(-settings.zoom, settings.zoom, n)
    mirror = np.where(settings.horizontal_flip & (rng.random(n) < 0.5), -1.0, 1.0)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    maps = np.empty((n, 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = cos * mirror, -sin
    maps[:, 1, 0], maps[:, 1, 1] = sin * mirror, cos
    maps[:, 0, 2] = centre_x + shift_x - maps[:, 0, 0] * centre_x - maps[:, 0, 1] * centre_y
    maps[:, 1, 2] = centre_y + shift_y - maps[:, 1, 0] * centre_x - maps[:, 1, 1] * centre_y
    warped = np.empty_like(images)
    for image, matrix, out in zip(images, maps, warped, strict=True):
        cv2.warpAffine(image, matrix, (width, height), dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped


def brighten(images: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change contrast and brightness of each image by a random factor and offset, uniform, either way.

    Args:
        images: uint8 (N, H, W).
        amount: largest change, of 1 for the factor, of the 255 gray levels for the offset.
        rng: the only source of randomness.

    Returns:
        uint8 (N, H, W), a new array, clipped to the range.
    """
    contrast, offset = rng.uniform(-amount, amount, (2, len(images), 1, 1)).astype(np.float32)
    middle = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    changed = (images - middle) * (1 + contrast) + middle + 255 * offset
    return np.asarray(np.rint(np.clip(changed, 0, 255)), np.uint8)


def erase(images: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Erase a random rectangle of some images with noise (random erasing: Zhong et al. 2020, its areas and ratios).

    Args:
        images: uint8 (N, H, W).
        share: of the images that lose a rectangle.
        rng: the only source of randomness.

    Returns:
        uint8 (N, H, W), a new array.
    """
    erased = images.copy()
    height, width = images.shape[1:]
    for place in np.flatnonzero(rng.random(len(images)) < share):
        area, ratio = height * width * rng.uniform(0.02, 0.33), np.exp(rng.uniform(-1, 1) * np.log(3.3))
        tall, wide = min(round(np.sqrt(area * ratio)), height), min(round(np.sqrt(area / ratio)), width)
        top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
        erased[place, top : top + tall, left : left + wide] = rng.integers(0, 256, (tall, wide))
    return erased


def copies_needed(counts: NDArray[np.int64], min_share: float) -> NDArray[np.int64]:
    """Compute how many augmented copies raise every class to a share of the whole, and no further.

    Raising one class lowers the share of the others, so classes are added until none is under the share; the raised
    ones then have it exactly (rounded up).

    Args:
        counts: images of each class, (7,), all positive.
        min_share: least share of a class in the result, 0 to 1/7.

    Returns:
        Copies to add for each class, (7,); zero for classes at or above the share.
    """
    if min_share >= 1 / len(NAMES):
        return np.asarray(counts.max() - counts)
    raised = np.zeros(len(counts), dtype=bool)
    while True:
        total = counts[~raised].sum() / (1 - min_share * raised.sum())
        under = ~raised & (counts < min_share * total)
        if not under.any():
            break
        raised |= under
    # rounding up a few classes lifts the total by less than one image each, hence the second ceiling
    target = int(np.ceil(min_share * (total + raised.sum())))
    return np.asarray(np.where(raised, np.maximum(target - counts, 0), 0), dtype=np.int64)


def plan(labels: NDArray[np.int64], min_share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose the originals of the augmented images, as evenly within a class as possible.

    Args:
        labels: of the training images, int64 (N,).
        min_share: see `copies_needed`.
        rng: decides which images get one copy more than others.

    Returns:
        Positions in `labels`, int64 (M,), in class order.
    """
    needed = copies_needed(np.bincount(labels, minlength=len(NAMES)), min_share)
    chosen = [np.empty(0, np.int64)]
    for code, count in enumerate(needed.tolist()):
        members = np.flatnonzero(labels == code)
        for done in range(0, count, max(len(members), 1)):
            chosen.append(rng.permutation(members)[: count - done])
    return np.concatenate(chosen)
