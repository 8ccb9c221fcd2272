"""Blank and duplicate images: what is found, and what each policy drops."""

import tracemalloc

import numpy as np
import pytest

from ferops.data import on_disk
from ferops.data.preprocessing import duplicates
from ferops.data.readers import layouts
from ferops.data.statistics import mean_and_std


@pytest.fixture
def images() -> np.ndarray:
    """Sixty images of which no two are near."""
    shapes = np.random.default_rng(3).integers(30, 220, (60, 6, 6)).repeat(8, axis=1).repeat(8, axis=2)
    return shapes.astype(np.uint8)


def _brute_force(images: np.ndarray, rms: float) -> np.ndarray:
    """Groups by comparing every pixel of every pair, and spreading the lowest index until nothing changes."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    near = np.array([np.sqrt(((flat - one) ** 2).mean(axis=1)) <= rms for one in flat])
    groups = np.arange(len(images))
    while True:
        spread = np.array([groups[row].min() for row in near])
        if np.array_equal(spread, groups):
            return np.where(near.sum(axis=1) == 1, -1, groups)
        groups = spread


def test_exact_duplicates_are_found_and_named_by_their_first(images):
    images[20] = images[5]
    images[41] = images[5]
    images[50] = images[2]
    groups = duplicates.group(images, 0.0)
    assert {index: int(group) for index, group in enumerate(groups) if group >= 0} == {
        5: 5, 20: 5, 41: 5, 2: 2, 50: 2,
    }  # fmt: skip


def test_near_duplicates_are_found_up_to_the_bound_and_not_beyond(images):
    images[30] = images[10] + 2
    assert duplicates.group(images, 2.0)[[10, 30]].tolist() == [10, 10]
    assert (duplicates.group(images, 1.99) == -1).all()
    images[30] = images[10]
    images[30, 0, 0] ^= 1
    assert (duplicates.group(images, 0.0) == -1).all()
    assert duplicates.group(images, 0.1)[30] == 10


def test_a_chain_of_near_pairs_is_one_group(images):
    images[40], images[7], images[33] = images[22] + 2, images[22] + 4, images[22] + 6
    groups = duplicates.group(images, 2.0)
    assert groups[[22, 40, 7, 33]].tolist() == [7, 7, 7, 7]
    assert (np.delete(groups, [22, 40, 7, 33]) == -1).all()


@pytest.mark.parametrize("rows", [1000, 19])
@pytest.mark.parametrize("rms", [0.0, 1.0, 4.0, 12.0, 20.0])
def test_no_pair_is_missed_and_none_is_made_up(rms, rows, monkeypatch):
    monkeypatch.setattr(on_disk, "_CHUNK", rows)
    generator = np.random.default_rng(5)
    base = generator.integers(60, 190, (40, 12, 12)).repeat(4, axis=1).repeat(4, axis=2)
    spread = generator.uniform(0, 15, (300, 1, 1))
    noisy = base[generator.integers(0, 40, 300)] + generator.normal(0, 1, (300, 48, 48)) * spread
    images = np.clip(noisy, 0, 255).astype(np.uint8)
    images[::25] = images[3]
    assert np.array_equal(duplicates.group(images, rms), _brute_force(images, rms))


def test_no_pair_is_missed_among_real_faces(real_csv):
    """Real faces resemble each other in what the search looks at first: at 34 gray levels many are near."""
    images = layouts.read(real_csv).images[:400]
    assert (duplicates.group(images, 34.0) >= 0).sum() > 10
    assert np.array_equal(duplicates.group(images, 34.0), _brute_force(images, 34.0))


@pytest.mark.parametrize("rms", [0.0, 4.0])
def test_without_images_to_compare_there_is_no_group(images, rms):
    assert (duplicates.group(images, rms, ignore=np.ones(len(images), np.bool_)) == -1).all()
    assert duplicates.group(images[:1], rms).tolist() == [-1]
    assert duplicates.group(images[:0], rms).tolist() == []


def test_many_equal_images_are_one_group_and_take_little_memory(images):
    many = np.concatenate([images[:3], np.repeat(images[3:4], 20_000, axis=0)])
    tracemalloc.start()
    groups = duplicates.group(many, 4.0)
    assert tracemalloc.get_traced_memory()[1] < 2 * many.nbytes, "and not the square of their number"
    tracemalloc.stop()
    assert groups[:3].tolist() == [-1, -1, -1]
    assert (groups[3:] == 3).all()


def test_ignored_images_are_in_no_group(images):
    images[5], images[6] = 0, 0
    images[20] = images[10]
    groups = duplicates.group(images, 2.0, ignore=mean_and_std(images)[1] < 2.0)
    assert np.flatnonzero(groups >= 0).tolist() == [10, 20]
    assert groups[20] == 10


# Five groups: 0 = train, train; 2 = train, validation; 4 = train, train, test; 7 = validation, test; 9 = test, test.
GROUPS = np.array([0, 0, 2, 2, 4, 4, 4, 7, 7, 9, 9, -1, -1, -1])
SPLITS = np.array(["train", "validation", "test"])[[0, 0, 0, 1, 0, 0, 2, 1, 2, 2, 2, 0, 1, 2]]


@pytest.mark.parametrize(
    ("policy", "dropped"),
    [("keep", []), ("drop_in_training", [1, 2, 4, 5]), ("drop", [1, 2, 4, 5, 7, 10])],
)
def test_each_policy_drops_what_it_says(policy, dropped):
    assert np.flatnonzero(~duplicates.apply_policy(GROUPS, SPLITS, policy)).tolist() == dropped


def test_where_duplicates_are_dropped_in_training_no_test_image_has_a_duplicate_there():
    keep = duplicates.apply_policy(GROUPS, SPLITS, "drop_in_training")
    training = GROUPS[keep & (SPLITS == "train") & (GROUPS >= 0)]
    assert not np.isin(training, GROUPS[SPLITS != "train"]).any()
    assert keep[SPLITS != "train"].all()


def test_where_all_duplicates_are_dropped_one_of_each_group_stays():
    keep = duplicates.apply_policy(GROUPS, SPLITS, "drop")
    assert np.unique(GROUPS[keep & (GROUPS >= 0)], return_counts=True)[1].tolist() == [1, 1, 1, 1, 1]
    assert SPLITS[keep & (GROUPS == 4)].tolist() == ["test"]


def test_duplicates_planted_among_real_faces_are_found(real_csv):
    images = layouts.read(real_csv).images.copy()
    noise = np.random.default_rng(0).integers(-1, 2, images.shape[1:])
    before = duplicates.group(images, 2.0)
    lonely = np.flatnonzero(before < 0)
    first, second = int(lonely[0]), int(lonely[-1])
    images[second] = np.clip(images[first].astype(np.int64) + noise, 0, 255)
    after = duplicates.group(images, 2.0)
    assert after[[first, second]].tolist() == [first, first]
    assert np.array_equal(np.delete(after, [first, second]), np.delete(before, [first, second]))
