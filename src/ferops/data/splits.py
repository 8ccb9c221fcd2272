"""Which image trains, which chooses, which tests: the three ways that FER2013 is divided (DESIGN section 3)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import SPLITS, USAGES

_TEST_SHARE: Final = 0.3
_VALIDATION_SHARE: Final = 0.1
"""Of what is not test."""


class MissingSplit(FeropsError):
    """The data have no image for one of train, validation and test under the division asked for."""


def assign(
    usages: NDArray[np.str_], labels: NDArray[np.int64], groups: NDArray[np.int64], how: str, seed: int
) -> NDArray[np.str_]:
    """The split of every image.

    Args:
        usages: str (N,), `Training`, `PublicTest` or `PrivateTest`.
        labels: int64 (N,), codes 0-6.
        groups: int64 (N,), images of one number (0 or more) are kept together where ferops cuts; -1 is on its own.
        how: `official`: Kaggle's Usage. `random`: 30% test, 10% of the rest validation. `folders`: PublicTest and
            PrivateTest together are test, 10% of Training is validation. What ferops cuts has the same share of every
            class.
        seed: of the cuts; `official` does not use it.

    Returns:
        str (N,), `train`, `validation` or `test`.

    Raises:
        MissingSplit: a split would be empty.
    """
    if how == "official":
        splits = np.array([USAGES[usage] for usage in usages], np.str_)
    else:
        generator = np.random.default_rng(seed)
        test = _cut(labels, groups, _TEST_SHARE, generator) if how == "random" else usages != "Training"
        rest = np.flatnonzero(~test)
        chosen = _cut(labels[rest], groups[rest], _VALIDATION_SHARE, generator)
        splits = np.where(test, "test", "train").astype("<U10")
        splits[rest[chosen]] = "validation"

    missing = [split for split in SPLITS if split not in splits]
    if missing:
        found = ", ".join(f"{usage} {np.count_nonzero(usages == usage):,}" for usage in USAGES)
        way_out = "" if how == "random" else "; data.split: random in params.yaml cuts them anew"
        raise MissingSplit(f"data.split is {how}: no image for {' and '.join(missing)} (found: {found}){way_out}")
    return splits


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
