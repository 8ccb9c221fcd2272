"""The gate on the augmented data: no leakage from validation or test, labels kept, the minimum shares reached."""

import numpy as np
import pandas as pd
import pytest

from ferops.data import augmentation


@pytest.fixture(scope="module")
def manifest(draw):
    return draw.manifest()


def first_of(manifest, split, label):
    return int(manifest.loc[(manifest["split"] == split) & (manifest["label"] == label), "id"].iloc[0])


def test_good_data_pass(draw, failures, manifest):
    added = draw.added(manifest)
    assert failures(added, draw.added_report(added, manifest), manifest) == {}


@pytest.fixture(scope="module")
def bad_rows(draw, failures, manifest):
    """The failures of added images with a fault in each of a few rows, dark, with a report that miscounts."""
    added = draw.added(manifest)
    report = draw.added_report(added, manifest)
    added.loc[0, "split"] = "test"
    added.loc[1, "origin"] = first_of(manifest, "train", label=3)
    added.loc[4, "origin"] = first_of(manifest, "validation", label=1)
    added.loc[5, "origin"] = first_of(manifest, "test", label=1)
    added.loc[6, "origin"] = 10**9
    added["mean"] /= 255
    wrong = report.model_copy(update={"after": (*report.after[:6], report.after[6] + 1)})
    return failures(added, wrong, manifest)


def test_every_bad_row_fails_its_check_and_no_other(bad_rows):
    assert list(bad_rows) == [
        "training images only", "origin exists", "no leakage from validation or test", "same label as the origin",
        "brightness", "class counts after augmentation",
    ]  # fmt: skip


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_copy_of_an_image_that_is_not_for_training_fails(bad_rows, split):
    check = bad_rows["no leakage from validation or test"]
    assert check.expected == "an origin in train"
    assert split in check.observed
    assert check.observed.endswith("rows: validation, test (row 4, 5)")


def test_an_origin_that_does_not_exist_fails(bad_rows):
    assert bad_rows["origin exists"].observed.endswith("rows: absent (row 6)")


def test_a_row_of_another_split_fails(bad_rows):
    assert bad_rows["training images only"].observed.endswith("rows: test (row 0)")


def test_a_label_that_is_not_its_origins_fails(bad_rows):
    assert bad_rows["same label as the origin"].observed.endswith("rows: (disgust, happy) (row 1)")


def test_counts_that_are_not_the_datas_fail(bad_rows):
    assert bad_rows["class counts after augmentation"].observed.startswith("1 of 7 rows: (248, 249)")


def test_dark_copies_fail(bad_rows):
    assert float(bad_rows["brightness"].observed) < 1


def test_a_share_that_is_not_reached_fails(draw, failures, manifest):
    added = draw.added(manifest, share=0.08)
    failed = failures(added, draw.added_report(added, manifest, share=0.1), manifest)
    assert list(failed) == ["share of disgust"]
    assert (failed["share of disgust"].expected, failed["share of disgust"].observed) == (
        "10.00% after augmentation",
        "8.00%",
    )


def test_a_class_raised_further_than_asked_fails(draw, failures, manifest):
    added = draw.added(manifest, share=0.12)
    failed = failures(added, draw.added_report(added, manifest, share=0.1), manifest)
    assert "share of disgust" in failed
    assert failed["share of disgust"].observed == "12.00%"


def test_a_class_that_had_its_share_must_not_be_touched(draw, failures, manifest):
    added = draw.added(manifest)
    happy = manifest[(manifest["split"] == "train") & (manifest["label"] == 3)].iloc[0]
    added.loc[0, ["origin", "label"]] = [happy["id"], 3]
    assert list(failures(added, draw.added_report(added, manifest), manifest)) == ["share of happy"]


def test_a_data_set_in_which_one_class_dominates_passes(draw, failures):
    raf_db = draw.manifest(draw.raf_db)
    train = raf_db[raf_db["split"] == "train"]
    origins = train.iloc[augmentation.plan(train["label"].to_numpy(), 0.1, np.random.default_rng(0))]
    assert set(origins["label"]) == {0, 1, 2, 5}
    added = pd.DataFrame(
        {
            "id": np.arange(len(origins)),
            "origin": origins["id"].to_numpy(),
            **{name: origins[name].array for name in ("split", "label", "mean", "std")},
        }
    )
    assert failures(added, draw.added_report(added, raf_db), raf_db) == {}


def test_nothing_added_where_nothing_was_asked_for_passes(draw, failures, manifest):
    added = draw.added(manifest, share=0)
    assert len(added) == 0
    assert failures(added, draw.added_report(added, manifest, share=0), manifest) == {}


def test_a_broken_prepared_manifest_fails_without_a_crash(draw, failures, manifest):
    added = draw.added(manifest)
    failed = failures(added, draw.added_report(added, manifest), manifest.drop(columns=["id", "split"]))
    assert "origin exists" in failed
