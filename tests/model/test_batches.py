import numpy as np

from ferops.model import batches

FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), dtype=np.uint8)
LABELS = np.arange(40) % 7


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    order = np.random.default_rng([0, 1]).permutation(40)
    some = batches.Batches(
        FACES, LABELS, 8, lambda faces: faces, order=order, change=lambda faces, targets, _: (faces, targets)
    )
    seen = np.concatenate([some[index][0] for index in range(len(some))])
    np.testing.assert_array_equal(seen, FACES[order])
    assert not np.array_equal(order, np.random.default_rng([0, 2]).permutation(40))


def test_a_network_gets_its_inputs_of_the_faces_as_they_were_changed() -> None:
    some = batches.Batches(
        FACES, LABELS, 8, lambda faces: {"means": faces.mean(axis=(1, 2))},
        order=np.arange(40), change=lambda faces, targets, _batch: (255 - faces, targets),
    )  # fmt: skip
    inputs, targets = some[0]
    np.testing.assert_allclose(inputs["means"], 255 - FACES[:8].mean(axis=(1, 2)))
    np.testing.assert_array_equal(targets.argmax(axis=1), LABELS[:8])


def test_smoothed_targets_still_sum_to_one_and_name_their_class() -> None:
    targets = batches.smooth(np.eye(7, dtype=np.float32), 0.1)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(targets.max(axis=1), 0.9 + 0.1 / 7, rtol=1e-6)
    assert targets.dtype == np.float32


def test_mixup_mixes_images_and_targets_by_the_same_share() -> None:
    values = np.array([0, 200] * 4, np.uint8)
    faces = np.broadcast_to(values[:, None, None], (8, 48, 48)).copy()
    targets = np.eye(7, dtype=np.float32)[np.array([0, 1] * 4)]
    mixed, soft = batches.mixup(faces, targets, np.random.default_rng(3))
    np.testing.assert_allclose(mixed[:, 0, 0], np.rint(200 * soft[:, 1]), atol=1)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    assert len(np.unique(mixed)) > 2
