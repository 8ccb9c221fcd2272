"""The pictures that a person looks at: the contact sheet and the class distribution."""

import cv2
import numpy as np
import pytest

from ferops.data import pictures
from ferops.labels import OFFICIAL_COUNTS

BEFORE = np.array(OFFICIAL_COUNTS["train"])
AFTER = np.maximum(BEFORE, 3190)
GRAYS = np.array([40, 60, 80, 100, 130, 150, 170], np.uint8)
"""The gray level of each class's images here, all apart."""
NAMES_END = 96
"""Where the first image of a row begins, in pixels of the sheet."""


def _plain(labels: np.ndarray) -> np.ndarray:
    """Images of one gray level each, that of their class."""
    return np.broadcast_to(GRAYS[labels][:, None, None], (len(labels), 48, 48)).copy()


def _rows(sheet: np.ndarray) -> list[int]:
    """The gray level of the last image of every row on a sheet of plain images, from top to bottom."""
    inside = sheet[:, -48]
    starts = np.flatnonzero((inside != 255) & (np.roll(inside, 1) == 255))
    return inside[starts].tolist()


def test_the_sheet_has_one_row_for_each_class_in_code_order():
    labels = np.arange(140)[::-1] % 7
    sheet = pictures.contact_sheet(_plain(labels), labels)
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 2
    assert _rows(sheet) == GRAYS.tolist()


def test_a_class_without_images_has_no_row():
    labels = np.repeat([6, 1, 4], 10)
    sheet = pictures.contact_sheet(_plain(labels), labels)
    assert _rows(sheet) == GRAYS[[1, 4, 6]].tolist()


@pytest.mark.parametrize(("images", "shown"), [(4, 4), (10, 10), (12, 10)])
def test_a_row_shows_at_most_ten_images_at_twice_their_size(images, shown):
    labels = np.repeat(np.arange(7), images)
    sheet = pictures.contact_sheet(_plain(labels), labels)
    for gray in GRAYS:
        row = sheet[(sheet == gray).sum(axis=1) >= shown * 96]
        assert len(row) == 96
        assert ((row[0] == gray) & (np.roll(row[0], 1) != gray)).sum() == shown


def test_every_class_has_its_name_at_the_left():
    labels = np.repeat(np.arange(7), 10)
    names = pictures.contact_sheet(_plain(labels), labels)[:, :NAMES_END]
    bands = np.array_split(names, 7)
    assert all((band < 100).any() for band in bands)
    assert len({band.tobytes() for band in bands}) == 7


