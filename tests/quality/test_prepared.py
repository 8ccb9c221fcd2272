"""The gate on the prepared data: good data pass, a single fault fails the check that is there for it."""

import numpy as np
import pandas as pd
import pytest

from ferops.labels import OFFICIAL_COUNTS
from ferops.quality.reports import PreparedReport


def in_split(manifest, split):
    return manifest.index[manifest["split"] == split]


def test_good_data_pass(draw, failures):
    manifest = draw.manifest()
    assert failures(manifest, draw.report(manifest)) == {}


def test_an_unknown_label_is_named_with_its_row(draw, failures):
    manifest = draw.manifest()
    report = draw.report(manifest)
    manifest.loc[5, "label"] = 7
    failed = failures(manifest, report)
    assert list(failed) == ["known labels"]
    assert failed["known labels"].expected == "a code from 0 to 6"
    assert failed["known labels"].observed == "1 of 1,797 rows: 7 (row 5)"


def test_a_null_label_fails_although_great_expectations_ignores_nulls(draw, failures):
    manifest = draw.manifest()
    report = draw.report(manifest)
    manifest["label"] = manifest["label"].astype("Int64")
    manifest.loc[5, "label"] = pd.NA
    failed = failures(manifest, report)
    assert list(failed) == ["type of label", "no nulls in label"]
    assert failed["type of label"].observed == "Int64"
    assert failed["no nulls in label"].observed.startswith("1 of 1,797 rows")


def test_a_class_missing_in_one_split_fails_there(draw, failures):
    manifest = draw.manifest()
    manifest = manifest[~((manifest["split"] == "validation") & (manifest["label"] == 1))].reset_index(drop=True)
    failed = failures(manifest, draw.report(manifest))
    assert list(failed) == ["every class, validation"]
    assert failed["every class, validation"].observed == "without disgust"


def test_a_skewed_split_is_far_from_fer2013_and_from_the_other_splits(draw, failures):
    manifest = draw.manifest()
    test = in_split(manifest, "test")
    manifest.loc[test, "label"] = np.where(np.arange(len(test)) % 5 > 1, manifest.loc[test, "label"], 3)
    failed = failures(manifest, draw.report(manifest))
    assert list(failed) == ["class shares close to FER2013, test", "class shares close to the other splits, test"]
    for check in failed.values():
        assert check.expected == "a KL divergence of at most 0.05"
        assert float(check.observed) > 0.05


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


def test_a_blank_image_fails(draw, failures):
    manifest = draw.manifest()
    manifest.loc[9, "std"] = 0.0
    failed = failures(manifest, draw.report(manifest))
    assert list(failed) == ["no blank images"]
    assert failed["no blank images"].expected == "a standard deviation of at least 2 gray levels"
    assert failed["no blank images"].observed == "1 of 1,797 rows: 0 (row 9)"


@pytest.mark.parametrize(("duplicates", "expected"), [(18, set()), (19, {"duplicates across splits, test"})])
def test_duplicates_across_splits_are_bounded(draw, failures, duplicates, expected):
    manifest = draw.manifest()
    train, test = in_split(manifest, "train")[:duplicates], in_split(manifest, "test")[:duplicates]
    for rows in (train, test):
        manifest.loc[rows, "duplicate_of"] = manifest.loc[train, "id"].to_numpy()
    failed = failures(manifest, draw.report(manifest))
    assert set(failed) == expected
    for check in failed.values():
        assert (check.expected, check.observed) == ("at most 10.00% of the images", "10.56%")


def test_duplicates_within_one_split_are_no_duplicates_across_splits(draw, failures):
    manifest = draw.manifest()
    test = in_split(manifest, "test")
    manifest.loc[test, "duplicate_of"] = manifest.loc[test[0], "id"]
    assert failures(manifest, draw.report(manifest)) == {}


def test_dark_pixels_fail_in_the_split_that_is_dark(draw, failures):
    manifest = draw.manifest()
    manifest.loc[in_split(manifest, "test"), "mean"] /= 255
    failed = failures(manifest, draw.report(manifest))
    assert list(failed) == ["brightness, test"]
    assert failed["brightness, test"].expected == "a mean of 90 to 170 gray levels"
    assert float(failed["brightness, test"].observed) < 1


def test_flat_pixels_fail(draw, failures):
    manifest = draw.manifest()
    manifest["std"] /= 10
    assert set(failures(manifest, draw.report(manifest))) == {f"contrast, {s}" for s in ("train", "validation", "test")}


def test_a_nan_among_the_means_fails(draw, failures):
    manifest = draw.manifest()
    manifest.loc[3, "mean"] = np.nan
    assert list(failures(manifest, draw.report(manifest))) == ["no nulls in mean"]


