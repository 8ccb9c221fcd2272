import cv2
import keras
import numpy as np
import pytest
from model.faces import fourteen_faces

from ferops.model.networks import descriptors


def network_of(*names: str) -> keras.Model:
    shapes = {"faces": ((48, 48), "uint8"), "hog": ((descriptors.HOG_LENGTH,), "float32")}
    shapes["orb"] = ((descriptors.ORB_LENGTH,), "float32")
    asked = {
        name: keras.Input(shape, dtype=dtype, name=name) for name, (shape, dtype) in shapes.items() if name in names
    }
    flat = [keras.layers.Flatten()(keras.ops.cast(tensor, "float32")) for tensor in asked.values()]
    return keras.Model(asked, keras.layers.Dense(7)(flat[0]))


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return fourteen_faces()[0][:5]


def test_hog_is_opencvs_of_each_face(faces: np.ndarray) -> None:
    descriptor = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)
    described = descriptors.hog(faces)
    assert described.shape == (5, 900)
    assert described.dtype == np.float32
    for face, row in zip(faces, described, strict=True):
        np.testing.assert_array_equal(row, descriptor.compute(face).ravel())


def test_no_block_of_hog_is_longer_than_one(faces: np.ndarray) -> None:
    blocks = descriptors.hog(faces).reshape(-1, 36)
    assert 0.5 < np.linalg.norm(blocks, axis=1).max() <= 1 + 1e-5


def test_orb_gives_every_face_the_same_number_of_bits(faces: np.ndarray) -> None:
    described = descriptors.orb(faces)
    assert described.shape == (5, 4096)
    assert described.dtype == np.float32
    assert set(np.unique(described)) == {0, 1}


def test_orb_of_a_face_is_always_the_same_whoever_is_beside_it(faces: np.ndarray) -> None:
    np.testing.assert_array_equal(descriptors.orb(faces), descriptors.orb(faces[::-1])[::-1])


def test_orb_tells_faces_apart(faces: np.ndarray) -> None:
    assert len(np.unique(descriptors.orb(faces), axis=0)) == 5


def test_every_region_has_a_descriptor_of_its_own(faces: np.ndarray) -> None:
    assert len(np.unique(descriptors.orb(faces[:1]).reshape(16, 256), axis=0)) == 16


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_faces_are_described_too(level: int) -> None:
    blank = np.full((2, 48, 48), level, dtype=np.uint8)
    assert np.isfinite(descriptors.hog(blank)).all()
    assert np.isfinite(descriptors.orb(blank)).all()


@pytest.mark.parametrize("describe", [descriptors.hog, descriptors.orb])
def test_no_faces_have_no_descriptors(describe) -> None:
    assert describe(np.empty((0, 48, 48), dtype=np.uint8)).shape[0] == 0


def test_a_network_on_faces_takes_the_faces_themselves(faces: np.ndarray) -> None:
    assert descriptors.inputs(network_of("faces"), faces) is faces


@pytest.mark.parametrize("names", [("hog",), ("orb",), ("faces", "orb"), ("faces", "hog", "orb")])
def test_a_network_gets_what_it_asks_for_by_name(names: tuple[str, ...], faces: np.ndarray) -> None:
    taken = descriptors.inputs(network_of(*names), faces)
    assert set(taken) == set(names)
    assert {len(array) for array in taken.values()} == {5}


def test_only_a_network_on_raw_faces_is_served() -> None:
    assert descriptors.is_served(network_of("faces"))
    assert not descriptors.is_served(network_of("hog"))
    assert not descriptors.is_served(network_of("faces", "orb"))
