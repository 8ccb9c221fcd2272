import functools

import cv2
import keras
import numpy as np
import pytest
from support import ROOT

from ferops import params
from ferops.data.preprocessing import filters
from ferops.model import calibration
from ferops.model.networks import building_blocks, systems, vgg16_transfer
from ferops.model.serving import graph as serving


@functools.cache
def build(frozen_blocks: int = 3, scaling: str = "caffe") -> keras.Model:
    settings = params.load(ROOT / "params.yaml").model
    return vgg16_transfer.build(settings.model_copy(update={"frozen_blocks": frozen_blocks, "scaling": scaling}))


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)


def test_three_frozen_blocks_give_the_papers_three_counts() -> None:
    assert tuple(systems.counts(build(3)).values()) == (14_883_399, 13_146_119, 1_737_280)


@pytest.mark.parametrize(
    ("frozen", "fixed"), [(0, 0), (1, 38_720), (2, 260_160), (3, 1_735_488), (4, 7_635_264), (5, 14_714_688)]
)
def test_each_frozen_block_takes_its_convolutions_out_of_training(frozen: int, fixed: int) -> None:
    assert systems.counts(build(frozen))["non_trainable"] == fixed + 1_792


def test_outputs_are_seven_probabilities(faces: np.ndarray) -> None:
    probabilities = np.asarray(build()(faces))
    assert probabilities.shape == (6, 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("scaling", "low", "high"), [("unit", 0, 1), ("caffe", -123.68, 255 - 103.939)])
def test_scaling_is_in_the_graph(faces: np.ndarray, scaling: str, low: float, high: float) -> None:
    scaled = np.asarray(building_blocks.scale(faces, scaling))
    assert scaled.shape == (6, 48, 48, 3)
    assert low <= scaled.min() < scaled.max() <= high


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_the_median_in_the_graph_is_opencvs_to_the_bit(faces: np.ndarray, kernel: int) -> None:
    expected = np.stack([cv2.medianBlur(face, kernel) for face in faces]) if kernel > 1 else faces
    np.testing.assert_array_equal(np.asarray(serving.median(keras.ops.convert_to_tensor(faces), kernel)), expected)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.5])
def test_the_served_model_on_raw_faces_is_the_calibrated_core_on_filtered_ones(
    faces: np.ndarray, temperature: float, tmp_path
) -> None:
    core = build()
    core.save(tmp_path / "core.keras")
    serving.load_raw_model(tmp_path / "core.keras", 3, temperature).save(tmp_path / "served.keras")
    served = keras.models.load_model(tmp_path / "served.keras", safe_mode=True)
    expected = calibration.calibrate(np.asarray(core(filters.median(faces, 3))), temperature)
    np.testing.assert_allclose(np.asarray(served(faces)), expected, rtol=1e-5, atol=1e-6)
