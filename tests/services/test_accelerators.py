"""Training under jax and torch, which `make test-services` installs beside the locked environment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults.repros import eventually
from support import ROOT, checkout, shell

from ferops import params

PYTHON = ROOT / ".scratch/accelerators/bin/python"
SCRIPT = Path(__file__).with_name("on_device.py")
FOUR = {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    # on two cores virtual devices wait for a thread that another one holds
    "JAX_CPU_ENABLE_ASYNC_DISPATCH": "false",
    "PJRT_NPROC": "16",
}
LEARNS = {
    "sample": {"train": 700, "validation": 200, "test": 70},
    "model": {"name": "lean_cnn", "weights": "none", "frozen_blocks": 0, "noise": 0.0},
    "train": {"epochs": 8, "batch_size": 16, "learning_rate": 0.003, "average": 0.9, "precision": "float32"},
    "validate": {"max_kl_divergence": 0.3, "count_tolerance": 0.2},
}

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(not PYTHON.exists(), reason="jax and torch are not there: `make test-services` installs them"),
]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a sample that a network learns in eight epochs, and the training of TensorFlow in it."""
    folder = checkout(tmp_path_factory.mktemp("prepared"), LEARNS)
    shell(folder, "dvc", "repro", "validate@augmented")
    shell(folder, sys.executable, "-m", "ferops.stages", "train")
    return folder


TRAIN = (str(PYTHON), "-m", "ferops.stages", "train")


def small(folder: Path, backend: str, batch: int = 32, **more: str) -> tuple[dict[str, object], np.ndarray]:
    """What on_device.py saw, and the weights that it ended with."""
    weights = folder / f"{backend}-{len(more)}.npy"
    done = shell(ROOT, str(PYTHON), str(SCRIPT), str(weights), str(batch), KERAS_BACKEND=backend, **more)
    return json.loads(done.stdout.splitlines()[-1]), np.load(weights)


@pytest.fixture(scope="session")
def by_jax(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], np.ndarray]:
    return small(tmp_path_factory.mktemp("jax"), "jax")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_backend_learns_as_tensorflow_does_resumes_and_writes_what_tensorflow_evaluates(
    backend: str, prepared: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        shutil.copytree(prepared, folder, symlinks=True, ignore=shutil.ignore_patterns(".scratch", "models"))
    shell(whole, *TRAIN, KERAS_BACKEND=backend)
    epochs, usual = (pd.read_csv(folder / "reports/train/history.csv") for folder in (whole, prepared))
    record = json.loads((whole / "models/training.json").read_text())
    assert record["backend"] == backend
    assert usual["val/accuracy"].max() > 0.5
    assert epochs["val/accuracy"].max() == pytest.approx(usual["val/accuracy"].max(), abs=0.15)

    shell(whole, sys.executable, "-m", "ferops.stages", "evaluate")
    evaluated = json.loads((whole / "metrics/val.json").read_text())
    assert evaluated["accuracy"] == pytest.approx(epochs["val/accuracy"].max(), abs=0.005)

    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(TRAIN, cwd=killed, stdout=said, env={**os.environ, "KERAS_BACKEND": backend})
        second = "*/epoch-0002.weights.h5"
        eventually(lambda: list((killed / ".scratch").glob(second)), 600, (tmp_path / "said").read_text)
        process.kill()
        process.wait()
    assert not (killed / "models/training.json").exists()
    assert "going on after epoch" in shell(killed, *TRAIN, KERAS_BACKEND=backend).stdout
    assert json.loads((killed / "models/training.json").read_text())["weights_digest"] == record["weights_digest"]


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_every_backend_sees_the_same_images_and_targets(backend: str, by_jax, tmp_path: Path) -> None:
    seen, weights = small(tmp_path, backend)
    for row, expected in zip(seen["history"], by_jax[0]["history"], strict=True):
        assert row["train/loss"] == pytest.approx(expected["train/loss"], rel=0.01)
    assert np.corrcoef(weights, by_jax[1])[0, 1] > 0.99


def test_jax_runs_several_steps_an_execution_and_fetches_nothing_in_between(by_jax) -> None:
    ticks = [tuple(tick) for tick in by_jax[0]["ticks"]]
    assert [tick[:3] for tick in ticks] == [(epoch, batch, 40) for epoch in (1, 2) for batch in (16, 32, 40)]
    fetched = {epoch: {tick[3] for tick in ticks if tick[0] == epoch} for epoch in (1, 2)}
    assert all(len(counts) == 1 for counts in fetched.values()), "an epoch's steps copy no array to the host"
    assert by_jax[0]["fetched"] > 0, "the metrics of an epoch and its checkpoint do"


def test_four_devices_train_as_one_does(by_jax, tmp_path: Path) -> None:
    one, four = by_jax, small(tmp_path, "jax", **FOUR)
    assert (one[0]["devices"], four[0]["devices"]) == (1, 4)
    for row, expected in zip(four[0]["history"], one[0]["history"], strict=True):
        assert {**row, "time": 0} == pytest.approx({**expected, "time": 0}, abs=1e-3)
    np.testing.assert_allclose(four[1], one[1], atol=1e-4)


def test_a_batch_that_devices_cannot_share_is_refused_in_one_line(prepared: Path) -> None:
    values = (prepared / "params.yaml").read_text()
    try:
        params.merge({"train": {"batch_size": 18}}, prepared / "params.yaml")
        done = shell(prepared, *TRAIN, check=False, KERAS_BACKEND="jax", **FOUR)
    finally:
        (prepared / "params.yaml").write_text(values)
    assert done.returncode == 1
    assert "4 devices cannot share a batch of 18 images" in done.stderr
    assert "Traceback" not in done.stderr
