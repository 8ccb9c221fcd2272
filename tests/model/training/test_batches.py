from functools import partial

import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.data import augmentation
from ferops.model.networks import descriptors
from ferops.model.training import batches, device

FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
LABELS = np.arange(40) % 7
PLAIN = params.load(ROOT / "params.yaml").train.model_copy(
    update={"seed": 0, "epochs": 4, "batch_size": 8, "label_smoothing": 0.0, "mixup": 0.0, "clean_epochs": 0}
)


def network(name: str) -> keras.Model:
    """A network with one input."""
    taken = keras.Input((3,), name=name)
    return keras.Model([taken], [keras.ops.copy(taken)])


def seen(epoch: int, **changes: object) -> np.ndarray:
    """Images of an epoch, in its order."""
    settings = PLAIN.model_copy(update=changes)
    some = batches.Batches(network("faces"), (FACES, LABELS), settings, epoch, batches.Transform())
    return np.concatenate([some[index][0] for index in range(len(some))])


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    np.testing.assert_array_equal(seen(1), FACES[np.random.default_rng([0, 1]).permutation(40)])
    np.testing.assert_array_equal(seen(2), FACES[np.random.default_rng([0, 2]).permutation(40)])
    assert not np.array_equal(seen(1), seen(2))


def test_the_last_epochs_are_clean() -> None:
    changes = {"mixup": 1.0, "brightness": 0.5, "erasing": 0.5, "clean_epochs": 1}
    assert not np.array_equal(seen(3, **changes), seen(3))
    np.testing.assert_array_equal(seen(4, **changes), seen(4))
    given = []

    def draw(_n: int, settings: params.Train, _rng: np.random.Generator) -> dict[str, np.ndarray]:
        given.append((settings.brightness, settings.erasing))
        return {}

    for epoch in (3, 4):
        settings = PLAIN.model_copy(update=changes)
        batches.Batches(network("faces"), (FACES, LABELS), settings, epoch, batches.Transform(draw))[0]
    assert given == [(0.5, 0.5), (0.0, 0.0)]


def test_the_first_epochs_are_on_shrunk_images() -> None:
    small, large = (seen(epoch, resize_epochs=1) for epoch in (1, 2))
    assert small.shape == (40, 32, 32)
    np.testing.assert_array_equal(large, seen(2))
    # an area of three pixels by three becomes one of two by two
    np.testing.assert_allclose(small.mean(axis=(1, 2)), seen(1).mean(axis=(1, 2)), atol=1)


def test_a_network_gets_its_inputs_of_the_faces_as_they_were_changed() -> None:
    some = batches.Batches(
        network("hog"), (FACES, LABELS), PLAIN, 1, batches.Transform(apply=lambda faces, _: 255 - faces)
    )
    rows = np.random.default_rng([0, 1]).permutation(40)[:8]
    inputs, targets = some[0]
    np.testing.assert_array_equal(inputs["hog"], descriptors.hog(255 - FACES[rows]))
    np.testing.assert_array_equal(targets.argmax(axis=1), LABELS[rows])


def test_smoothed_targets_still_sum_to_one_and_name_their_class() -> None:
    targets = batches.smooth(np.eye(7, dtype=np.float32), 0.1)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(targets.max(axis=1), 0.9 + 0.1 / 7, rtol=1e-6)
    assert targets.dtype == np.float32


def test_mixup_mixes_images_and_targets_by_the_same_share() -> None:
    values = np.array([0, 200] * 4, np.uint8)
    faces = np.broadcast_to(values[:, None, None], (8, 48, 48)).copy()
    labels, settings = np.array([0, 1] * 4), PLAIN.model_copy(update={"mixup": 1.0})
    mixed, soft = batches.Batches(network("faces"), (faces, labels), settings, 1, batches.Transform())[0]
    np.testing.assert_allclose(mixed[:, 0, 0], np.rint(200 * soft[:, 1]), atol=1)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    assert len(np.unique(mixed)) > 2


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({}, 0),
        ({"erasing": 0.7}, 0),
        ({"brightness": 0.3}, 1),
        ({"mixup": 1.0}, 1),
        ({"online_augmentation": True}, 9),  # OpenCV rounds to 1/32 of a pixel; of noise, whose neighbours differ most
        ({"online_augmentation": True, "brightness": 0.3, "erasing": 0.3, "mixup": 0.5}, 13),
    ],
)
def test_the_device_changes_images_as_the_host_does(changes: dict[str, object], bound: int) -> None:
    settings = PLAIN.model_copy(update={"online_augmentation": False, "brightness": 0.0, "erasing": 0.0, **changes})
    warp = params.load(ROOT / "params.yaml").augment.warp
    transform = batches.Transform(partial(augmentation.draw, warp), augmentation.apply, augmentation.apply_on_device)
    host = batches.Batches(network("faces"), (FACES, LABELS), settings, 1, transform)
    resident = device.Resident(FACES, transform, host)
    targets = resident.load(host)
    for index in range(len(host)):
        positions = np.arange(8 * index, 8 * index + 8, dtype=np.int32)
        expected, expected_targets = host[index]
        made = keras.ops.convert_to_numpy(resident(positions))
        assert np.abs(made.astype(int) - expected).max() <= bound
        np.testing.assert_array_equal(targets[positions], expected_targets)


def test_erased_rectangles_are_noise() -> None:
    boxes = np.array([[0, 48, 0, 48, which] for which in range(40)], np.int32)
    noise = augmentation.erase(FACES, boxes).astype(float) - 127.5
    assert np.abs(noise.mean()) < 1
    assert noise.std() == pytest.approx(256 / 12**0.5, rel=0.02)
    assert np.abs((noise[:, :, 1:] * noise[:, :, :-1]).mean()) < 0.02 * noise.var()
    assert len(np.unique(noise, axis=0)) == 40
