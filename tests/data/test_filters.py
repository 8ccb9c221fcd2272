"""The median filter is OpenCV's, to the bit."""

import cv2
import numpy as np
import pytest

from ferops.data.preprocessing.filters import median
from ferops.data.readers import layouts


def _drawn(count: int) -> np.ndarray:
    """Lines and discs on a ramp: edges, flat parts and strong borders."""
    generator = np.random.default_rng(1)
    images = np.empty((count, 48, 48), np.uint8)
    for image in images:
        image[...] = np.linspace(0, 255, 48, dtype=np.uint8)
        for _ in range(6):
            x, y, u, v, gray = (int(value) for value in generator.integers(0, 255, 5))
            cv2.line(image, (x % 48, y % 48), (u % 48, v % 48), gray, 1 + gray % 3)
            cv2.circle(image, (u % 48, y % 48), 1 + v % 9, 255 - gray, -1)
    return images


@pytest.fixture(params=["noise", "drawn", "extremes"])
def images(request) -> np.ndarray:
    """Three kinds of images."""
    generator = np.random.default_rng(0)
    if request.param == "noise":
        return generator.integers(0, 256, (150, 48, 48), np.uint8)
    if request.param == "drawn":
        return _drawn(150)
    return generator.choice(np.array([0, 255], np.uint8), (150, 48, 48))


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_every_image_is_as_opencv_filters_it(images, kernel):
    before = images.copy()
    expected = np.stack([cv2.medianBlur(image, kernel) for image in images])
    filtered = median(images, kernel)
    assert filtered.dtype == np.uint8
    assert np.array_equal(filtered, expected)
    assert np.array_equal(images, before)


def test_mirrored_and_transposed_images_are_filtered_as_any(images):
    for seen in (images[:, :, ::-1], images.transpose(0, 2, 1)):
        assert np.array_equal(median(seen, 3), median(seen.copy(), 3))


def test_a_kernel_of_one_leaves_the_images_as_they_are(images):
    assert np.array_equal(median(images, 1), images)


def test_no_image_is_no_image():
    assert median(np.empty((0, 48, 48), np.uint8), 3).shape == (0, 48, 48)


def test_real_faces_are_as_opencv_filters_them(real_csv):
    faces = layouts.read(real_csv).images[:300]
    assert np.array_equal(median(faces, 3), np.stack([cv2.medianBlur(image, 3) for image in faces]))
