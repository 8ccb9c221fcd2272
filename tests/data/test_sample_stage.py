"""The sample stage, run as dvc.yaml runs it, and the files that it leaves."""

import csv
import shutil
import sys
from collections import Counter
from pathlib import Path

import cv2
import pytest
from support import ROOT, shell

from ferops import params as parameters
from ferops.data.readers import layouts
from ferops.labels import NAMES, USAGES

COUNTS = {"train": 140, "validation": 70, "test": 70}


def _generate(place: Path) -> str:
    return shell(place, sys.executable, "-m", "ferops.stages", "sample").stdout


def _bytes(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((place / "data/sample").iterdir())}


def _place(folder: Path, **sample: int) -> Path:
    shutil.copy(ROOT / "params.yaml", folder)
    parameters.merge({"sample": {"seed": 2013, **COUNTS, **sample}}, folder / "params.yaml")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder where the stage has run, and what it printed."""
    place = _place(tmp_path_factory.mktemp("repository"))
    return place, _generate(place)


def test_the_csv_has_kaggles_layout_with_every_class_in_every_split(run):
    with (run[0] / "data/sample/fer2013.csv").open(encoding="ascii", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["emotion", "pixels", "Usage"]
    seen = Counter((USAGES[usage], int(label)) for label, _, usage in rows)
    for split, count in COUNTS.items():
        assert sum(number for (where, _), number in seen.items() if where == split) == count
        assert all(seen[split, label] for label in range(len(NAMES)))
    for _, pixels, _ in rows:
        levels = [int(level) for level in pixels.split(" ")]
        assert len(levels) == 48 * 48
        assert 0 <= min(levels) <= max(levels) <= 255


def test_the_csv_is_read_as_any_copy_of_fer2013_is(run):
    faces = layouts.read(run[0] / "data/sample/fer2013.csv")
    assert faces.images.shape == (280, 48, 48)
    assert Counter(USAGES[usage] for usage in faces.usages) == COUNTS


def test_beside_the_csv_lies_a_sheet_with_seven_rows_to_look_at(run):
    assert list(_bytes(run[0])) == ["contact_sheet.png", "fer2013.csv"]
    sheet = cv2.imread(str(run[0] / "data/sample/contact_sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape[0] > 7 * 48
    assert sheet.shape[1] > 10 * 48


def test_one_line_says_what_was_generated(run):
    assert run[1] == "generated 280 faces from seed 2013: train 140, validation 70, test 70\n"


def test_a_second_run_writes_the_same_bytes_and_another_seed_writes_others(run, tmp_path):
    place, _ = run
    before = _bytes(place)
    _generate(place)
    assert _bytes(place) == before
    other = _place(tmp_path, seed=7)
    _generate(other)
    assert _bytes(other)["fer2013.csv"] != before["fer2013.csv"]
    assert _bytes(other)["contact_sheet.png"] != before["contact_sheet.png"]
