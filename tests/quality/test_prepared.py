"""The gate on the prepared data: good data pass, a fault fails the check that is there for it, and no other.

Great Expectations takes a second for a gate, so faults that do not touch one another share a manifest.
"""

import numpy as np
import pandas as pd
import pytest

from ferops.labels import OFFICIAL_COUNTS
from ferops.quality import expectations, validation
from ferops.quality.reports import PreparedReport


def in_split(manifest, split):
    return manifest.index[manifest["split"] == split]


def test_good_data_pass(draw, failures):
    manifest = draw.manifest()
    assert failures(manifest, draw.report(manifest)) == {}


@pytest.fixture(scope="module")
def bad_rows(draw, failures):
    """The failures of a manifest with a fault in each of a few rows and columns."""
    manifest = draw.manifest()
    report = draw.report(manifest)
    manifest["label"] = manifest["label"].astype("Int64")
    manifest.loc[5, "label"] = 7
    manifest.loc[6, "label"] = pd.NA
    manifest.loc[9, "std"] = 0.0
    manifest.loc[3, "mean"] = np.nan
    manifest.loc[1, "id"] = 0
    manifest.loc[4, "split"] = "holdout"
    return failures(manifest.astype({"id": "int32"}).assign(note=1), report)


def test_every_bad_row_fails_its_check_and_no_other(bad_rows):
    assert list(bad_rows) == [
        "columns", "type of id", "type of label", "no nulls in label", "no nulls in mean", "unique id", "known labels",
        "known splits", "no blank images", "number of images as in report.json, train",
    ]  # fmt: skip


def test_an_unknown_label_is_named_with_its_row(bad_rows):
    assert bad_rows["known labels"].expected == "a code from 0 to 6"
    assert bad_rows["known labels"].observed == "1 of 1,797 rows: 7 (row 5)"


def test_a_null_label_fails_although_great_expectations_ignores_nulls(bad_rows):
    assert bad_rows["type of label"].observed == "Int64"
    assert bad_rows["no nulls in label"].observed.startswith("1 of 1,797 rows")


def test_a_blank_image_fails(bad_rows):
    assert bad_rows["no blank images"].expected == "a standard deviation of at least 2 gray levels"
    assert bad_rows["no blank images"].observed == "1 of 1,797 rows: 0 (row 9)"


def test_a_nan_among_the_means_fails(bad_rows):
    assert bad_rows["no nulls in mean"].observed.startswith("1 of 1,797 rows")


def test_an_extra_column_fails(bad_rows):
    assert bad_rows["columns"].observed == "id, split, label, mean, std, hash, duplicate_of, note"
    assert bad_rows["columns"].expected == "id, split, label, mean, std, hash, duplicate_of"


def test_a_wrong_type_fails(bad_rows):
    assert (bad_rows["type of id"].expected, bad_rows["type of id"].observed) == ("int64", "int32")


def test_an_id_twice_fails(bad_rows):
    assert bad_rows["unique id"].observed == "2 of 1,797 rows: 0, 0 (row 0, 1)"


def test_an_unknown_split_fails(bad_rows):
    assert bad_rows["known splits"].observed == "1 of 1,797 rows: holdout (row 4)"
    assert bad_rows["number of images as in report.json, train"].observed == "1,436"


@pytest.fixture(scope="module")
def bad_splits(draw, failures):
    """The failures of a manifest with a fault in each split."""
    manifest = draw.manifest()
    train, test = in_split(manifest, "train")[:19], in_split(manifest, "test")
    for rows in (train, test[:19]):
        manifest.loc[rows, "duplicate_of"] = manifest.loc[train, "id"].to_numpy()
    manifest.loc[test, "mean"] /= 255
    manifest["std"] /= 10
    read = draw.report(manifest).read
    kept = manifest[~((manifest["split"] == "validation") & (manifest["label"] == 1))].reset_index(drop=True)
    return failures(kept, draw.report(kept, read=read))


def test_every_bad_split_fails_its_check_and_no_other(bad_splits):
    assert list(bad_splits) == [
        "every class, validation", "duplicates across splits, test", "brightness, test",
        "contrast, train", "contrast, validation", "contrast, test", "dropped images add up",
    ]  # fmt: skip


def test_a_class_missing_in_one_split_fails_there(bad_splits):
    assert bad_splits["every class, validation"].observed == "without disgust"


def test_dark_pixels_fail_in_the_split_that_is_dark(bad_splits):
    assert bad_splits["brightness, test"].expected == "a mean of 90 to 170 gray levels"
    assert float(bad_splits["brightness, test"].observed) < 1


