"""Faces are found where they are, and cut out as FER2013's are."""

import sys
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predict.pictures import portrait, temple, with_face

from ferops.errors import MissingPackage
from ferops.predict import blazeface, detectors
from ferops.predict.detection import cut
from ferops.predict.detectors import Detector, UnknownDetector


@pytest.fixture(scope="module")
def detector() -> Detector:
    return detectors.load("blazeface")


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def test_the_face_of_a_portrait_is_found(detector: Detector) -> None:
    (face,) = detector.find(portrait())
    assert np.abs(_centre(face.box) - [265, 235]).max() < 25
    assert 150 < face.box[2] - face.box[0] < 230
    assert 0.8 < face.score <= 1


def test_a_photograph_without_a_face_has_none(detector: Detector) -> None:
    assert detector.find(temple()) == []


@pytest.mark.parametrize("scale", [1.5, 1, 0.6, 0.4, 0.26])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (600, 350), (300, 280)])
def test_a_face_of_50_pixels_or_more_is_found_once_anywhere(
    scale: float, left: int, top: int, detector: Detector
) -> None:
    (face,) = detector.find(with_face(left, top, scale))
    expected = np.array([left + 158 * scale, top + 172 * scale])
    assert np.abs(_centre(face.box) - expected).max() < 40 * scale


def test_a_face_in_a_photograph_of_many_megapixels_is_found(detector: Detector) -> None:
    large = cv2.resize(with_face(700, 300, 0.5), (4800, 3600))
    face = detector.find(large)[0]
    assert np.abs(_centre(face.box) - 4 * np.array([779, 386])).max() < 80


@pytest.mark.parametrize("angle", [-30, -15, 15, 30])
def test_the_crop_turns_half_as_far_as_the_face(angle: float, detector: Detector) -> None:
    (face,) = detector.find(with_face(400, 300, 1, turned=angle))
    right, down = face.corners[1] - face.corners[0]
    assert np.degrees(np.arctan2(-down, right)) == pytest.approx(angle / 2, abs=5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (2000, 3), (48, 48)])
def test_a_picture_of_any_shape_is_searched(shape: tuple[int, int], detector: Detector) -> None:
    assert detector.find(np.full((*shape, 3), 90, np.uint8)) == []


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9000), st.integers(1, 9000))
def test_tiles_cover_the_picture_and_overlap_by_a_quarter(height: int, width: int) -> None:
    whole, *tiles = blazeface._tiles(height, width)
    assert whole == (0, 0, width, height)
    assert len(tiles) <= 36
    for low, high, length in ((0, 2, width), (1, 3, height)):
        spans = sorted({(tile[low], tile[high]) for tile in tiles})
        assert not spans or (spans[0][0], spans[-1][1]) == (0, length)
        side = max(640, -(-max(height, width) // 4))
        assert all(before[1] - after[0] >= 0.24 * side for before, after in pairwise(spans))


def _row(left: float, top: float, side: float, score: float) -> np.ndarray:
    points = [left, top, left + side, top + side, *[left + side / 2, top + side / 2] * 6]
    return np.array([*points, score], np.float32)


def test_boxes_of_one_face_become_one_weighted_by_score() -> None:
    rows = np.array([_row(0, 0, 100, 0.8), _row(10, 0, 100, 0.4), _row(300, 0, 100, 0.5)])
    first, second = blazeface._merged(rows)
    assert first[:4] == pytest.approx([10 / 3, 0, 100 + 10 / 3, 100])
    assert (first[-1], second[0]) == (pytest.approx(0.8), 300)


def test_a_part_of_a_face_is_left_out_and_a_face_beside_it_stays() -> None:
    rows = np.array([_row(0, 0, 100, 0.8), _row(30, 60, 30, 0.9), _row(80, 0, 90, 0.7)])
    assert blazeface._without_parts(rows)[:, 0].tolist() == [0, 80]


def test_a_crop_of_the_whole_of_a_face_is_the_face() -> None:
    face = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    (whole,) = detectors.load("none").find(np.stack([face] * 3, axis=-1))
    assert np.array_equal(cut(np.stack([face] * 3, axis=-1), whole.corners), face)


def test_a_crop_beyond_the_picture_repeats_its_border() -> None:
    gray = np.full((60, 60, 3), 200, np.uint8)
    corners = np.array([[-30, -30], [30, -30], [-30, 30]], np.float32)
    assert (cut(gray, corners) == 200).all()


def test_a_turned_crop_is_upright() -> None:
    shaded = np.repeat(np.linspace(0, 255, 480, dtype=np.uint8)[:, None], 480, axis=1)
    turned = cv2.warpAffine(shaded, cv2.getRotationMatrix2D((239.5, 239.5), -20, 1), (480, 480))
    angle = np.radians(20)
    across, below = 200 * np.array([np.cos(angle), np.sin(angle)]), 200 * np.array([-np.sin(angle), np.cos(angle)])
    middle = np.array([240, 240])
    corners = np.array(
        [middle - across / 2 - below / 2, middle + across / 2 - below / 2, middle - across / 2 + below / 2]
    )
    crop = cut(np.stack([turned] * 3, axis=-1), corners.astype(np.float32)).astype(int)
    assert np.abs(crop - crop[:, :1]).max() <= 3
    assert (np.diff(crop[:, 24]) >= 0).all()


def test_opencvs_cascade_finds_the_portrait_too() -> None:
    found = detectors.load("haar").find(portrait())
    assert np.abs(_centre(found[0].box) - [265, 235]).max() < 40


@pytest.fixture(scope="module")
def mtcnn() -> Detector:
    return detectors.load("mtcnn")


@pytest.mark.parametrize("angle", [-15, 0, 15])
def test_mtcnn_cuts_out_a_face_as_blazeface_does(angle: float, mtcnn: Detector, detector: Detector) -> None:
    picture = with_face(400, 300, 0.5, turned=angle)
    (ours,), (other,) = mtcnn.find(picture), detector.find(picture)
    assert np.abs(ours.corners - other.corners).max() < 20
    right, down = ours.corners[1] - ours.corners[0]
    assert np.degrees(np.arctan2(-down, right)) == pytest.approx(angle / 2, abs=5)
    assert 0.8 < ours.score <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (2000, 3), (21, 21), (48, 48)])
def test_mtcnn_searches_a_picture_of_any_shape(shape: tuple[int, int], mtcnn: Detector) -> None:
    assert mtcnn.find(np.full((*shape, 3), 90, np.uint8)) == []


def test_without_mtcnn_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mtcnn.stages", None)
    with pytest.raises(MissingPackage, match=r"^mtcnn is not installed: `pip install 'ferops\[mtcnn\]'`$"):
        detectors.load("mtcnn")


def test_an_unknown_detector_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownDetector, match="expected blazeface, mtcnn, haar, none"):
        detectors.load("yunet")
