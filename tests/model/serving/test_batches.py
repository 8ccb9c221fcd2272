import numpy as np

from ferops.model.serving.batches import BATCH, in_batches


def test_the_answers_are_those_to_all_faces_at_once_in_their_order() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2 * BATCH + 3, 48, 48), dtype=np.uint8)
    sizes = []

    def answer(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch[:, 0, :7].astype(np.float32)

    assert np.array_equal(in_batches(answer, faces), faces[:, 0, :7])
    assert sizes == [BATCH, BATCH, 3]
