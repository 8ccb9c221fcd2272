"""The gate on the augmented data: nothing from validation or test, labels kept, the shares asked for reached."""

import pytest


@pytest.fixture(scope="module")
def manifest(draw):
    return draw.manifest()


def first_of(manifest, split, label):
    return int(manifest.loc[(manifest["split"] == split) & (manifest["label"] == label), "id"].iloc[0])


def test_good_data_pass(draw, failures, manifest):
    added = draw.added(manifest)
    assert failures(added, draw.added_report(added, manifest), manifest) == {}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_copy_of_an_image_that_is_not_for_training_fails(draw, failures, manifest, split):
    added = draw.added(manifest)
    added.loc[4, "origin"] = first_of(manifest, split, label=1)
    failed = failures(added, draw.added_report(added, manifest), manifest)
    assert list(failed) == ["no leakage from validation or test"]
    check = failed["no leakage from validation or test"]
    assert (check.expected, check.observed) == ("an origin in train", f"1 of {len(added)} rows: {split} (row 4)")


def test_an_origin_that_does_not_exist_fails(draw, failures, manifest):
    added = draw.added(manifest)
    added.loc[4, "origin"] = 10**9
    failed = failures(added, draw.added_report(added, manifest), manifest)
    assert list(failed) == ["origin exists"]
    assert failed["origin exists"].observed == f"1 of {len(added)} rows: absent (row 4)"


def test_a_row_of_another_split_fails(draw, failures, manifest):
    added = draw.added(manifest)
    added.loc[0, "split"] = "test"
    assert list(failures(added, draw.added_report(added, manifest), manifest)) == ["training images only"]


def test_a_label_that_is_not_its_origins_fails(draw, failures, manifest):
    added = draw.added(manifest)
    added.loc[0, "origin"] = first_of(manifest, "train", label=3)
    failed = failures(added, draw.added_report(added, manifest), manifest)
    assert list(failed) == ["same label as the origin"]
    assert "(disgust, happy)" in failed["same label as the origin"].observed


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


def test_counts_that_are_not_the_datas_fail(draw, failures, manifest):
    added = draw.added(manifest)
    report = draw.added_report(added, manifest)
    lying = report.model_copy(update={"after": (*report.after[:6], report.after[6] + 1)})
    failed = failures(added, lying, manifest)
    assert list(failed) == ["class counts after augmentation"]
    assert failed["class counts after augmentation"].observed.startswith("1 of 7 rows: (248, 249)")


def test_nothing_added_where_nothing_was_asked_for_passes(draw, failures, manifest):
    added = draw.added(manifest, share=0)
    assert len(added) == 0
    assert failures(added, draw.added_report(added, manifest, share=0), manifest) == {}


def test_a_broken_prepared_manifest_fails_without_a_crash(draw, failures, manifest):
    added = draw.added(manifest)
    failed = failures(added, draw.added_report(added, manifest), manifest.drop(columns=["id", "split"]))
    assert "origin exists" in failed


def test_dark_copies_fail(draw, failures, manifest):
    added = draw.added(manifest)
    added["mean"] /= 255
    assert list(failures(added, draw.added_report(added, manifest), manifest)) == ["brightness"]
