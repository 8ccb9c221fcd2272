"""Two `dvc repro` at once, and a dvc.lock that a killed one has left half written."""

import shutil
from pathlib import Path

from faults.repros import Repro, finish
from support import shell

GATE = ("--force", "--single-item", "validate@prepared")


def test_a_second_repro_names_the_process_that_holds_the_lock_and_the_first_completes(
    repro: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    first = Repro(folder, *GATE)
    stage = first.wait_for_stage("validate prepared")
    stage.suspend()  # it cannot end while the second one tries
    second = shell(folder, "dvc", "repro", check=False)
    stage.resume()

    assert second.returncode != 0
    assert f"(PID {first.pid}): " in second.stderr and "repro --force --single-item validate@prepared" in second.stderr
    assert "Traceback" not in second.stdout + second.stderr
    assert first.wait() == 0, first.said()
    finish(folder, *GATE)


def test_of_two_repros_that_start_together_one_completes_and_the_other_waits_or_names_it(
    repro: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    both = [Repro(folder, *GATE) for _ in range(2)]
    ended = {run.pid: run.wait() for run in both}

    assert 0 in ended.values()
    for run, other in zip(both, reversed(both), strict=True):
        assert ended[run.pid] == 0 or f"(PID {other.pid}): " in run.said(), run.said()
        assert "Traceback" not in run.said()


def test_an_empty_dvc_lock_is_an_error_and_the_one_from_git_loses_no_work(repro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    (folder / "dvc.lock").write_text("")  # DVC writes it in place: SIGKILL in those milliseconds leaves it so
    failed = shell(folder, "dvc", "repro", "evaluate", check=False)
    assert failed.returncode != 0
    assert "'./dvc.lock' validation failed" in failed.stderr
    shell(folder, "git", "checkout", "dvc.lock")
    assert "Running stage" not in finish(folder, "evaluate")
    (folder / "dvc.lock").unlink()
    assert "Running stage" not in finish(folder, "evaluate"), "the run cache knows every stage"
