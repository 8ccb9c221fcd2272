"""SIGKILL to the stage `train` while it computes what frozen blocks make of the images, and on their features."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL
from faults.repros import eventually, saved_epochs
from support import checkout, shell

TRAIN = ("python", "-m", "ferops.stages", "train")


def digest(folder: Path) -> str:
    """Return the digest of the weights of a training that used features, and has deleted them."""
    record = json.loads((folder / "models/training.json").read_text())
    assert record["frozen_prefix"]["last_block"] == "block4"
    assert 0 < record["frozen_prefix"]["seconds"] < record["seconds"]
    assert not list(folder.glob(".scratch/*/features"))
    return str(record["weights_digest"])


def kill(folder: Path, moment: Callable[[], object]) -> None:
    """Train up to a moment."""
    with (folder / "said").open("w+") as said:
        stage = subprocess.Popen(TRAIN, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        try:
            eventually(moment, 300, (folder / "said").read_text)
        finally:
            stage.kill()
            stage.wait()
    assert not (folder / "models/training.json").exists(), "it had ended before the kill"


@pytest.mark.fuzz
def test_a_training_on_features_survives_kills_and_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    frozen = {"model": {"frozen_blocks": 4}, "train": {"epochs": 3, "online_augmentation": False}}
    whole = checkout(tmp_path / "whole", SMALL | frozen)
    for stage in ("sample", "preprocess", "augment"):
        shell(whole, "python", "-m", "ferops.stages", stage)
    killed = shutil.copytree(whole, tmp_path / "killed", symlinks=True)
    assert "were computed once" in shell(whole, *TRAIN).stdout

    kill(killed, lambda: list(killed.glob(".scratch/*/features/.new.train.npy")))
    assert not saved_epochs(killed)
    kill(killed, lambda: saved_epochs(killed))
    (features,) = killed.glob(".scratch/*/features/train.npy")
    features.write_bytes(features.read_bytes()[:-1])  # as a power failure may leave it
    said = shell(killed, *TRAIN).stdout
    assert "going on after epoch 1 of 3" in said and "were computed once" in said
    assert digest(killed) == digest(whole)

    (killed / "models/training.json").unlink()
    assert "block" not in shell(killed, *TRAIN).stdout, "all epochs are there: nothing is computed anew"
    assert digest(killed) == digest(whole)
