"""SIGKILL to `dvc`, to a stage, to both: no process and no lock is left, and the next `dvc repro` resumes."""

import time
from pathlib import Path

import numpy as np
from conftest import SMALL
from faults.repros import Repro, Victim, assert_same_result, eventually, finish, recorded_epochs, saved_epochs
from support import checkout

KILLS: tuple[tuple[str, int, Victim], ...] = (
    ("sample", 0, "stage"),
    ("preprocess", 0, "both"),
    ("validate prepared", 0, "dvc"),
    ("augment", 0, "stage"),
    ("validate augmented", 0, "both"),
    ("train", 0, "dvc"),
    ("train", 1, "stage"),
    ("train", 2, "both"),
    ("evaluate", 0, "dvc"),
    ("publish", 0, "both"),
    ("publish", 0, "dvc"),
)
"""Stage, epochs saved before the kill, process that is killed."""


def test_every_stage_survives_a_kill_and_the_end_is_that_of_an_undisturbed_run(repro: Path, tmp_path: Path) -> None:
    folder = checkout(tmp_path, SMALL)
    random = np.random.default_rng(0)
    kept: dict[int, float] = {}
    for stage, epochs, victim in KILLS:
        run = Repro(folder)
        run.wait_for_stage(stage)
        eventually(lambda: len(saved_epochs(folder)) >= epochs, 120, run.said)  # noqa: B023  # called in its round
        time.sleep(random.uniform(0, 1))  # the moment of the kill
        run.kill(victim)
        assert run.wait() != 0, f"{stage} had ended before the kill"
        assert "is busy" not in run.said() and "Unable to acquire lock" not in run.said()
        if stage == "train":
            before, kept = kept, saved_epochs(folder)
            assert before.items() <= kept.items()
            # one that had saved every epoch already may be killed before it says so
            assert f"going on after epoch {len(before)} of" in run.said() or not before or before == kept
    finish(folder)
    assert len(kept) == 2 and kept == recorded_epochs(folder), "an epoch that was saved is not trained again"
    assert_same_result(folder, repro)
