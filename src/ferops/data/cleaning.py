"""Blank and duplicate images, exact and near. No label is read, so that test images may be included."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Images = NDArray[np.uint8]

_CHUNK: Final = 1_000
_BLOCKS: Final = 4
"""Blocks along a side of the coarse image in which duplicates are searched first."""
_ROWS: Final = 512
"""Images that are compared at once with all of similar means: bounds the memory to 512 rows of distances."""
_SLACK: Final = 1 + 1e-9
"""Keeps a pair whose distance equals the bound within it."""


def statistics(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute mean and standard deviation of every image's pixels.

    Args:
        images: uint8 (N, H, W).

    Returns:
        Two float64 (N,), in gray levels; from integer sums, so the same on every machine.
    """
    size = math.prod(images.shape[1:])
    flat = images.reshape(-1, size)
    sums, squares = flat.sum(axis=1, dtype=np.int64), np.einsum("ij,ij->i", flat, flat, dtype=np.int64)
    return sums / size, np.sqrt(size * squares - sums * sums) / size


def blanks(images: Images, std: float) -> NDArray[np.bool_]:
    """Find blank images: the standard deviation of their pixels is below `std` gray levels.

    Returns:
        bool (N,).
    """
    return statistics(images)[1] < std


def duplicate_groups(images: Images, rms: float, ignore: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Group exact and near duplicates: images that are connected by a chain of near pairs are one group.

    Args:
        images: uint8 (N, 48, 48).
        rms: two images are a near pair where the root of their mean squared difference is at most this many gray
            levels; 0 finds exact duplicates only.
        ignore: bool (N,), images that belong to no group (blank ones, which are all alike).

    Returns:
        int64 (N,): the index of the first image of the image's group, also for that first image; -1 where no other
        image is near. No near pair is missed.
    """
    seen = np.arange(len(images)) if ignore is None else np.flatnonzero(~ignore)
    one, other = seen[_near_pairs(images if ignore is None else images[seen], rms)].T
    pairs = coo_array((np.ones(len(one)), (one, other)), shape=(len(images), len(images)))
    _, component = connected_components(pairs, directed=False)
    _, first, sizes = np.unique(component, return_index=True, return_counts=True)
    return np.where(sizes[component] == 1, -1, first[component])


def drop_duplicates(groups: NDArray[np.int64], splits: NDArray[np.str_], policy: str) -> NDArray[np.bool_]:
    """Apply the policy of duplicates.

    Args:
        groups: int64 (N,), from `duplicate_groups`.
        splits: str (N,), `train`, `validation` or `test`.
        policy: `keep`: all stay. `drop_in_training`: a training image is dropped where its group has a member in
            validation or test, or an earlier one in training. `drop`: one member of a group stays, the first of test,
            else of validation, else of train.

    Returns:
        bool (N,), true for images that stay.
    """
    if policy == "keep":
        return np.ones(len(groups), np.bool_)
    rank = np.select([splits == "test", splits == "validation"], [0, 1], default=2)
    order = np.argsort(rank, kind="stable")
    _, first = np.unique(groups[order], return_index=True)
    stays = groups < 0
    stays[order[first]] = True
    return stays if policy == "drop" else stays | (splits != "train")


def _near_pairs(images: Images, rms: float) -> NDArray[np.int64]:
    """Find every pair of images at most `rms` gray levels apart, int64 (pairs, 2).

    The mean of squares is never below the square of the mean (Jensen), so near images are at least as near in the
    means of any blocks. Images are therefore sorted by their mean, compared with those of similar means by the sums of
    4 x 4 blocks, and only pairs that are near in these are compared pixel by pixel. All in integers, so exact.
    """
    count, side = len(images), images.shape[-1]
    step = side // _BLOCKS
    blocks = images.reshape(count, _BLOCKS, step, _BLOCKS, step).sum(axis=(2, 4), dtype=np.int64).reshape(count, -1)
    order = np.argsort(blocks.sum(axis=1), kind="stable")
    # float64 holds these integers exactly and, unlike int64, is multiplied by BLAS
    coarse = blocks[order].astype(np.float64)
    total, square = coarse.sum(axis=1), (coarse * coarse).sum(axis=1)
    bound = (rms * step * step) ** 2 * _BLOCKS * _BLOCKS * _SLACK

    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, count, _ROWS):
        stop = min(start + _ROWS, count)
        end = int(np.searchsorted(total, total[stop - 1] + rms * side * side * _SLACK, side="right"))
        near = (
            square[start:stop, None] + square[None, start:end] - 2 * coarse[start:stop] @ coarse[start:end].T <= bound
        )
        one, other = np.nonzero(np.triu(near, k=1))
        pairs.append(_verified(images, np.stack([order[one + start], order[other + start]], axis=1), rms))
    return np.concatenate(pairs)


def _verified(images: Images, pairs: NDArray[np.int64], rms: float) -> NDArray[np.int64]:
    """Select the pairs that are near pixel by pixel."""
    flat = images.reshape(len(images), -1)
    bound = rms * rms * flat.shape[1] * _SLACK
    near = np.zeros(len(pairs), np.bool_)
    for start in range(0, len(pairs), _CHUNK):
        one, other = pairs[start : start + _CHUNK].T
        apart = flat[one].astype(np.int32) - flat[other]
        near[start : start + _CHUNK] = np.einsum("ij,ij->i", apart, apart) <= bound
    return pairs[near]
