"""The three divisions of FER2013."""

import numpy as np
import pytest

from ferops.data.preprocessing.splits import MissingSplit, assign, folds
from ferops.labels import OFFICIAL_COUNTS, SPLITS, USAGES


@pytest.fixture(scope="module")
def official() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Usages, labels and groups with FER2013's counts, in mixed order; 1,890 have duplicates in their class."""
    generator = np.random.default_rng(11)
    usages, labels = [], []
    for word, split in USAGES.items():
        usages += [word] * sum(OFFICIAL_COUNTS[split])
        labels += list(np.repeat(np.arange(7), OFFICIAL_COUNTS[split]))
    order = generator.permutation(len(labels))
    usages, labels = np.array(usages)[order], np.array(labels)[order]
    groups = np.full(len(labels), -1)
    for label in range(7):
        duplicates = generator.permutation(np.flatnonzero(labels == label))[:270].reshape(-1, 3)
        groups[duplicates] = duplicates.min(axis=1, keepdims=True)
    return usages, labels, groups


def _counts(splits: np.ndarray, labels: np.ndarray, split: str) -> np.ndarray:
    return np.bincount(labels[splits == split], minlength=7)


def test_official_is_kaggles_usage(official):
    usages, labels, groups = official
    splits = assign(usages, labels, groups, "official", 0)
    for split in SPLITS:
        assert tuple(_counts(splits, labels, split)) == OFFICIAL_COUNTS[split]


def test_random_is_seventy_to_thirty_with_a_tenth_of_the_seventy_for_validation(official):
    usages, labels, groups = official
    splits = assign(usages, labels, groups, "random", 0)
    total = np.bincount(labels)
    for split, share in {"train": 0.63, "validation": 0.07, "test": 0.3}.items():
        assert _counts(splits, labels, split) == pytest.approx(share * total, abs=4)


def test_folders_merges_the_test_sets_and_cuts_validation_from_training(official):
    usages, labels, groups = official
    splits = assign(usages, labels, groups, "folders", 0)
    assert np.array_equal(splits == "test", usages != "Training")
    assert np.count_nonzero(splits == "test") == 7178
    training = np.array(OFFICIAL_COUNTS["train"])
    assert _counts(splits, labels, "validation") == pytest.approx(0.1 * training, abs=4)
    assert (_counts(splits, labels, "validation") + _counts(splits, labels, "train")).tolist() == training.tolist()


def test_random_keeps_duplicates_together(official):
    usages, labels, groups = official
    splits = assign(usages, labels, groups, "random", 0)
    for group in np.unique(groups[groups >= 0]):
        assert len(set(splits[groups == group])) == 1


def test_folders_keeps_duplicates_of_training_together(official):
    usages, labels, groups = official
    splits = assign(usages, labels, groups, "folders", 0)
    for group in np.unique(groups[groups >= 0]):
        assert len(set(splits[(groups == group) & (usages == "Training")])) <= 1


@pytest.mark.parametrize("how", ["random", "folders"])
def test_a_seed_gives_the_same_cut_again_and_another_seed_another(official, how):
    usages, labels, groups = official
    first = assign(usages, labels, groups, how, 3)
    assert np.array_equal(first, assign(usages, labels, groups, how, 3))
    assert not np.array_equal(first, assign(usages, labels, groups, how, 4))


def test_official_does_not_depend_on_the_seed(official):
    usages, labels, groups = official
    assert np.array_equal(assign(usages, labels, groups, "official", 0), assign(usages, labels, groups, "official", 1))


@pytest.mark.parametrize(
    ("how", "left_out", "missing"),
    [("official", "PublicTest", "validation"), ("official", "Training", "train"), ("folders", "Training", "train")],
)
def test_a_split_that_the_data_lack_is_named_with_the_way_out(official, how, left_out, missing):
    usages, labels, _ = official
    some = usages != left_out
    with pytest.raises(MissingSplit, match=f"no image for {missing}.*{left_out} 0.*data.split: random"):
        assign(usages[some], labels[some], np.full(some.sum(), -1), how, 0)


def test_random_needs_no_official_split(official):
    usages, labels, _ = official
    some = usages == "PublicTest"
    splits = assign(usages[some], labels[some], np.full(some.sum(), -1), "random", 0)
    assert set(splits) == set(SPLITS)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_every_fold_has_the_same_share_of_every_class_and_keeps_duplicates_together(official, count: int) -> None:
    _, labels, groups = official
    fold = folds(labels, groups, count, seed=0)
    shares = np.array([np.bincount(labels[fold == number], minlength=7) for number in range(count)])
    assert shares.sum() == len(labels)
    assert np.abs(shares - np.bincount(labels) / count).max() < 50
    assert np.ptp(shares.sum(axis=1)) < 0.02 * len(labels) / count
    assert all(len(set(fold[groups == group])) == 1 for group in np.unique(groups[groups >= 0]))
    np.testing.assert_array_equal(fold, folds(labels, groups, count, seed=0))
    assert (fold != folds(labels, groups, count, seed=1)).mean() > 0.4


def test_a_class_of_fewer_images_than_folds_leaves_no_fold_empty() -> None:
    assert set(folds(np.arange(14) // 2, np.full(14, -1), 10, seed=0)) == set(range(10))
