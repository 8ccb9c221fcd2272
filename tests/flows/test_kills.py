"""A training flow that is cancelled or killed: nothing is left running or locked, and the next one goes on."""

import os
import signal
import sys
from pathlib import Path

import pytest
from faults.repros import Repro, eventually, recorded_epochs, saved_epochs
from prefect.settings import PREFECT_API_URL

TRAIN = ("train", "--set", "train.epochs=3", "--set", "train.patience=3")


class Training(Repro):
    """The same with the flow in the place of `dvc repro`."""

    COMMAND = (sys.executable, "flows/training.py")


@pytest.mark.services
def test_a_flow_that_is_cancelled_or_killed_leaves_nothing_and_the_next_one_goes_on(clone: Path, server: None) -> None:
    api = {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    kept: dict[int, float] = {}
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = Training(clone, *TRAIN, **api)
        run.wait_for_stage("train")
        eventually(lambda: len(saved_epochs(clone)) > len(kept), 120, run.said)  # noqa: B023  # called in its round
        os.kill(run.pid, number)
        assert run.wait(30) != 0
        assert f"going on after epoch {len(kept)} of 3" in run.said() or not kept
        assert kept.items() <= saved_epochs(clone).items()
        kept = saved_epochs(clone)
        assert len(kept) < 3, "it had ended before the kill"
    last = Training(clone, *TRAIN, **api)
    assert last.wait() == 0, last.said()
    assert "waiting for DVC's lock" not in last.said()
    assert kept.items() <= recorded_epochs(clone).items(), "an epoch that was saved is not trained again"
    assert len(recorded_epochs(clone)) == 3


def test_a_killed_flow_takes_its_temporary_server_along(clone: Path) -> None:
    run = Training(clone)
    servers = eventually(
        lambda: [process for process in run.processes() if "uvicorn" in process.cmdline()], 60, run.said
    )
    assert servers
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(10) != 0
