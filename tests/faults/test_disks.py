"""A full disk and a read-only folder: one line of error, and the last good state can be restored."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import shell

from ferops import params

FULL = ("No space left on device; free some space", "File too large; free some space")
OUTS = {
    "sample": "data/sample",
    "preprocess": "data/prepared",
    "validate prepared": "reports/validate/prepared",
    "augment": "data/augmented",
    "validate augmented": "reports/validate/augmented",
    "train": "models",
    "evaluate": "predictions.parquet",
}
"""Stage -> the out that DVC removes before it runs."""


@pytest.fixture
def disk(committed: Path, tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """The pipeline on a disk of its own, and a function that remounts it; skipped where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)

    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        shutil.copytree(committed, place / "pipeline", symlinks=True)
        yield place / "pipeline", mount
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(folder: Path, mount: Callable[[str], None]) -> None:
    """Fill the disk to the last block."""
    used = shutil.disk_usage(folder).used
    mount(f"size={used // 1024 + 4}k")
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def restore(folder: Path) -> None:
    """Restore the last good state: outs from DVC, reports from git."""
    shell(folder, "dvc", "checkout", "--force")  # over a file that was half written
    shell(folder, "git", "checkout", "--", ".")
    assert shell(folder, "git", "status", "--porcelain").stdout == ""
    status = shell(folder, "dvc", "status").stdout
    assert status.split() == ["publish:", "always", "changed"], status


def one_line(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(done.stderr.splitlines()) <= len(errors) + 1, "at most one warning about the store"
    assert len(errors) == 1, done.stderr
    assert any(each in errors[0] for each in says), errors


def test_on_a_full_disk_every_stage_ends_in_one_line_and_nothing_is_lost(disk) -> None:
    folder, mount = disk
    for stage, out in OUTS.items():
        shell(folder, "rm", "-rf", out)
        fill(folder, mount)
        one_line(shell(folder, "python", "-m", "ferops.stages", *stage.split(), check=False), *FULL)
        (folder / "ballast").unlink()
        mount("size=8g")
        restore(folder)


def test_on_a_full_disk_a_copy_is_not_taken_and_dvc_repro_ends_without_a_traceback(disk, tmp_path) -> None:
    folder, mount = disk
    copy = shutil.copy(folder / "data/sample/fer2013.csv", tmp_path / "another.csv")
    params.merge({"sample": {"train": 1400}}, folder / "params.yaml")
    fill(folder, mount)
    one_line(shell(folder, "ferops", "data", "use", copy, check=False), *FULL)
    done = shell(folder, "dvc", "repro", "preprocess", check=False)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    (folder / "ballast").unlink()
    mount("size=8g")
    restore(folder)


def test_in_a_read_only_folder_every_stage_and_command_that_writes_ends_in_one_line(disk) -> None:
    folder, mount = disk
    mount("ro")
    for stage in OUTS:
        one_line(shell(folder, "python", "-m", "ferops.stages", *stage.split(), check=False), "ead-only", "readonly")
    for command in (["data", "use", "data/sample/fer2013.csv"], ["data", "show"]):
        one_line(shell(folder, "ferops", *command, check=False), "Read-only file system; make it writable")
    assert shell(folder, "ferops", "results").returncode == 0, "a command that only reads works"
    mount("rw")
    restore(folder)


@pytest.mark.parametrize("stage", ["sample", "preprocess", "train"])
def test_where_no_file_may_grow_a_stage_says_so_in_one_line(stage: str, committed: Path, tmp_path: Path) -> None:
    """The limit of `ulimit -f` acts like a full disk, for any user."""
    folder = tmp_path / "pipeline"
    shutil.copytree(committed, folder, symlinks=True)
    command = f"ulimit -f 100; exec python -m ferops.stages {stage}"
    one_line(shell(folder, "bash", "-c", command, check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9"), *FULL)
    restore(folder)


def test_where_temporary_files_have_no_space_their_folder_is_named(committed: Path, tmp_path: Path) -> None:
    folder, small = tmp_path / "pipeline", tmp_path / "small"
    shutil.copytree(committed, folder, symlinks=True)
    small.mkdir()
    command = "ulimit -f 100; exec python -m ferops.stages preprocess"
    failed = shell(folder, "bash", "-c", command, check=False, TMPDIR=str(small))
    one_line(failed, f"{small}: File too large; free some space")