def test_flat_pixels_fail(bad_splits):
    for split in ("train", "validation", "test"):
        assert float(bad_splits[f"contrast, {split}"].observed) < 10


def test_an_image_lost_unaccounted_fails(bad_splits):
    check = bad_splits["dropped images add up"]
    assert (check.expected, check.observed) == ("read - kept = 0 dropped", "3")


def test_too_many_duplicates_across_splits_fail(bad_splits):
    check = bad_splits["duplicates across splits, test"]
    assert (check.expected, check.observed) == ("at most 10.00% of the images", "10.56%")


def test_a_few_duplicates_across_splits_pass(draw, failures):
    manifest = draw.manifest()
    train, test = in_split(manifest, "train")[:18], in_split(manifest, "test")[:18]
    for rows in (train, test):
        manifest.loc[rows, "duplicate_of"] = manifest.loc[train, "id"].to_numpy()
    assert failures(manifest, draw.report(manifest)) == {}


def test_a_skewed_split_is_far_from_fer2013_and_from_the_other_splits(draw, failures):
    manifest = draw.manifest()
    test = in_split(manifest, "test")
    manifest.loc[test, "label"] = np.where(np.arange(len(test)) % 5 > 1, manifest.loc[test, "label"], 3)
    failed = failures(manifest, draw.report(manifest))
    assert list(failed) == ["class shares close to FER2013, test", "class shares close to the other splits, test"]
    for check in failed.values():
        assert check.expected == "a KL divergence of at most 0.05"
        assert float(check.observed) > 0.05


@pytest.fixture(scope="module")
def raf_db(draw):
    return draw.manifest(draw.raf_db)


def test_another_data_set_passes_far_from_fer2013_and_the_distance_is_shown(draw, bounds, raf_db):
    suites = expectations.prepared(raf_db, draw.report(raf_db, dataset="other", split="folders"), bounds)
    checks = validation.run("gate", suites)
    assert all(check.passed for check in checks)
    distances = [check for check in checks if check.name == "class shares close to FER2013"]
    assert {check.split: check.observed for check in distances} == {
        "train": "0.1793", "validation": "0.1803", "test": "0.1759",
    }  # fmt: skip
    assert {check.expected for check in distances} == {"any KL divergence: `other` is not held to FER2013's shares"}


def test_another_data_set_under_fer2013s_name_fails(draw, failures, raf_db):
    failed = failures(raf_db, draw.report(raf_db, dataset="fer2013", split="folders"))
    for split in ("train", "validation", "test"):
        check = failed.pop(f"class shares close to FER2013, {split}")
        assert check.expected == "a KL divergence of at most 0.05"
    assert set(failed) == {"number of images, train and validation", "number of images, test"}


def test_another_data_sets_splits_are_held_to_one_another(draw, failures, raf_db):
    skewed = raf_db.copy()
    skewed.loc[in_split(skewed, "validation")[::2], "label"] = 6
    failed = failures(skewed, draw.report(skewed, dataset="other"))
    assert list(failed) == ["class shares close to the other splits, validation"]
    assert failed["class shares close to the other splits, validation"].expected == "a KL divergence of at most 0.05"


def test_another_data_set_lacks_no_class(draw, failures, raf_db):
    without = raf_db[raf_db["label"] != 2].reset_index(drop=True)
    assert set(failures(without, draw.report(without, dataset="other"))) == {
        f"every class, {split}" for split in ("train", "validation", "test")
    }


def test_a_set_of_ten_images_a_class_passes(draw, failures):
    manifest = draw.manifest({"train": [6] * 7, "validation": [1] * 7, "test": [3] * 7})
    assert failures(manifest, draw.report(manifest, dataset="other", split="random")) == {}


def test_the_distance_of_a_split_without_images_is_no_value(draw, bounds, raf_db):
    kept = raf_db[raf_db["split"] != "test"].reset_index(drop=True)
    checks = validation.run("gate", expectations.prepared(kept, draw.report(raf_db, dataset="other"), bounds))
    (distance,) = (check for check in checks if check.name.endswith("to FER2013") and check.split == "test")
    assert distance.observed == "no value"


def test_a_class_that_no_other_split_has_is_an_infinite_divergence_not_a_crash(draw, failures):
    manifest = draw.manifest()
    manifest = manifest[(manifest["split"] == "train") | (manifest["label"] != 1)].reset_index(drop=True)
    failed = failures(manifest, draw.report(manifest))
    assert list(failed) == [
        "every class, validation",
        "every class, test",
        "class shares close to the other splits, train",
    ]
    assert failed["class shares close to the other splits, train"].observed == "no value"


