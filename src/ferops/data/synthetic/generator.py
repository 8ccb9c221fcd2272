"""The synthetic sample that stands in for FER2013: gray faces generated from a seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.data.synthetic.portraits import Image, render_face
from ferops.labels import OFFICIAL_COUNTS, SPLITS, USAGES

BLANKS: Final = 2
"""Training images that are all black."""

DUPLICATED: Final = 0.01
"""Share of every split that duplicates a training image exactly."""

LEAST: Final = 2
"""Images of every class in every split, at least."""


class SyntheticSample(NamedTuple):
    """A synthetic sample, ordered by split (train, validation, test), shuffled within each.

    Fields:
        images: uint8 (N, 48, 48), gray levels.
        labels: int64 (N,), codes 0-6 of `ferops.labels.NAMES`.
        splits: str (N,), names of `ferops.labels.SPLITS`.
    """

    images: Image
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]


def generate_sample(*, seed: int, counts: Mapping[str, int]) -> SyntheticSample:
    """Generate a sample with FER2013's class shares, and with some of its flaws.

    As in FER2013, some images are exact duplicates: one in a hundred of each split, and one at least, is a copy of a
    training image of the same class; and two training images are all black. Every face has a random generator of its
    own, seeded by (seed, split, index), so a face does not depend on the others.

    Args:
        seed: 0 or more.
        counts: images of each split, 14 or more.

    Raises:
        ValueError: a split is too small for two images of each class.
    """
    labels, images = [], []
    for k, split in enumerate(SPLITS):
        codes = np.random.default_rng([seed, k, 0]).permutation(_class_labels(split, counts[split]))
        faces = [render_face(int(code), np.random.default_rng([seed, k, 1 + row])) for row, code in enumerate(codes)]
        labels.append(codes)
        images.append(np.stack(faces))
    _plant_flaws(images, labels, np.random.default_rng([seed, len(SPLITS), 0]))
    splits = np.repeat(np.array(SPLITS), [len(codes) for codes in labels])
    return SyntheticSample(np.concatenate(images), np.concatenate(labels), splits)


def write_csv(path: Path, sample: SyntheticSample) -> None:
    """Write a sample in the layout of Kaggle's fer2013.csv: `emotion,pixels,Usage`."""
    usage = {split: name for name, split in USAGES.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii", newline="\n") as stream:
        stream.write("emotion,pixels,Usage\n")
        for image, label, split in zip(*sample, strict=True):
            stream.write(f"{label},{' '.join(map(str, image.ravel().tolist()))},{usage[str(split)]}\n")


def _class_labels(split: str, count: int) -> NDArray[np.int64]:
    """Return `count` sorted labels in the official shares of a split, and LEAST of each class."""
    official = np.array(OFFICIAL_COUNTS[split])
    if count < LEAST * len(official):
        raise ValueError(f"{split}: {count} images; {LEAST * len(official)} is the least for {LEAST} of each class")
    shares, remainders = np.divmod(official * count, official.sum())
    shares[np.argsort(-remainders, kind="stable")[: count - shares.sum()]] += 1
    while shares.min() < LEAST:
        shares[shares.argmin()] += 1
        shares[shares.argmax()] -= 1
    return np.repeat(np.arange(len(official), dtype=np.int64), shares)


def _plant_flaws(images: list[Image], labels: list[NDArray[np.int64]], rng: np.random.Generator) -> None:
    """Write the blank images and the duplicates into the images of each split, in place."""
    train = labels[0]
    free = np.ones(len(train), dtype=bool)  # neither blank nor one of a pair of duplicates
    blank = rng.choice(np.flatnonzero(train == np.bincount(train).argmax()), BLANKS, replace=False)
    images[0][blank], free[blank] = 0, False
    for split, codes in enumerate(labels):
        missing = max(1, round(DUPLICATED * len(codes)))
        candidates = free if split == 0 else np.ones(len(codes), dtype=bool)
        for row in rng.permutation(len(codes)):
            originals = np.flatnonzero(free & (train == codes[row]))
            if missing and candidates[row] and len(originals) > LEAST + 1:  # a rare class keeps faces of its own
                original = rng.choice(originals[originals != row] if split == 0 else originals)
                images[split][row] = images[0][original]
                free[original] = candidates[row] = False
                missing -= 1
