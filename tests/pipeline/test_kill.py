import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pandas as pd
from support import shell

from ferops import params


def finished_epochs(folder: Path) -> int:
    states = list(folder.glob(".scratch/*/progress.json"))
    return len(json.loads(states[0].read_text())["history"]) if states else 0


def test_a_killed_training_goes_on_after_its_last_epoch_in_the_same_run(repro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    params.merge({"train": {"epochs": 5, "seed": 1}}, folder / "params.yaml")
    process = subprocess.Popen(
        ["dvc", "repro", "train"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while finished_epochs(folder) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = finished_epochs(folder)
    assert 2 <= done < 5

    said = shell(folder, "dvc", "repro").stdout
    assert f"going on after epoch {done} of 5" in said
    history = pd.read_csv(folder / "reports/train/history.csv")
    assert history["epoch"].to_list() == [1, 2, 3, 4, 5]
    assert not list(folder.glob(".scratch/*")), "publish clears what is recorded"

    store = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("fer-vgg16").experiment_id
    (run,) = store.search_runs([experiment], "params.`train.seed` = '1'")
    assert run.info.status == "FINISHED"
    logged = store.get_metric_history(run.info.run_id, "val/loss")
    assert [point.step for point in logged] == [1, 2, 3, 4, 5]
