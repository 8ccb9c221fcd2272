from pathlib import Path

import keras
import numpy as np
import pytest

from ferops.model.serving import exported, litert


@pytest.mark.parametrize("is_easy", [True, False])
def test_8_bit_integers_are_written_where_they_cost_no_accuracy(is_easy: bool, tmp_path: Path) -> None:
    """A network that tells apart means above and below 100.35, by a little or by much, among faces of any gray."""
    given = keras.Input((48, 48), dtype="uint8", name="faces")
    mean = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(given[..., None], "float32"))
    dense = keras.layers.Dense(7, activation="softmax")
    core = keras.Model(given, dense(mean))
    dense.set_weights([np.eye(1, 7, 1, dtype=np.float32) * 100, np.array([0, -10_035, *[-9000] * 5], np.float32)])
    labels = np.tile([0, 1], 10)
    brighter = np.where(labels, 0.4, 0.3) * 48 * 48  # pixels of gray 101 among those of 100
    hard = np.array([np.arange(48 * 48).reshape(48, 48) < number for number in brighter], np.uint8) + 100
    faces = np.where(labels, 220, 40).astype(np.uint8)[:, None, None] + np.zeros_like(hard) if is_easy else hard
    training = np.linspace(0, 255, 50).astype(np.uint8)[:, None, None] + np.zeros((1, 48, 48), np.uint8)

    def export(name: str, int8: np.ndarray | None) -> exported.Card:
        return exported.export(
            core, faces, labels, core.predict_on_batch(faces), tmp_path / name, temperature=1.0,
            report={"median_kernel": 1, "dataset": "sample"}, uncertain_below=0.5, int8=int8,
        )  # fmt: skip

    assert export("float.tflite", None).accuracy == 1
    if is_easy:
        assert export("small.tflite", training).accuracy == 1
        answers = litert.Network((tmp_path / "small.tflite").read_bytes()).run(faces)[0]
        assert answers.argmax(axis=1).tolist() == labels.tolist()
    else:
        with pytest.raises(exported.NotExported, match="8-bit integers.*accuracy 1.000 would be 0.500"):
            export("small.tflite", training)