def test_an_extra_column_fails(draw, failures):
    manifest = draw.manifest().assign(note=1)
    failed = failures(manifest, draw.report(manifest))
    assert list(failed) == ["columns"]
    assert failed["columns"].observed == "id, split, label, mean, std, hash, duplicate_of, note"
    assert failed["columns"].expected == "id, split, label, mean, std, hash, duplicate_of"


def test_a_missing_column_fails_without_a_crash(draw, failures):
    manifest = draw.manifest()
    failed = failures(manifest.drop(columns="std"), draw.report(manifest))
    assert list(failed) == ["columns", "contrast, train", "contrast, validation", "contrast, test"]


def test_a_wrong_type_fails(draw, failures):
    manifest = draw.manifest()
    failed = failures(manifest.astype({"id": "int32"}), draw.report(manifest))
    assert list(failed) == ["type of id"]
    assert (failed["type of id"].expected, failed["type of id"].observed) == ("int64", "int32")


def test_labels_as_words_fail_without_a_crash(draw, failures):
    manifest = draw.manifest()
    failed = failures(manifest.assign(label="happy"), draw.report(manifest))
    assert {"type of label", "known labels", "every class, train"} <= set(failed)
    assert failed["known labels"].observed == "1,797 of 1,797 rows: happy, happy, happy, ... (row 0, 1, 2, ...)"


def test_an_id_twice_fails(draw, failures):
    manifest = draw.manifest()
    manifest.loc[1, "id"] = 0
    assert list(failures(manifest, draw.report(manifest))) == ["unique id"]


def test_a_missing_split_fails_without_a_crash(draw, failures):
    manifest = draw.manifest()
    failed = failures(manifest[manifest["split"] != "test"].reset_index(drop=True), draw.report(manifest))
    assert {"every class, test", "number of images, test", "number of images as in report.json, test"} <= set(failed)
    assert all(check.split == "test" for check in failed.values())
    assert failed["number of images, test"].observed == "0"


def test_an_unknown_split_fails(draw, failures):
    manifest = draw.manifest()
    report = draw.report(manifest)
    manifest.loc[0, "split"] = "holdout"
    assert list(failures(manifest, report)) == ["known splits", "number of images as in report.json, train"]


def test_an_empty_manifest_fails_without_a_crash(draw, failures):
    manifest = draw.manifest()
    assert {"every class, train", "number of images, train"} <= set(failures(manifest[:0], draw.report(manifest)))


def test_an_image_lost_unaccounted_fails(draw, failures):
    manifest = draw.manifest()
    read = draw.report(manifest).read
    report = draw.report(manifest[1:], read=read, dropped={"blank": 0, "duplicates": 0})
    failed = failures(manifest[1:].reset_index(drop=True), report)
    assert list(failed) == ["dropped images add up"]
    assert (failed["dropped images add up"].expected, failed["dropped images add up"].observed) == (
        "read - kept = 0 dropped",
        "1",
    )


@pytest.fixture(scope="module")
def fer2013(draw):
    return draw.manifest(OFFICIAL_COUNTS)


def cleaned(draw, manifest, keep, split="official") -> tuple[pd.DataFrame, PreparedReport]:
    """The manifest cut down to `keep` of test, each image gone accounted for as a duplicate."""
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


def test_cleaning_cannot_make_a_split_of_fer2013_larger(draw, failures, fer2013):
    moved = fer2013.copy()
    moved.loc[0, "split"] = "test"
    failed = failures(moved, draw.report(moved, dataset="fer2013"))
    assert list(failed) == ["number of images, test"]
    assert failed["number of images, test"].observed == "3,590"


def test_in_folders_validation_is_cut_from_train_and_test_is_merged(draw, failures, fer2013):
    folders = fer2013.copy()
    folders["split"] = folders["split"].replace({"validation": "test"})
    cut = in_split(folders, "train")[::10]
    folders.loc[cut, "split"] = "validation"
    assert failures(folders, draw.report(folders, dataset="fer2013", split="folders")) == {}
    assert set(failures(folders, draw.report(folders, dataset="fer2013"))) == {
        f"number of images, {split}" for split in ("train", "validation", "test")
    }


def test_a_random_split_is_70_30_with_a_tenth_of_the_70_for_validation(draw, failures, fer2013):
    random = fer2013.copy()
    place = np.random.default_rng(0).permutation(len(random)) / len(random)
    random["split"] = pd.array(np.select([place < 0.63, place < 0.7], ["train", "validation"], "test"), dtype="str")
    assert failures(random, draw.report(random, dataset="fer2013", split="random")) == {}
