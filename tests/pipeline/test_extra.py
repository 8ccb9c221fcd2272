"""Extra test sets in the pipeline: scored by `evaluate`, and by nothing else."""

import json
import shutil
from pathlib import Path

import copies
import extras
import mlflow
import numpy as np
import pytest
from support import shell

from ferops import params


def figures(folder: Path, name: str) -> dict:
    return json.loads((folder / f"metrics/{name}.json").read_text())


def ran(folder: Path) -> list[str]:
    said = shell(folder, "dvc", "repro").stdout
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


@pytest.fixture
def folder(repro: Path, tmp_path: Path) -> Path:
    """The reproduced pipeline, to which a small CK+ was added."""
    folder = Path(shutil.copytree(repro, tmp_path / "copy", symlinks=True))
    copies.as_zip(tmp_path / "ck.zip", extras.ckplus())
    shell(folder, "ferops", "data", "extra", str(tmp_path / "ck.zip"), "--skip", "contempt")
    return folder


def test_a_set_is_scored_until_it_is_taken_out_again(repro: Path, folder: Path) -> None:
    assert figures(repro, "extra") == {}
    assert set(json.loads(shell(folder, "dvc", "status", "--json").stdout)) == {"evaluate", "publish"}
    assert ran(folder) == ["evaluate", "publish"]
    for name in ("val", "test"):
        assert figures(folder, name) == figures(repro, name)
    ckplus = figures(folder, "extra")["ckplus"]
    assert ckplus.keys() == figures(repro, "test").keys()
    assert (ckplus["n"], ckplus["n_deduplicated"], ckplus["per_class"]["neutral"]["support"]) == (18, 18, 0)
    has = [row["recall"] for name, row in ckplus["per_class"].items() if name != "neutral"]
    assert ckplus["recall_macro"] == pytest.approx(np.mean(has)), "neutral is no class of the set"
    assert ckplus["accuracy"] == pytest.approx(np.mean(has)), "as many images of each class"
    store = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = store.search_runs([store.get_experiment_by_name("fer-vgg16").experiment_id])
    assert run.data.metrics["acc_ckplus"] == round(ckplus["accuracy"], 4)

    shell(folder, "dvc", "remove", "--outs", "data/extra/ckplus.dvc")
    assert ran(folder) == ["publish"], "the old figures come from the run cache"
    assert figures(folder, "extra") == {}
    assert [path.name for path in (folder / "data/extra").iterdir()] == ["README.md"]


def test_a_trial_leaves_the_extra_sets_closed(folder: Path) -> None:
    params.merge({"evaluate": {"test": False}}, folder / "params.yaml")
    assert ran(folder) == ["evaluate", "publish"]
    assert figures(folder, "extra") == {}
