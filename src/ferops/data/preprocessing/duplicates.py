"""Duplicate images, exact and near. No label is read, so that test images may be included."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ferops.data.on_disk import chunks
from ferops.data.readers.faces import digests
from ferops.data.statistics import sums_of_squares

Images = NDArray[np.uint8]

_BLOCKS: Final = 4
"""Blocks along a side of the coarse image in which duplicates are searched first."""
_BY_FREQUENCY: Final = np.argsort(np.indices((_BLOCKS, _BLOCKS)).sum(axis=0).ravel(), kind="stable")
_LEADING: Final = 4
"""Columns of a signature that the tree has; more are compared faster outside of it."""
_SLACK: Final = 0.5
"""Distance by which rounding may part two signatures, at most; images that differ are at least 1 apart."""


def group(images: Images, rms: float, ignore: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
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
    # many equal images are as many links to the first of them, where pairs would be as many as their square
    contents = np.concatenate([digests(images[part]) for part in chunks(seen)])
    _, first, which = np.unique(contents, return_index=True, return_inverse=True)
    equal = np.stack([seen, seen[first][which]], axis=1)
    one, other = np.concatenate([equal, _near_pairs(images, seen[first], rms)]).T
    pairs = coo_array((np.ones(len(one)), (one, other)), shape=(len(images), len(images)))
    _, component = connected_components(pairs, directed=False)
    _, first, sizes = np.unique(component, return_index=True, return_counts=True)
    return np.where(sizes[component] == 1, -1, first[component])


def apply_policy(groups: NDArray[np.int64], splits: NDArray[np.str_], policy: str) -> NDArray[np.bool_]:
    """Apply the policy of duplicates.

    Args:
        groups: int64 (N,), from `group`.
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


def _near_pairs(images: Images, seen: NDArray[np.int64], rms: float) -> NDArray[np.int64]:
    """Find every pair of the images `seen` that are at most `rms` gray levels apart, int64 (pairs, 2).

    Near images have near signatures, so a k-d tree of their first five columns is searched, what it finds is compared
    by whole signatures, and what is left pixel by pixel. The first two only discard, with half a gray level of slack
    for rounding, and the last is in integers: the result is exact.
    """
    signatures = np.concatenate([_signatures(images[part]) for part in chunks(seen)])
    leading, rest = np.split(signatures, [_LEADING], axis=1)
    tree = cKDTree(np.column_stack([leading, np.linalg.norm(rest, axis=1)]))
    most = rms * images.shape[-1] + _SLACK
    bound = rms * rms * math.prod(images.shape[1:]) * (1 + 1e-9)  # a pair that is as far apart as the bound is near
    pairs = []
    for part in chunks(tree.query_pairs(most, output_type="ndarray")):
        likely = part[np.linalg.norm(signatures[part[:, 0]] - signatures[part[:, 1]], axis=1) <= most]
        one, other = seen[likely].T
        apart = images[one].astype(np.int32) - images[other]
        pairs.append(seen[likely[np.einsum("ijk,ijk->i", apart, apart) <= bound]])
    return np.concatenate(pairs)


def _signatures(images: Images) -> NDArray[np.float32]:
    """Compute vectors of which no two are further apart than their images, as vectors of gray levels, are.

    Sixteen columns are the projection on an orthonormal basis, the cosines of the lowest frequencies over 4 x 4 blocks
    (in these images differ most), and the last is the length of what that leaves of the image.

    Returns:
        float32 (N, 17), the columns in the order of their frequencies.
    """
    count, side = images.shape[:2]
    step = side // _BLOCKS
    rows = images.reshape(count, _BLOCKS, step, side).sum(axis=2, dtype=np.uint16)
    blocks = rows.reshape(count, _BLOCKS, _BLOCKS, step).sum(axis=3, dtype=np.uint16) / step
    waves = dctn(blocks, axes=(1, 2), norm="ortho").reshape(count, _BLOCKS * _BLOCKS)
    left = sums_of_squares(images) - np.einsum("ij,ij->i", waves, waves)
    return np.column_stack([waves[:, _BY_FREQUENCY], np.sqrt(left.clip(0))]).astype(np.float32)
