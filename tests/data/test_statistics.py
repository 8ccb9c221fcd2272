import cv2
import numpy as np
import pytest

from ferops.data.statistics import STATISTICS, measure
from ferops.data.synthetic.portraits import render_face


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.stack([render_face(number % 7, np.random.default_rng(number)) for number in range(28)])


def test_there_is_a_row_an_image_and_a_column_a_statistic(faces: np.ndarray) -> None:
    table = measure(faces)
    assert list(table) == list(STATISTICS)
    assert len(table) == 28
    assert measure(faces[:0]).shape == (0, len(STATISTICS))


def test_mean_and_standard_deviation_are_those_of_the_pixels(faces: np.ndarray) -> None:
    table = measure(faces)
    assert np.allclose(table["mean"], faces.mean(axis=(1, 2)))
    assert np.allclose(table["std"], faces.std(axis=(1, 2)))


def test_sharpness_is_that_of_opencv_without_the_border(faces: np.ndarray) -> None:
    theirs = [cv2.Laplacian(face, cv2.CV_64F)[1:-1, 1:-1].std() for face in faces]
    assert np.allclose(measure(faces)["sharpness"], theirs)


def test_a_blurred_face_is_less_sharp_and_a_noisy_one_more(faces: np.ndarray) -> None:
    blurred = np.stack([cv2.GaussianBlur(face, (0, 0), 1.0) for face in faces])
    noise = np.random.default_rng(0).normal(0, 15, faces.shape)
    noisy = np.clip(faces + noise, 0, 255).astype(np.uint8)
    sharpness = measure(faces)["sharpness"]
    assert (measure(blurred)["sharpness"] < 0.7 * sharpness).all()
    assert (measure(noisy)["sharpness"] > sharpness).all()


def test_every_equalised_face_is_more_even_than_any_face(faces: np.ndarray) -> None:
    equalised = np.stack([cv2.equalizeHist(face) for face in faces])
    assert measure(equalised)["unevenness"].max() < measure(faces)["unevenness"].min() / 2


def test_unevenness_is_0_for_a_ramp_and_64_for_one_grey() -> None:
    ramp = np.arange(48 * 48).reshape(1, 48, 48) * 256 // (48 * 48)
    grey = np.full((1, 48, 48), 127)
    assert measure(ramp.astype(np.uint8))["unevenness"].item() == pytest.approx(0, abs=0.5)
    assert measure(grey.astype(np.uint8))["unevenness"].item() == pytest.approx(64, abs=0.1)


def test_an_image_does_not_depend_on_its_neighbours(faces: np.ndarray) -> None:
    many = np.concatenate([faces] * 40)  # more than a chunk
    alone = np.concatenate([measure(face[np.newaxis]).to_numpy() for face in faces])
    assert np.array_equal(measure(many).to_numpy(), np.tile(alone, (40, 1)))
