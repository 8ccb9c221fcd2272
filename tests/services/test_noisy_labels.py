"""Labels of which three in ten are wrong: what `ferops data suspects` finds, and what it is good for."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from support import checkout, shell

from ferops import params
from ferops.data.preprocessing.label_errors import DROP
from ferops.data.readers.faces import digests
from ferops.data.synthetic import generator
from ferops.labels import NAMES

FLIPPED = 0.3
SEEDS = (0, 1, 2)
VALUES = {
    "data": {"source": "data/noisy.csv"},
    "preprocess": {"median_kernel": 1, "duplicates": "keep"},
    "augment": {"min_share": 0.0},
    "model": {
        "name": "hog_linear", "weights": "none", "frozen_blocks": 0, "scaling": "unit", "noise": 0.0, "dropout": 0.0,
    },
    "train": {"epochs": 15, "batch_size": 32, "learning_rate": 0.01, "patience": 15, "precision": "float32"},
}  # fmt: skip

pytestmark = pytest.mark.services


class Found(NamedTuple):
    """Of one seed: shares of flipped labels and of right suggestions, and the accuracy on validation.

    Fields:
        precision, recall: of the suspects as flipped labels.
        suggested: share of the flipped suspects whose true label was suggested.
        plain, corrected, believed, dropped: accuracy as labelled; where somebody looked at each suspect and corrected
            it; where every suggestion was believed; where every suspect was dropped.
    """

    precision: float
    recall: float
    suggested: float
    plain: float
    corrected: float
    believed: float
    dropped: float


def accuracy(folder: Path, overrides: pd.DataFrame) -> float:
    """The best accuracy on validation of a training on overridden labels."""
    overrides.to_csv(folder / "data/overrides.csv", columns=["hash", "label"], index=False)
    shell(folder, "dvc", "repro", "--single-item", "preprocess")
    for stage in ("augment", "train"):
        shell(folder, "python", "-m", "ferops.stages", stage)
    return float(pd.read_csv(folder / "reports/train/history.csv")["val/accuracy"].max())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What is found in a sample whose training labels were flipped, by three seeds."""
    folder = checkout(tmp_path_factory.mktemp("noisy"), VALUES)
    sample = generator.generate_sample(seed=1, counts={"train": 1000, "validation": 700, "test": 70})
    rng, training = np.random.default_rng(0), np.flatnonzero(sample.splits == "train")
    flipped = rng.choice(training, round(FLIPPED * len(training)), replace=False)
    labels = sample.labels.copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, len(NAMES), len(flipped))) % len(NAMES)
    generator.write_csv(folder / "data/noisy.csv", sample._replace(labels=labels))
    truth = pd.DataFrame({"hash": digests(sample.images), "true": np.take(NAMES, sample.labels)}).drop_duplicates()
    answers = []
    for seed in SEEDS:
        params.merge({"train": {"seed": seed}}, folder / "params.yaml")
        plain = accuracy(folder, pd.DataFrame(columns=["hash", "label"]))
        shell(folder, "ferops", "data", "suspects", "--folds", "3")
        manifest = pd.read_parquet(folder / "data/prepared/manifest.parquet").query("split == 'train'")
        true = manifest.merge(truth, on="hash").set_index("id")
        wrong = np.take(NAMES, true["label"]) != true["true"]
        assert wrong.mean() == pytest.approx(FLIPPED, abs=0.01)
        listed = pd.read_csv(folder / "reports/suspects.csv", dtype={"hash": str}).set_index("id")
        doubted, right = wrong[listed.index], listed["suggested"] == true["true"][listed.index]
        once = listed.drop_duplicates("hash")
        corrected = accuracy(folder, once.assign(label=true["true"]))
        believed = accuracy(folder, once.assign(label=once["suggested"]))
        dropped = accuracy(folder, once.assign(label=DROP))
        shares = doubted.mean(), doubted.sum() / wrong.sum(), right[doubted].mean()
        answers.append(Found(*shares, plain, corrected, believed, dropped))
    print("means", Found(*np.mean(answers, axis=0).round(3)))
    return answers


def test_most_wrong_labels_are_suspects(found: list[Found]) -> None:
    mean = Found(*np.mean(found, axis=0))
    assert mean.recall > 0.75
    assert mean.precision > FLIPPED + 0.1
    assert mean.suggested > 0.5


def test_accuracy_rises_where_suspects_are_corrected_and_falls_where_all_are_believed(found: list[Found]) -> None:
    assert all(each.corrected > each.plain for each in found)
    mean = Found(*np.mean(found, axis=0))
    assert max(mean.believed, mean.dropped) < mean.plain