def test_duplicates_within_one_split_are_no_duplicates_across_splits(draw, failures):
    manifest = draw.manifest()
    test = in_split(manifest, "test")
    manifest.loc[test, "duplicate_of"] = manifest.loc[test[0], "id"]
    assert failures(manifest, draw.report(manifest)) == {}


def test_a_missing_column_fails_without_a_crash(draw, failures):
    manifest = draw.manifest()
    failed = failures(manifest.drop(columns="std"), draw.report(manifest))
    assert list(failed) == ["columns", "contrast, train", "contrast, validation", "contrast, test"]


def test_labels_as_words_fail_without_a_crash(draw, failures):
    manifest = draw.manifest()
    failed = failures(manifest.assign(label="happy"), draw.report(manifest))
    assert {"type of label", "known labels", "every class, train"} <= set(failed)
    assert failed["known labels"].observed == "1,797 of 1,797 rows: happy, happy, happy, ... (row 0, 1, 2, ...)"


def test_a_missing_split_fails_without_a_crash(draw, failures):
    manifest = draw.manifest()
    failed = failures(manifest[manifest["split"] != "test"].reset_index(drop=True), draw.report(manifest))
    assert {"every class, test", "number of images, test", "number of images as in report.json, test"} <= set(failed)
    assert all(check.split == "test" for check in failed.values())
    assert failed["number of images, test"].observed == "0"


def test_an_empty_manifest_fails_without_a_crash(draw, failures):
    manifest = draw.manifest()
    assert {"every class, train", "number of images, train"} <= set(failures(manifest[:0], draw.report(manifest)))


@pytest.fixture(scope="module")
def fer2013(draw):
    return draw.manifest(OFFICIAL_COUNTS)


def cleaned(draw, manifest, keep, split="official") -> tuple[pd.DataFrame, PreparedReport]:
    """The manifest cut down to `keep` of test, each image that is gone counted as a duplicate."""
    test = manifest[manifest["split"] == "test"]
    gone = test.index[: len(test) - keep]
    kept = manifest.drop(index=gone).reset_index(drop=True)
    read = draw.report(manifest).read
    return kept, draw.report(
        kept, dataset="fer2013", split=split, read=read, dropped={"blank": 0, "duplicates": len(gone)}
    )


def test_fer2013_has_its_official_counts(draw, failures, fer2013):
    assert failures(*cleaned(draw, fer2013, keep=3589)) == {}


def test_fer2013_with_too_few_test_images_fails(draw, failures, fer2013):
    rng = np.random.default_rng(0)
    shuffled = fer2013.iloc[rng.permutation(len(fer2013))]
    failed = failures(*cleaned(draw, shuffled, keep=3300))
    assert list(failed) == ["number of images, test"]
    assert failed["number of images, test"].expected == "from 3,301 to 3,589"
    assert failed["number of images, test"].observed == "3,300"


def sizes(manifest, report, bounds) -> dict[str, tuple[int, int]]:
    """Least and largest number of images of each split."""
    suites = expectations.prepared(manifest[:0], report, bounds)
    found = [each for suite in suites for each in suite.expectations if each.meta["name"] == "number of images"]
    return {each.meta["split"]: (each.min_value, each.max_value) for each in found}


def test_cleaning_cannot_make_a_split_of_fer2013_larger(draw, bounds, fer2013):
    report = draw.report(fer2013, dataset="fer2013")
    assert sizes(fer2013, report, bounds) == {
        "train": (26412, 28709),
        "validation": (3301, 3589),
        "test": (3301, 3589),
    }


def test_in_folders_validation_is_cut_from_train_and_test_is_merged(draw, failures, fer2013):
    folders = fer2013.copy()
    folders["split"] = folders["split"].replace({"validation": "test"})
    cut = in_split(folders, "train")[::10]
    folders.loc[cut, "split"] = "validation"
    assert failures(folders, draw.report(folders, dataset="fer2013", split="folders")) == {}
    assert set(failures(folders, draw.report(folders, dataset="fer2013"))) == {
        f"number of images, {split}" for split in ("train", "validation", "test")
    }


def test_a_random_split_is_70_30_with_a_tenth_of_the_70_for_validation(draw, bounds, fer2013):
    report = draw.report(fer2013, dataset="fer2013", split="random")
    assert sizes(fer2013, report, bounds) == {
        "train": (20800, 24418),
        "validation": (2311, 2714),
        "test": (9904, 11628),
    }
