"""The preprocess stage, from a CSV to data/prepared, and the files that it leaves."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from copies import ordered

from ferops import params as parameters
from ferops.data import prepared
from ferops.data.preprocessing.splits import MissingSplit
from ferops.data.readers.faces import BadFile, FaceDataset, digests
from ferops.labels import NAMES, SPLITS, USAGES
from ferops.stages import preprocess

BLANKS, COPIED, DUPLICATE, NEARED, NEAR = [10, 11], 3, 120, 4, 90
"""Rows of the source: two blank images of train, one with a copy in test, one with a near copy in validation."""


@pytest.fixture
def source(faces, write_csv, workplace) -> FaceDataset:
    """The made-up faces with two blanks and two duplicates, as data/source.csv of a workplace that points at it.

    Given in the order of their ids; the rows above are found by `ids`.
    """
    images = faces.images.copy()
    images[BLANKS] = 17
    images[DUPLICATE] = images[COPIED]
    images[NEAR] = images[NEARED] + 1
    planted = FaceDataset(images, faces.labels, faces.usages)
    write_csv(workplace / "data/source.csv", planted)
    _set(data={"source": "data/source.csv", "dataset": "other"})
    return planted


def ids(source: FaceDataset, *rows: int) -> list[int]:
    """The ids of rows of the source: their ranks by content."""
    usages = [[*USAGES].index(usage) for usage in source.usages]
    order = np.lexsort((usages, source.labels, digests(source.images))).tolist()
    return [order.index(row) for row in rows]


def _set(**sections: dict[str, object]) -> None:
    parameters.merge(sections)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_overrides_change_the_training_images_that_they_name_and_no_other(source, capsys):
    preprocess.main()
    before = prepared.load(Path("data/prepared")).manifest.set_index("hash")
    first = {split: list(before.index[before["split"] == split][:2]) for split in SPLITS}
    wanted = {image: NAMES[(before.loc[image, "label"] + 1) % 7] for image in (first["train"][0], *first["validation"])}
    wanted |= {first["train"][1]: "drop", first["test"][0]: "drop", "0" * 16: "sad"}
    lines = ["hash,label", *(f"{image},{label}" for image, label in wanted.items())]
    Path("data/overrides.csv").write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    preprocess.main()
    assert "overrides: 1 relabelled, 1 dropped, 3 refused, 1 unknown" in capsys.readouterr().out
    data = prepared.load(Path("data/prepared"))
    after = data.manifest.set_index("hash")
    assert set(before.index) - set(after.index) == {first["train"][1]}
    changed = after["label"] != before.loc[after.index, "label"]
    assert list(after.index[changed]) == [first["train"][0]]
    assert data.report["overrides"] == {"relabelled": 1, "dropped": 1, "refused": 3, "unknown": 1}
    assert (data.report["dropped"]["overrides"], data.report["dropped"]["duplicates"]) == (1, 2)


def test_an_image_that_is_dropped_drops_no_duplicate_of_it(source, write_csv):
    first, second = np.flatnonzero((source.usages == "Training") & ~np.isin(range(140), [*BLANKS, COPIED, NEARED]))[:2]
    source.images[second] = source.images[first] + 1
    write_csv(Path("data/source.csv"), source)
    both = {hashlib.sha256(source.images[row].tobytes()).hexdigest()[:16] for row in (first, second)}

    def kept() -> set[str]:
        preprocess.main()
        return both & set(prepared.load(Path("data/prepared")).manifest["hash"])

    (one,) = kept()
    Path("data/overrides.csv").write_text(f"hash,label\n{one},drop\n")
    assert kept() == both - {one}


def test_the_manifest_tells_of_every_image_kept_by_split_then_id(source):
    preprocess.main()
    table = prepared.load(Path("data/prepared")).manifest
    assert table.columns.tolist() == ["id", "split", "label", "mean", "std", "hash", "duplicate_of"]
    assert [str(kind) for kind in table.dtypes] == ["int64", "str", "int64", "float64", "float64", "str", "Int64"]
    dropped = set(ids(source, *BLANKS, COPIED, NEARED))
    assert set(table["id"]) == set(range(140)) - dropped
    assert (table["id"].diff()[table["split"].eq(table["split"].shift())] > 0).all()
    source_of = ordered(source)
    assert table["split"].tolist() == ["train"] * 80 + ["validation"] * 28 + ["test"] * 28
    for row in table.itertuples():
        raw = source_of.images[row.id]
        assert (row.label, row.split) == (source_of.labels[row.id], USAGES[source_of.usages[row.id]])
        assert (row.mean, row.std) == (pytest.approx(raw.mean()), pytest.approx(raw.std()))
        assert row.hash == hashlib.sha256(raw.tobytes()).hexdigest()[:16]
    duplicates = table.loc[table["duplicate_of"].notna(), ["id", "duplicate_of"]]
    pairs = [ids(source, NEAR, NEARED), ids(source, DUPLICATE, COPIED)]
    assert duplicates.to_numpy().tolist() == [[pair[0], min(pair)] for pair in pairs]


def test_the_images_are_median_filtered_and_lie_by_split(source):
    preprocess.main()
    done = prepared.load(Path("data/prepared"))
    assert isinstance(done.images, np.memmap)
    assert not done.images.flags.writeable
    for image, row in zip(done.images, done.manifest["id"], strict=True):
        assert np.array_equal(image, cv2.medianBlur(ordered(source).images[row], 3))
    for split, count in zip(SPLITS, (80, 28, 28), strict=True):
        images, labels = done.split(split)
        rows = done.manifest["split"] == split
        assert len(images) == len(labels) == count
        assert np.array_equal(images, done.images[rows.to_numpy()])
        assert labels.tolist() == done.manifest.loc[rows, "label"].tolist()


def test_the_report_counts_what_was_read_kept_and_dropped(source):
    preprocess.main()
    report = json.loads(Path("data/prepared/report.json").read_text())
    train = [12] * 7
    kept = [12 - sum(int(source.labels[row]) == label for row in (*BLANKS, COPIED, NEARED)) for label in range(7)]
    assert report == {
        "dataset": "other",
        "source": "data/source.csv",
        "layout": "CSV with emotion, pixels and Usage",
        "left_out": [],
        "converted": {"resized": 0, "recoloured": 0},
        "split": "official",
        "median_kernel": 3,
        "duplicates": "drop_in_training",
        "read": {"train": train, "validation": [4] * 7, "test": [4] * 7},
        "kept": {"train": kept, "validation": [4] * 7, "test": [4] * 7},
        "overrides": {"relabelled": 0, "dropped": 0, "refused": 0, "unknown": 0},
        "dropped": {"blank": 2, "overrides": 0, "duplicates": 2},
        "duplicated": 4,
    }


def test_the_stage_prints_a_summary(source, capsys):
    preprocess.main()
    printed = capsys.readouterr().out
    assert "read 140 images: train 84, validation 28, test 28" in printed
    assert "kept 136 images: train 80, validation 28, test 28" in printed
    assert "dropped 2 blank and 2 duplicates" in printed


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"duplicates": "keep"}, 138),
        ({"duplicates": "drop"}, 136),
        ({"duplicate_rms": 0.5}, 137),
        ({"duplicates": "keep", "blank_std": 0.0}, 140),
    ],
)
def test_the_parameters_decide_what_stays(source, changes, kept):
    _set(preprocess=changes)
    preprocess.main()
    assert len(prepared.load(Path("data/prepared")).manifest) == kept


def test_a_kernel_of_one_keeps_the_raw_images(source):
    _set(preprocess={"median_kernel": 1})
    preprocess.main()
    done = prepared.load(Path("data/prepared"))
    assert np.array_equal(done.images, ordered(source).images[done.manifest["id"]])


@pytest.mark.parametrize("split", ["random", "folders"])
def test_no_duplicate_is_torn_apart_by_a_cut_of_ferops_own(source, split):
    _set(data={"split": split}, preprocess={"duplicates": "keep"})
    preprocess.main()
    table = prepared.load(Path("data/prepared")).manifest
    torn = table.dropna(subset="duplicate_of").groupby("duplicate_of")["split"].nunique()
    if split == "random":
        assert (torn == 1).all()
    assert table["split"].drop_duplicates().tolist() == list(SPLITS)
    assert table.groupby("split", sort=False)["id"].is_monotonic_increasing.all()


@pytest.mark.parametrize("split", ["official", "random"])
def test_the_same_source_gives_the_same_bytes(source, split):
    _set(data={"split": split})
    preprocess.main()
    first = _digests(Path("data/prepared"))
    preprocess.main()
    assert _digests(Path("data/prepared")) == first
    assert sorted(first) == ["images.npy", "manifest.parquet", "report.json"]


def test_a_missing_source_or_split_leaves_the_last_result_alone(source, write_csv):
    preprocess.main()
    before = _digests(Path("data/prepared"))
    write_csv(Path("data/training.csv"), FaceDataset(source.images[:84], source.labels[:84], source.usages[:84]))
    _set(data={"source": "data/training.csv"})
    with pytest.raises(MissingSplit):
        preprocess.main()
    _set(data={"source": "data/nowhere.csv"})
    with pytest.raises(BadFile):
        preprocess.main()
    assert _digests(Path("data/prepared")) == before


def test_as_a_command_a_mistake_is_one_line_and_status_1(workplace):
    _set(data={"source": "data/nowhere.csv"})
    done = subprocess.run([sys.executable, "-m", "ferops.stages", "preprocess"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "preprocess: there is no file or folder data/nowhere.csv\n"


def test_real_faces_go_through(real_csv, workplace):
    _set(data={"source": str(real_csv), "dataset": "other"})
    preprocess.main()
    done = prepared.load(Path("data/prepared"))
    assert 2000 < len(done.manifest) <= 2100
    assert [len(done.split(split)[1]) for split in SPLITS] == pytest.approx([1400, 350, 350], rel=0.1)


def test_a_folder_without_its_files_says_which_is_missing(tmp_path):
    with pytest.raises(prepared.BadPrepared, match=r"images\.npy is missing"):
        prepared.load(tmp_path)


def test_images_and_manifest_of_different_length_are_refused_on_both_sides(tmp_path):
    images = np.zeros((3, 48, 48), np.uint8)
    manifest = pd.DataFrame({"id": [0, 1, 2], "split": ["train"] * 3, "label": [0, 1, 2]})
    folder = tmp_path / "prepared"
    with pytest.raises(prepared.BadPrepared, match="one for each row"):
        prepared.save(folder, images[:2], manifest, {})
    assert not folder.exists()
    prepared.save(folder, images, manifest, {})
    np.save(folder / "images.npy", images[:2])
    with pytest.raises(prepared.BadPrepared, match="one for each row"):
        prepared.load(folder)


def test_a_split_that_is_not_there_is_empty_and_a_torn_one_is_refused(tmp_path):
    manifest = pd.DataFrame({"id": [0, 1, 2], "split": ["train", "test", "train"], "label": [0, 1, 2]})
    prepared.save(tmp_path / "p", np.zeros((3, 48, 48), np.uint8), manifest, {})
    done = prepared.load(tmp_path / "p")
    assert [len(part) for part in done.split("validation")] == [0, 0]
    with pytest.raises(prepared.BadPrepared, match="train do not lie together"):
        done.split("train")


def test_writing_anew_leaves_nothing_of_the_folder_before(tmp_path):
    manifest = pd.DataFrame({"id": [0], "split": ["train"], "label": [0]})
    (tmp_path / "p").mkdir()
    (tmp_path / "p/old.txt").write_text("old")
    prepared.save(tmp_path / "p", np.zeros((1, 48, 48), np.uint8), manifest, {"a": 1})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["images.npy", "manifest.parquet", "p", "report.json"]
