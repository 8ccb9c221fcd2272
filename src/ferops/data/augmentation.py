"""Augmentation: the paper's five as one warp, brightness, random erasing, and the number of copies of each class."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES, SIDE
from ferops.params import Train, Warp

Draws = dict[str, NDArray[Any]]
"""What is drawn for n images: arrays of n rows."""

_PRIME: Final = 46337
"""The greatest whose square, and one more, is an int32."""


def draw(warp: Warp, n: int, settings: Train, rng: np.random.Generator) -> Draws:
    """Draw how n faces are changed while training; the pixels are made where the network is.

    Args:
        warp: largest amounts of the affine maps.
        n: faces.
        settings: which changes there are, and how large; each of the others is drawn as one that changes nothing.
        rng: the only source of randomness.

    Returns:
        `maps` float64 (n, 2, 3), from a face to the changed one in pixels; `contrast` and `offset` float32 (n,), see
        `brighten`; `boxes` int32 (n, 5), see `erase`.
    """
    maps, light, boxes = np.tile(np.eye(2, 3), (n, 1, 1)), np.zeros((2, n), np.float32), np.zeros((n, 5), np.int32)
    if settings.online_augmentation:
        maps = draw_maps(warp, n, rng)
    if settings.brightness:
        light = rng.uniform(-settings.brightness, settings.brightness, (2, n)).astype(np.float32)
    if settings.erasing:
        boxes = draw_boxes(settings.erasing, n, rng)
    return {"maps": maps, "contrast": light[0], "offset": light[1], "boxes": boxes}


def apply(images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
    """Change images, uint8 (N, 48, 48), as drawn."""
    if (draws["maps"] != np.eye(2, 3)).any():
        images = warp(images, draws["maps"])
    if draws["contrast"].any():
        images = brighten(images, draws["contrast"], draws["offset"])
    if draws["boxes"].any():
        images = erase(images, draws["boxes"])
    return images


def apply_on_device(images: Any, draws: dict[str, Any]) -> Any:
    """Change images as drawn, by Keras' operations: what `apply` makes, within 9 gray levels.

    OpenCV rounds the place that a pixel comes from to 1/32 of a pixel; here it is exact. On faces the two differ by
    0.15 gray levels on average.

    Args:
        images: a tensor of whole gray levels, float32 (N, 48, 48).
        draws: those of `draw`, as tensors of float32 and int32.

    Returns:
        The same as `images`.
    """
    from keras import ops

    column = ops.arange(SIDE, dtype="int32")
    row = column[:, None]
    y, x = ops.cast(row, "float32"), ops.cast(column, "float32")
    (xx, xy, right), (yx, yy, down) = ([draws["maps"][:, i, j, None, None] for j in range(3)] for i in range(2))
    determinant = xx * yy - xy * yx
    from_x = (yy * (x - right) - xy * (y - down)) / determinant
    from_y = (xx * (y - down) - yx * (x - right)) / determinant
    left, top = ops.floor(from_x), ops.floor(from_y)

    def pixels(rows: Any, columns: Any) -> Any:
        places = ops.clip(rows, 0, SIDE - 1) * SIDE + ops.clip(columns, 0, SIDE - 1)  # the border is replicated
        flat = ops.cast(ops.reshape(places, (-1, SIDE**2)), "int32")
        return ops.reshape(ops.take_along_axis(ops.reshape(images, (-1, SIDE**2)), flat, axis=1), (-1, SIDE, SIDE))

    upper = pixels(top, left) * (1 - from_x + left) + pixels(top, left + 1) * (from_x - left)
    lower = pixels(top + 1, left) * (1 - from_x + left) + pixels(top + 1, left + 1) * (from_x - left)
    warped = ops.round(upper * (1 - from_y + top) + lower * (from_y - top))

    contrast, offset = draws["contrast"][:, None, None], draws["offset"][:, None, None]
    middle = ops.mean(warped, axis=(1, 2), keepdims=True)
    bright = ops.round(ops.clip((warped - middle) * (1 + contrast) + middle + 255 * offset, 0, 255))

    above, below, before, behind = (draws["boxes"][:, side, None, None] for side in range(4))
    inside = (row >= above) & (row < below) & (column >= before) & (column < behind)
    return ops.where(inside, ops.cast(_noise(draws["boxes"][:, 4, None, None], row, column), "float32"), bright)


def draw_maps(settings: Warp, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw shift, rotation, zoom and flip of n faces, composed to one affine map each.

    Args:
        settings: largest amounts; each face's are drawn uniformly, either way.
        n: faces.
        rng: the only source of randomness.

    Returns:
        float64 (n, 2, 3), from a face to the warped one, in pixels.
    """
    shift_y = rng.uniform(-settings.height_shift, settings.height_shift, n) * SIDE
    shift_x = rng.uniform(-settings.width_shift, settings.width_shift, n) * SIDE
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, n))
    scale = 1 + rng.uniform(-settings.zoom, settings.zoom, n)
    mirror = np.where(settings.horizontal_flip & (rng.random(n) < 0.5), -1.0, 1.0)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    centre = (SIDE - 1) / 2
    maps = np.empty((n, 2, 3))
    maps[:, 0, 0], maps[:, 0, 1] = cos * mirror, -sin
    maps[:, 1, 0], maps[:, 1, 1] = sin * mirror, cos
    maps[:, 0, 2] = centre + shift_x - maps[:, 0, 0] * centre - maps[:, 0, 1] * centre
    maps[:, 1, 2] = centre + shift_y - maps[:, 1, 0] * centre - maps[:, 1, 1] * centre
    return maps