def test_a_class_with_few_images_leaves_the_rest_of_its_row_empty_and_shows_none_twice():
    images = np.stack([np.full((48, 48), gray, np.uint8) for gray in (50, 90, 130)])
    sheet = pictures.contact_sheet(images, np.zeros(3, np.int64))
    line = sheet[len(sheet) // 2, NAMES_END:]
    assert [(line == gray).sum() for gray in (50, 90, 130)] == [96, 96, 96]
    assert (line[-96 * 6 :] == 255).all()


def test_the_sheet_of_the_same_images_is_always_the_same(faces):
    sheet = pictures.contact_sheet(faces.images, faces.labels)
    assert np.array_equal(sheet, pictures.contact_sheet(faces.images, faces.labels))
    other = pictures.contact_sheet(faces.images[::-1], faces.labels[::-1])
    assert other.shape == sheet.shape
    assert not np.array_equal(other, sheet)


def test_the_examples_are_chosen_from_the_whole_class():
    images = np.repeat(np.arange(200, dtype=np.uint8), 48 * 48).reshape(200, 48, 48)
    sheet = pictures.contact_sheet(images, np.zeros(200, np.int64))
    shown = sheet[len(sheet) // 2, NAMES_END::100]
    assert shown.min() < 60
    assert shown.max() > 140


def test_no_images_make_a_sheet_that_can_be_written(tmp_path):
    sheet = pictures.contact_sheet(np.zeros((0, 48, 48), np.uint8), np.zeros(0, np.int64))
    pictures.save_png(tmp_path / "sheet.png", sheet)
    assert cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE).min() < 200


def test_the_sheet_of_mistakes_has_the_most_confident_ones_in_order() -> None:
    labels = np.arange(100) % 6
    probabilities = np.eye(7)[np.where(np.arange(100) < 60, 6, labels)] * np.linspace(0.5, 0.9, 100)[:, None]
    images = np.repeat(np.arange(100, 200, dtype=np.uint8), 48 * 48).reshape(100, 48, 48)
    sheet = pictures.mistakes_sheet(images, labels, probabilities)
    shown = [sheet[80 + 140 * row, 48 + 130 * column, 0] for row in range(5) for column in range(7)]
    assert shown == list(range(159, 124, -1)), "the 60 first are wrong, and the later the more certain"


def test_examples_are_right_answers_of_every_class_from_its_more_confident_half() -> None:
    labels = np.repeat(np.arange(7), 20)
    probabilities = np.eye(7)[labels] * np.tile(np.linspace(0.4, 0.9, 20), 7)[:, None]
    probabilities[labels == 2] = np.eye(7)[5]
    probabilities[21:40, 0] = 1
    chosen = pictures.examples(labels, probabilities)
    assert np.bincount(labels[chosen], minlength=7).tolist() == [4, 1, 0, 4, 4, 4, 4]
    assert (chosen[labels[chosen] != 1] % 20 >= 10).all()
    assert len(pictures.examples(labels[:0], probabilities[:0])) == 0


def test_a_map_colours_what_is_hot_and_leaves_the_rest_of_the_face_as_it_is() -> None:
    heat = np.zeros((48, 48), np.float32)
    heat[:24] = 1.2
    shown = pictures.overlay(np.full((48, 48, 3), 100, np.uint8), heat)
    assert (shown[24:] == 100).all()
    red, green, blue = shown[0, 0].astype(int)
    assert min(red, green) > 150
    assert blue < red


def test_explained_faces_stand_in_a_row_for_each_class_beside_their_maps() -> None:
    labels = np.repeat([2, 4], 3)
    maps = np.zeros((6, 12, 12), np.float32)
    maps[4] = 1
    sheet = pictures.explanations_sheet(_plain(labels), labels, maps)
    rows = sheet[32 + 48 :: 100]
    assert rows[:, 88 + 48 : 88 + 3 * 204 : 204, 0].tolist() == [[GRAYS[2]] * 3, [GRAYS[4]] * 3]
    beside = rows[:, 88 + 144 : 88 + 3 * 204 : 204]
    is_hot = (beside.max(axis=2).astype(int) - beside.min(axis=2)) > 50
    assert is_hot.tolist() == [[False] * 3, [False, True, False]]


def test_a_png_is_written_with_its_folders_and_reads_back_the_same(tmp_path, faces):
    sheet = pictures.contact_sheet(faces.images, faces.labels)
    path = tmp_path / "reports/augment/sheet.png"
    pictures.save_png(path, sheet)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), sheet)


def test_the_class_distribution_is_a_png_that_shows_the_counts(tmp_path):
    plots = {}
    for name, after in (("raised", AFTER), ("same", BEFORE)):
        path = tmp_path / f"plots/{name}.png"
        pictures.plot_class_distribution(path, BEFORE, after)
        assert path.read_bytes().startswith(b"\x89PNG")
        plots[name] = cv2.imread(str(path)).astype(int)
    height, width, _ = plots["raised"].shape
    assert (height, width) == (528, 1100)
    blue, orange = (
        {name: int((np.abs(picture - colour).max(axis=2) < 8).sum()) for name, picture in plots.items()}
        for colour in ((0xA8, 0x63, 0x25), (0x0D, 0x73, 0xD9))
    )
    assert orange["same"] == pytest.approx(blue["same"], rel=0.03)
    assert orange["raised"] / blue["raised"] == pytest.approx(AFTER.sum() / BEFORE.sum(), rel=0.03)


def test_seven_empty_classes_can_be_plotted(tmp_path):
    pictures.plot_class_distribution(tmp_path / "none.png", np.zeros(7, int), np.zeros(7, int))
    assert (tmp_path / "none.png").stat().st_size > 1000
