import numpy as np
import pytest

from ferops.data import augmentation
from ferops.data.views import SHIFT, views

FACES = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)


def test_the_first_view_is_the_image_and_the_second_its_mirror_image() -> None:
    for how, number in (("mirror", 2), ("crops", 10)):
        seen = list(views(FACES, how))
        assert len(seen) == number
        np.testing.assert_array_equal(seen[0], FACES)
        np.testing.assert_array_equal(seen[1], FACES[:, :, ::-1])
        assert {view.shape for view in seen} == {FACES.shape}


def test_crops_are_shifted_towards_the_four_corners_and_repeat_the_border() -> None:
    corners = list(views(FACES, "crops"))[2::2]
    inner = [
        (slice(None, -SHIFT), slice(None, -SHIFT), slice(SHIFT, None), slice(SHIFT, None)),
        (slice(None, -SHIFT), slice(SHIFT, None), slice(SHIFT, None), slice(None, -SHIFT)),
        (slice(SHIFT, None), slice(None, -SHIFT), slice(None, -SHIFT), slice(SHIFT, None)),
        (slice(SHIFT, None), slice(SHIFT, None), slice(None, -SHIFT), slice(None, -SHIFT)),
    ]
    for view, (rows, columns, view_rows, view_columns) in zip(corners, inner, strict=True):
        np.testing.assert_array_equal(view[:, view_rows, view_columns], FACES[:, rows, columns])
    np.testing.assert_array_equal(corners[0][:, 0], np.repeat(corners[0][:, SHIFT : SHIFT + 1], 1, axis=1)[:, 0])


def test_brightness_and_contrast_change_within_their_bounds() -> None:
    gray = np.full((200, 48, 48), 100, np.uint8)
    changed = augmentation.brighten(gray, *np.random.default_rng(0).uniform(-0.2, 0.2, (2, 200)).astype(np.float32))
    assert np.ptp(changed.reshape(200, -1), axis=1).max() == 0, "a flat image stays flat"
    assert 49 <= changed.min() < 60 < 140 < changed.max() <= 151
    np.testing.assert_array_equal(augmentation.brighten(FACES, *np.zeros((2, len(FACES)), np.float32)), FACES)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_as_many_images_lose_a_rectangle_as_were_asked_for(share: float) -> None:
    white = np.full((500, 48, 48), 255, np.uint8)
    erased = augmentation.erase(white, augmentation.draw_boxes(share, 500, np.random.default_rng(1)))
    lost = (erased != 255).reshape(500, -1).mean(axis=1)
    assert (lost > 0).mean() == pytest.approx(share, abs=0.06)
    assert lost.max() <= 0.4
    assert (white == 255).all(), "the images given are left as they are"
