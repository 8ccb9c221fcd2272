"""Which image trains, which chooses, which tests: the three ways that FER2013 is divided (DESIGN section 3)."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import MERGED, NAMES, SPLITS, UNSPLIT, USAGES


class _Shares(NamedTuple):
    """Of test in the whole, and of validation in the rest."""

    test: float
    validation: float


_SHARES: Final = _Shares(0.3, 0.1)
_UNSPLIT_SHARES: Final = _Shares(0.1, 1 / 9)
"""80/10/10, where the copy has no split."""


_NOT_TOLD: Final = {MERGED: "PublicTest or PrivateTest", UNSPLIT: "without a split"}


class MissingSplit(FeropsError):
    """The data have no image for one of train, validation and test under the division asked for."""


def assign(
    usages: NDArray[np.str_], labels: NDArray[np.int64], groups: NDArray[np.int64], how: str, seed: int
) -> NDArray[np.str_]:
    """The split of every image.

    Args:
        usages: str (N,), as in `Faces`.
        labels: int64 (N,), codes 0-6.
        groups: int64 (N,), images of one number (0 or more) are kept together where ferops cuts; -1 is on its own.
        how: `official`: Kaggle's Usage; where the copy has no split, 10% test and 10% validation. `random`: 30% test,
            10% of the rest validation. `folders`: PublicTest and PrivateTest together are test, 10% of Training is
            validation. What ferops cuts has the same share of every class.
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
        shares = _UNSPLIT_SHARES if how == "official" else _SHARES
        if how == "folders":
            test = (usages != "Training") & (usages != UNSPLIT)
        else:
            test = _cut(labels, groups, shares.test, generator)
        rest = np.flatnonzero(~test)
        chosen = _cut(labels[rest], groups[rest], shares.validation, generator)
        splits = np.where(test, "test", "train").astype("<U10")
        splits[rest[chosen]] = "validation"

    missing = [split for split in SPLITS if split not in splits]
    if missing:
        raise MissingSplit(
            f"data.split is {how}: no image for {' and '.join(missing)} (found: {in_words(usages)})"
            + ("" if how == "random" else f"; data.split: {_way_out(usages)} in params.yaml cuts them anew")
        )
    return splits


def class_counts(labels: NDArray[np.int64], splits: NDArray[np.str_]) -> dict[str, list[int]]:
    """Count the images of each class, in code order, for each split."""
    return {name: np.bincount(labels[splits == name], minlength=len(NAMES)).tolist() for name in SPLITS}


def in_words(usages: NDArray[np.str_]) -> str:
    """How many images of each Usage there are."""
    counts = {usage: f"{np.count_nonzero(usages == usage):,}" for usage in (*USAGES, MERGED, UNSPLIT)}
    told = [f"{usage} {counts[usage]}" for usage in USAGES]
    told += [f"{words} {counts[usage]}" for usage, words in _NOT_TOLD.items() if counts[usage] != "0"]
    return ", ".join(told)


def _way_out(usages: NDArray[np.str_]) -> str:
    return "folders" if MERGED in usages and "Training" in usages else "random"


def _cut(
    labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """A stratified draw of about `share` of the images in which no group is torn, bool (N,).

    Each class is drawn from on its own, a group counting as its first image's class, until the share is reached.
    """
    owner = np.where(groups < 0, groups.max(initial=0) + 1 + np.arange(len(groups)), groups)
    _, first, unit, sizes = np.unique(owner, return_index=True, return_inverse=True, return_counts=True)
    chosen = np.zeros(len(first), np.bool_)
    for label in np.unique(labels):
        units = generator.permutation(np.flatnonzero(labels[first] == label))
        chosen[units[np.cumsum(sizes[units]) <= round(share * int(sizes[units].sum()))]] = True
    return chosen[unit]