def warp(images: NDArray[np.uint8], maps: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Warp each image by one affine map.

    One interpolation instead of five keeps the copy sharp; the border is replicated, as in the ImageDataGenerator that
    the paper's settings are named after.

    Args:
        images: uint8 (N, 48, 48).
        maps: float64 (N, 2, 3), see `draw_maps`.

    Returns:
        uint8 (N, 48, 48), a new array.
    """
    warped = np.empty_like(images)
    for image, matrix, out in zip(images, maps, warped, strict=True):
        cv2.warpAffine(image, matrix, (SIDE, SIDE), dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped


def brighten(
    images: NDArray[np.uint8], contrast: NDArray[np.float32], offset: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Change contrast and brightness of each image.

    Args:
        images: uint8 (N, 48, 48).
        contrast: change of an image's distance to its mean, as a fraction, float32 (N,).
        offset: what is added, as a fraction of the 255 gray levels, float32 (N,).

    Returns:
        uint8 (N, 48, 48), a new array, clipped to the range.
    """
    middle = images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    changed = (images - middle) * (1 + contrast[:, None, None]) + middle + 255 * offset[:, None, None]
    return np.asarray(np.rint(np.clip(changed, 0, 255)), np.uint8)


def draw_boxes(share: float, n: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw the rectangle that each of some faces loses (random erasing: Zhong et al. 2020, its areas and ratios).

    Args:
        share: of the faces that lose one.
        n: faces.
        rng: the only source of randomness.

    Returns:
        int32 (n, 5): first row and row past the last, first column and column past the last, all 0 for a face that
        loses nothing; number of the noise picture.
    """
    area, ratio = SIDE**2 * rng.uniform(0.02, 0.33, n), np.exp(rng.uniform(-1, 1, n) * np.log(3.3))
    tall, wide = (np.minimum(np.rint(np.sqrt(area * by)), SIDE).astype(np.int32) for by in (ratio, 1 / ratio))
    top, left = rng.integers(SIDE - tall + 1), rng.integers(SIDE - wide + 1)
    boxes = np.stack([top, top + tall, left, left + wide, rng.integers(_PRIME, size=n)], axis=1)
    return np.asarray(boxes * (rng.random((n, 1)) < share), np.int32)


def erase(images: NDArray[np.uint8], boxes: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Fill a rectangle of each image with noise.

    Args:
        images: uint8 (N, 48, 48).
        boxes: int32 (N, 5), see `draw_boxes`.

    Returns:
        uint8 (N, 48, 48), a new array.
    """
    erased = images.copy()
    for image, (top, bottom, left, right, which) in zip(erased, boxes.tolist(), strict=True):
        image[top:bottom, left:right] = _noise(which, *np.ogrid[top:bottom, left:right])
    return erased


def _noise(which: Any, y: Any, x: Any) -> Any:
    """Hash the number of a noise picture and a place in it to a gray level, in int32: alike on every device."""
    state = (which * SIDE**2 + y * SIDE + x) % _PRIME
    for _ in range(3):
        state = (state * state + 1) % _PRIME
    return state % 256


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
