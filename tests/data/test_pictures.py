"""The pictures that a person looks at: the contact sheet and the class distribution."""

import cv2
import numpy as np
import pytest

from ferops.data import pictures
from ferops.labels import OFFICIAL_COUNTS

BEFORE = np.array(OFFICIAL_COUNTS["train"])
AFTER = np.maximum(BEFORE, 3190)
GREYS = np.array([40, 60, 80, 100, 130, 150, 170], np.uint8)
"""The grey of each class's images here, all apart."""


def _plain(labels: np.ndarray) -> np.ndarray:
    """Images of one grey each, that of their class."""
    return np.broadcast_to(GREYS[labels][:, None, None], (len(labels), 48, 48)).copy()


def _rows(sheet: np.ndarray, scale: int) -> list[int]:
    """The grey of the first image of every row on a sheet of plain images, from top to bottom."""
    inside = sheet[:, -24 * scale]
    starts = np.flatnonzero((inside != 255) & (np.roll(inside, 1) == 255))
    return inside[starts].tolist()


def test_the_sheet_has_one_row_for_each_class_in_code_order():
    labels = np.arange(140)[::-1] % 7
    sheet = pictures.contact_sheet(_plain(labels), labels)
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 2
    assert _rows(sheet, 2) == GREYS.tolist()


def test_a_class_without_images_has_no_row():
    labels = np.repeat([6, 1, 4], 10)
    sheet = pictures.contact_sheet(_plain(labels), labels)
    assert _rows(sheet, 2) == GREYS[[1, 4, 6]].tolist()


@pytest.mark.parametrize(("columns", "scale"), [(10, 2), (4, 1), (3, 3)])
def test_a_row_shows_as_many_images_as_asked_for_at_the_scale_asked_for(columns, scale):
    labels = np.repeat(np.arange(7), 12)
    sheet = pictures.contact_sheet(_plain(labels), labels, columns=columns, scale=scale)
    for grey in GREYS:
        row = sheet[(sheet == grey).sum(axis=1) >= columns * 48 * scale]
        assert len(row) == 48 * scale
        assert ((row[0] == grey) & (np.roll(row[0], 1) != grey)).sum() == columns


def test_every_class_has_its_name_at_the_left():
    labels = np.repeat(np.arange(7), 10)
    names = pictures.contact_sheet(_plain(labels), labels)[:, : 44 * 2]
    bands = np.array_split(names, 7)
    assert all((band < 100).any() for band in bands)
    assert len({band.tobytes() for band in bands}) == 7


def test_a_class_with_few_images_leaves_the_rest_of_its_row_empty_and_shows_none_twice():
    images = np.stack([np.full((48, 48), grey, np.uint8) for grey in (50, 90, 130)])
    sheet = pictures.contact_sheet(images, np.zeros(3, np.int64))
    line = sheet[len(sheet) // 2, 2 * (44 + 4) :]
    assert [(line == grey).sum() for grey in (50, 90, 130)] == [96, 96, 96]
    assert (line[-96 * 6 :] == 255).all()


def test_the_sheet_depends_on_the_seed_and_on_nothing_else(faces):
    sheet = pictures.contact_sheet(faces.images, faces.labels)
    assert np.array_equal(sheet, pictures.contact_sheet(faces.images, faces.labels))
    other = pictures.contact_sheet(faces.images, faces.labels, seed=1)
    assert other.shape == sheet.shape
    assert not np.array_equal(other, sheet)


def test_images_are_drawn_from_the_whole_class():
    images = np.repeat(np.arange(200, dtype=np.uint8), 48 * 48).reshape(200, 48, 48)
    sheet = pictures.contact_sheet(images, np.zeros(200, np.int64))
    shown = sheet[len(sheet) // 2, 2 * (44 + 4) :: 100]
    assert shown.min() < 60
    assert shown.max() > 140


def test_no_images_make_a_sheet_that_can_be_written(tmp_path):
    sheet = pictures.contact_sheet(np.zeros((0, 48, 48), np.uint8), np.zeros(0, np.int64))
    pictures.save_png(tmp_path / "sheet.png", sheet)
    assert cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE).min() < 200


def test_a_png_is_written_with_its_folders_and_reads_back_the_same(tmp_path, faces):
    sheet = pictures.contact_sheet(faces.images, faces.labels)
    path = tmp_path / "reports/augment/sheet.png"
    pictures.save_png(path, sheet)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), sheet)


@pytest.mark.parametrize("name", ["folder.png", "file/sheet.png", "sheet.nothing"])
def test_a_path_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(pictures.PictureNotWritten, match=name) as caught:
        pictures.save_png(tmp_path / name, np.zeros((48, 48), np.uint8))
    assert "\n" not in str(caught.value)


def test_the_class_distribution_is_a_png_that_shows_the_counts(tmp_path):
    drawn = {}
    for name, after in (("raised", AFTER), ("same", BEFORE)):
        path = tmp_path / f"plots/{name}.png"
        pictures.plot_class_distribution(path, BEFORE, after)
        assert path.read_bytes().startswith(b"\x89PNG")
        drawn[name] = cv2.imread(str(path)).astype(int)
    height, width, _ = drawn["raised"].shape
    assert (height, width) == (528, 1100)
    blue, orange = (
        {name: int((np.abs(picture - colour).max(axis=2) < 8).sum()) for name, picture in drawn.items()}
        for colour in ((0xA8, 0x63, 0x25), (0x0D, 0x73, 0xD9))
    )
    assert orange["same"] == pytest.approx(blue["same"], rel=0.03)
    assert orange["raised"] / blue["raised"] == pytest.approx(AFTER.sum() / BEFORE.sum(), rel=0.03)


def test_seven_empty_classes_can_be_plotted(tmp_path):
    pictures.plot_class_distribution(tmp_path / "none.png", np.zeros(7, int), np.zeros(7, int))
    assert (tmp_path / "none.png").stat().st_size > 1000
