"""Splits of FER2013: official (Kaggle's Usage), random (70/30) and folders (train / merged test); folds of one."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import MERGED, NAMES, SPLITS, UNSPLIT, USAGES

_TEST_SHARE: Final = {"official": 0.1, "random": 0.3}
"""Share of test where ferops cuts it; for `official`, in a copy without a split, which becomes 80/10/10."""

_VALIDATION_SHARE: Final = {"official": 1 / 9, "random": 0.1, "folders": 0.1}
"""Share of validation in the images that are not test."""


class MissingSplit(FeropsError):
    """The data have no image for train, validation or test under the chosen division."""


def assign(
    usages: NDArray[np.str_], labels: NDArray[np.int64], groups: NDArray[np.int64], how: str, seed: int
) -> NDArray[np.str_]:
    """Assign a split to every image.

    Args:
        usages: str (N,), as in `FaceDataset`.
        labels: int64 (N,), codes 0-6.
        groups: int64 (N,), duplicates have the same number (0 or more) and are kept together where ferops cuts; -1
            for an image without a duplicate.
        how: `official`: Kaggle's Usage; where the copy has no split, 10% test and 10% validation. `random`: 30% test,
            10% of the rest validation. `folders`: PublicTest and PrivateTest together are test, 10% of Training is
            validation. A cut by ferops is stratified: the same share of every class.
        seed: of the cuts.

    Returns:
        str (N,), `train`, `validation` or `test`.

    Raises:
        MissingSplit: a split would be empty.
    """
    unsplit = bool((usages == UNSPLIT).all())
    if how == "official" and not unsplit:
        splits = np.array([USAGES.get(usage, "") for usage in usages], np.str_)
    else:
        generator = np.random.default_rng(seed)
        if how == "folders":
            test = (usages != "Training") & (usages != UNSPLIT)
        else:
            test = _cut(labels, groups, _TEST_SHARE[how], generator)
        rest = np.flatnonzero(~test)
        chosen = _cut(labels[rest], groups[rest], _VALIDATION_SHARE[how], generator)
        splits = np.where(test, "test", "train").astype("<U10")
        splits[rest[chosen]] = "validation"

    missing = [split for split in SPLITS if split not in splits]
    if missing:
        possible = "folders" if MERGED in usages and "Training" in usages else "random"
        raise MissingSplit(
            f"data.split is {how}: no image for {' and '.join(missing)} (found: {_usage_counts(usages)})"
            + ("" if how == "random" else f"; data.split: {possible} in params.yaml cuts them anew")
        )
    return splits


def folds(labels: NDArray[np.int64], groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Assign a fold to every image: the same share of every class in each, duplicates together.

    Args:
        labels: int64 (N,), codes 0-6; a group of duplicates counts as its first image's class.
        groups: int64 (N,), as in `assign`.
        count: of folds.
        seed: of the order in which each class is dealt out.

    Returns:
        int64 (N,), 0 to count - 1.
    """
    first, unit = _units(groups)
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(labels[first] == label)) for label in range(len(NAMES))]
    fold = np.empty(len(first), np.int64)
    fold[np.concatenate(by_class)] = np.arange(len(first)) % count  # one deal: no fold gets the remainder of each class
    return fold[unit]


def class_counts(labels: NDArray[np.int64], splits: NDArray[np.str_]) -> dict[str, list[int]]:
    """Count the images of each class, in code order, for each split."""
    return {name: np.bincount(labels[splits == name], minlength=len(NAMES)).tolist() for name in SPLITS}


def _usage_counts(usages: NDArray[np.str_]) -> str:
    """Describe how many images of each Usage there are."""
    titles = dict(zip(USAGES, USAGES, strict=True)) | {MERGED: "PublicTest or PrivateTest", UNSPLIT: "without a split"}
    counts = {title: np.count_nonzero(usages == usage) for usage, title in titles.items()}
    return ", ".join(f"{title} {count:,}" for title, count in counts.items() if count or title in USAGES)


def _cut(
    labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw about `share` of the images, stratified, without tearing a group of duplicates apart; bool (N,).

    Each class is drawn from on its own until the share is reached; a group counts as its first image's class.
    """
    first, unit = _units(groups)
    sizes = np.bincount(unit)
    chosen = np.zeros(len(first), np.bool_)
    for label in np.unique(labels):
        units = generator.permutation(np.flatnonzero(labels[first] == label))
        chosen[units[np.cumsum(sizes[units]) <= round(share * int(sizes[units].sum()))]] = True
    return chosen[unit]


def _units(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first image of each unit, (M,), and the unit of each image, (N,): a group of duplicates is one."""
    owner = np.where(groups < 0, groups.max(initial=0) + 1 + np.arange(len(groups)), groups)
    _, first, unit = np.unique(owner, return_index=True, return_inverse=True)
    return first, unit
