"""The synthetic sample: the same bytes every time, FER2013's shares and flaws, and expressions that can be learned."""

import os
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ferops.data.synthetic.expressions import ACTION_UNITS, sample_face
from ferops.data.synthetic.generator import SyntheticSample, generate_sample, write_csv
from ferops.data.synthetic.portraits import render_face
from ferops.labels import NAMES, OFFICIAL_COUNTS, SPLITS

SMALL = {"train": 70, "validation": 70, "test": 70}
MIDDLE = {"train": 600, "validation": 100, "test": 200}
DIGEST = "6569062c1a36a2482fc5a91382bc856a14852207bae4d4e95d23316ca8c88c13"
"""sha256 of the pixels of the small sample from seed 2013. It changes where the rendering is changed on purpose."""


@pytest.fixture(scope="module")
def small() -> SyntheticSample:
    return generate_sample(seed=2013, counts=SMALL)


@pytest.fixture(scope="module")
def middle() -> SyntheticSample:
    return generate_sample(seed=2013, counts=MIDDLE)


def _counts(sample: SyntheticSample, split: str) -> NDArray[np.int64]:
    return np.bincount(sample.labels[sample.splits == split], minlength=len(NAMES))


def _keys(images: NDArray[np.uint8]) -> list[bytes]:
    return [image.tobytes() for image in images]


def test_a_seed_gives_the_same_bytes_on_any_machine(small):
    assert sha256(small.images.tobytes()).hexdigest() == DIGEST


def test_the_bytes_do_not_depend_on_threads_on_the_processor_or_on_what_was_rendered_before():
    code = (
        "import cv2; from hashlib import sha256; from ferops.data.synthetic.generator import generate_sample\n"
        "cv2.setNumThreads(1); cv2.setUseOptimized(False)\n"
        f"print(sha256(generate_sample(seed=2013, counts={SMALL}).images.tobytes()).hexdigest())"
    )
    vector_instructions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(vector_instructions), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain)
    assert done.stdout.strip() == DIGEST


def test_a_face_depends_on_its_label_and_generator_alone():
    faces = [render_face(3, np.random.default_rng(8)) for _ in range(2)]
    assert np.array_equal(*faces)
    assert faces[0].shape == (48, 48)
    assert faces[0].dtype == np.uint8
    assert not np.array_equal(faces[0], render_face(4, np.random.default_rng(8)))


def test_another_seed_gives_other_faces_with_the_same_shares(small):
    other = generate_sample(seed=2014, counts=SMALL)
    assert not set(_keys(other.images[other.images.any(axis=(1, 2))])) & set(_keys(small.images))
    assert all((_counts(other, split) == _counts(small, split)).all() for split in SPLITS)


def test_the_sample_is_ordered_by_split_and_shuffled_within(small):
    assert small.images.shape == (210, 48, 48)
    assert small.images.dtype == np.uint8
    assert small.labels.dtype == np.int64
    assert small.splits.tolist() == ["train"] * 70 + ["validation"] * 70 + ["test"] * 70
    for split in SPLITS:
        assert (np.diff(small.labels[small.splits == split]) < 0).sum() > 10


def test_class_shares_are_those_of_fer2013(middle):
    for split, count in MIDDLE.items():
        exact = np.array(OFFICIAL_COUNTS[split]) / sum(OFFICIAL_COUNTS[split]) * count
        assert _counts(middle, split).sum() == count
        assert np.abs(_counts(middle, split) - exact).max() <= 1
    happy = _counts(middle, "test")[NAMES.index("happy")]
    assert happy / MIDDLE["test"] < 0.30


@pytest.mark.parametrize("counts", [SMALL, {"train": 14, "validation": 14, "test": 15}], ids=["seventy", "fourteen"])
def test_every_class_is_in_every_split_at_least_twice_however_small(counts: Mapping[str, int]):
    sample = generate_sample(seed=1, counts=counts)
    for split, count in counts.items():
        assert _counts(sample, split).min() >= 2
        assert _counts(sample, split).sum() == count


def test_a_split_too_small_for_that_is_refused():
    with pytest.raises(ValueError, match="validation: 13 images"):
        generate_sample(seed=1, counts={"train": 14, "validation": 13, "test": 14})


