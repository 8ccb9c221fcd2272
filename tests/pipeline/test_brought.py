"""What people bring, from `ferops data use` to the gates and, for another data set, to a trained network."""

import json
import shutil
from pathlib import Path

import copies
import numpy as np
import pandas as pd
import pytest
from copies import BROUGHT, RAF, bring
from support import checkout, shell

from ferops.data.readers.faces import FaceDataset, digests
from ferops.labels import NAMES

IN_EVERY_RUN = ("CSV with semicolons", "folders with contempt", "a .tar.gz in a .zip", "a folder of Parquet shards")
"""One of each kind; `make fuzz` takes them all."""

RAF_TRAIN = dict(zip(RAF, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True))
"""RAF-DB's training images of each class (Li, Deng and Du, 2017)."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository in git and DVC; no stage has run."""
    return checkout(tmp_path_factory.mktemp("repository"), {})


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[] if what in IN_EVERY_RUN else pytest.mark.fuzz) for what in BROUGHT]
)
def test_what_people_bring_passes_the_gates(what: str, repository: Path, tmp_path: Path) -> None:
    brought, faces = BROUGHT[what], copies.made_up()
    path = bring(tmp_path / "copy", brought.tree(faces))
    told = [f"--{name}={value}" for name in ("labels", "skip") if (value := getattr(brought, name))]
    said = shell(repository, "ferops", "data", "use", str(path), *told).stdout
    assert f"params.yaml: data.split is {brought.split}" in said
    shell(repository, "dvc", "repro", "validate@augmented")
    manifest = pd.read_parquet(repository / "data/prepared/manifest.parquet")
    hashes = sorted(digest[:16] for digest in digests(faces.images).tolist())
    assert manifest.sort_values("id")["hash"].tolist() == hashes, "the same ids in every layout"
    assert np.bincount(manifest["label"]).tolist() == [20] * 7
    report = json.loads((repository / "data/prepared/report.json").read_text())
    assert sum(sum(counts) for counts in report["read"].values()) == 140
    assert json.loads((repository / "data/gates/augmented.json").read_text())["passed"]


def _raf(share: float) -> FaceDataset:
    """Faces in RAF-DB's class shares, a fifth of them test."""
    words = {"happiness": "happy", "sadness": "sad", "anger": "angry"}
    labels = np.concatenate(
        [[NAMES.index(words.get(name, name))] * round(count * share) for name, count in RAF_TRAIN.items()]
    )
    generator = np.random.default_rng(0)
    usages = np.where(generator.random(len(labels)) < 0.2, "PrivateTest", "Training")
    return FaceDataset(copies.draw(generator, len(labels)), labels, usages)


def test_a_data_set_with_other_class_shares_reaches_the_network(tmp_path: Path) -> None:
    small = {"model": {"name": "lean_cnn", "weights": "none", "frozen_blocks": 0, "noise": 0.0}, "train": {"epochs": 1}}
    folder = checkout(tmp_path / "repository", small)
    path = bring(tmp_path / "copy", BROUGHT["RAF-DB"].tree(_raf(0.1)))
    shell(folder, "ferops", "data", "use", str(path), "--labels", ",".join(RAF))
    shell(folder, "dvc", "repro", "evaluate")
    checks = json.loads((folder / "reports/validate/prepared/validation.json").read_text())["checks"]
    distances = [check for check in checks if check["name"] == "class shares close to FER2013"]
    assert len(distances) == 3
    assert all(check["passed"] for check in distances)
    assert all(float(check["observed"]) > 0.1 for check in distances), "reported, not held"
    assert json.loads((folder / "metrics/val.json").read_text())["n"] > 50
    shutil.rmtree(folder)
