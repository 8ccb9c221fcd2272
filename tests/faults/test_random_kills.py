"""Fifty kills at random moments, fifty recoveries."""

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import SMALL
from faults.repros import (
    MEASURED,
    VICTIMS,
    Repro,
    Victim,
    assert_same_result,
    eventually,
    finish,
    recorded_epochs,
    saved_epochs,
    write_table,
)
from support import checkout

KILLS = 50
IN_TRAIN = 32
SEED = 2013
SAID = ".dvc/tmp/said"  # output of the run that was killed
VALUES = SMALL | {"train": {"epochs": 4}}


class Undisturbed(NamedTuple):
    """A run without a kill.

    Fields:
        folder: of the finished pipeline. untrained: a copy from before `train`.
        train, whole: seconds that `train` took, and the whole run.
    """

    folder: Path
    untrained: Path
    train: float
    whole: float


@pytest.fixture
def undisturbed(tmp_path: Path) -> Undisturbed:
    folder, untrained = checkout(tmp_path / "undisturbed", VALUES), tmp_path / "untrained"
    run = Repro(folder, "validate@augmented")
    assert run.wait() == 0, run.said()
    first = time.monotonic() - run.started
    shutil.copytree(folder, untrained, symlinks=True)
    run = Repro(folder)
    stage = run.wait_for_stage("train")
    started = time.monotonic()
    eventually(lambda: not stage.is_running(), 300, run.said)
    train = time.monotonic() - started
    assert run.wait() == 0, run.said()
    return Undisturbed(folder, untrained, train, first + time.monotonic() - run.started)


@pytest.mark.fuzz
def test_fifty_random_kills_end_like_an_undisturbed_run(undisturbed: Undisturbed, tmp_path: Path) -> None:
    random = np.random.default_rng(SEED)
    places = random.permutation(["train"] * IN_TRAIN + ["anywhere"] * (KILLS - IN_TRAIN))
    print(f"\nundisturbed: train {undisturbed.train:.1f} s of {undisturbed.whole:.1f} s")
    rows, failures = [], []
    for number, place in enumerate(places, start=1):
        folder = tmp_path / f"kill-{number}"
        row: dict[str, Any] = {"kill": number}
        try:
            while not row.get("stage_that_ran"):
                row |= kill(folder, str(place), VICTIMS[random.integers(3)], random.uniform(), undisturbed)
            row |= recover(folder, undisturbed.folder)
            shutil.rmtree(folder)
        except (AssertionError, pytest.fail.Exception) as failure:
            row["end"] = "bad"
            failures.append(f"seed {SEED}, {row}, left in {folder}:\n{failure}")
        rows.append(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    write_table(MEASURED / "kills.csv", rows)
    assert not failures, "\n\n".join(failures)


def kill(folder: Path, place: str, victim: Victim, moment: float, undisturbed: Undisturbed) -> dict[str, Any]:
    """Start `dvc repro` in a fresh folder and kill it at a fraction of the time that `train`, or the whole run, takes.

    The stage that ran is empty where the run had ended before.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if place == "train":
        shutil.copytree(undisturbed.untrained, folder, symlinks=True)
    else:
        checkout(folder, VALUES)
    run = Repro(folder)
    started = run.started
    if place == "train":
        run.wait_for_stage("train")
        started = time.monotonic()
    seconds = moment * (undisturbed.train if place == "train" else undisturbed.whole)
    time.sleep(max(0, started + seconds - time.monotonic()))  # the moment of the kill
    ended = run.has_ended()
    stage = run.kill(victim)
    (folder / SAID).write_text(run.said())
    assert run.wait() != 0 or ended, run.said()
    return {
        "victim": victim if stage else "dvc",
        "moment_s": round(seconds, 2),
        "stage_that_ran": "" if ended else stage or "between stages",
    }


def recover(folder: Path, undisturbed: Path) -> dict[str, Any]:
    """Run the next `dvc repro` and compare its result with that of the undisturbed run."""
    kept = saved_epochs(folder)
    lock = folder / "dvc.lock"
    by_hand = ""
    if lock.is_file() and not lock.read_text():  # DVC was killed while it wrote it: see docs/reliability.md
        lock.unlink()
        by_hand = "rm dvc.lock"
    started = time.monotonic()
    try:
        finish(folder)
        seconds = time.monotonic() - started
        assert_same_result(folder, undisturbed)
        assert kept.items() <= recorded_epochs(folder).items(), "an epoch that was saved was trained again"
    except (AssertionError, pytest.fail.Exception) as failure:
        raise AssertionError(f"{failure}\n--- before the kill\n{(folder / SAID).read_text()}") from None
    return {"epochs_kept": len(kept), "by_hand": by_hand, "next_repro_s": round(seconds, 1), "end": "good"}