def test_two_training_images_are_blank_and_one_in_a_hundred_duplicates_a_training_image_of_its_class(middle):
    blank = ~middle.images.any(axis=(1, 2))
    assert middle.splits[blank].tolist() == ["train", "train"]
    first: dict[bytes, int] = {}
    duplicates = dict.fromkeys(SPLITS, 0)
    for row in np.flatnonzero(~blank):
        origin = first.setdefault(middle.images[row].tobytes(), row)
        if origin != row:
            duplicates[str(middle.splits[row])] += 1
            assert middle.splits[origin] == "train"
            assert middle.labels[origin] == middle.labels[row]
    assert duplicates == {"train": 6, "validation": 1, "test": 2}


def test_faces_that_are_not_copies_differ_clearly(small):
    seen = np.unique(small.images[small.images.any(axis=(1, 2))], axis=0).reshape(-1, 48 * 48).astype(np.float64)
    squares = (seen**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * seen @ seen.T, 0) / 48**2)
    assert (distance + 1e6 * np.eye(len(seen))).min() > 10


def test_pixels_have_the_level_and_spread_of_photographs(middle):
    seen = middle.images[middle.images.any(axis=(1, 2))]
    assert 110 < seen.mean() < 145
    assert np.percentile(seen.std(axis=(1, 2)), 1) > 15
    assert (seen == 255).mean() < 0.05


def test_the_csv_has_the_layout_of_fer2013_line_by_line(small, tmp_path):
    write_csv(tmp_path / "new" / "fer2013.csv", small)
    data = (tmp_path / "new" / "fer2013.csv").read_bytes()
    header, *rows, end = data.split(b"\n")
    assert (header, end) == (b"emotion,pixels,Usage", b"")
    assert len(rows) == 210
    usages = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    for row, image, label, split in zip(rows, small.images, small.labels, small.splits, strict=True):
        emotion, pixels, usage = row.decode("ascii").split(",")
        assert [int(level) for level in pixels.split(" ")] == image.ravel().tolist()
        assert (int(emotion), usage) == (label, usages[split])


def test_the_mean_faces_of_the_expressions_differ_and_surprise_has_the_darkest_mouth():
    mean = {
        name: np.mean([render_face(code, np.random.default_rng([5, code, k])) for k in range(30)], axis=0)
        for code, name in enumerate(NAMES)
    }
    mouth = {name: face[32:42, 20:28].mean() for name, face in mean.items()}
    assert min(mouth, key=mouth.__getitem__) == "surprise"
    for a, name in enumerate(NAMES):
        for other in NAMES[a + 1 :]:
            assert np.abs(mean[name] - mean[other]).max() > 8


def _landmark(name: str, label: str) -> NDArray[np.float64]:
    """Mean place of a landmark on the right half of faces with an expression."""
    faces = [sample_face(NAMES.index(label), np.random.default_rng(k)) for k in range(40)]
    return np.mean([face.halves[1][name] for face in faces], axis=0)


@pytest.mark.parametrize(
    ("expression", "landmark", "axis", "sign"),
    [
        ("angry", "brow_inner", 1, 1),
        ("disgust", "nose_tip", 1, -1),
        ("fear", "mouth_corner", 0, 1),
        ("happy", "mouth_corner", 1, -1),
        ("sad", "mouth_corner", 1, 1),
        ("surprise", "jaw_chin", 1, 1),
    ],
)
def test_an_expression_moves_its_landmarks_away_from_neutral(expression, landmark, axis, sign):
    """Axis 0 is to the side, axis 1 downwards."""
    moved = _landmark(landmark, expression) - _landmark(landmark, "neutral")
    assert sign * moved[axis] > 0.02


def test_no_two_faces_with_an_expression_are_pulled_alike():
    pulls = np.array([list(sample_face(3, np.random.default_rng(k)).pulls.values()) for k in range(40)])
    smiles = pulls[:, list(ACTION_UNITS).index(12)]
    assert smiles.min() < 0.6
    assert smiles.max() > 1.0
    assert (pulls > 0).all()


def test_expressions_can_be_learned_but_not_from_single_pixels(middle):
    from sklearn.linear_model import RidgeClassifier

    hog = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)
    shapes = np.stack([hog.compute(image).ravel() for image in middle.images])
    pixels = middle.images.reshape(-1, 48 * 48) / 255.0
    train, test = middle.splits == "train", middle.splits == "test"

    def accuracy(features: NDArray[np.floating], alpha: float) -> float:
        model = RidgeClassifier(alpha).fit(features[train], middle.labels[train])
        return model.score(features[test], middle.labels[test])

    assert accuracy(shapes, 3.0) > 0.60
    assert accuracy(pixels, 100.0) < 0.50
