"""Files and folders that are written in one step."""

from pathlib import Path

import pytest

from ferops.machine.files import replacing


def test_a_folder_that_lies_where_a_file_is_to_be_written_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "list.csv").mkdir()
    (tmp_path / "list.csv/notes").write_text("mine")
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "list.csv") as scratch:
        scratch.write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["list.csv", "notes"]


def test_where_writing_fails_the_old_content_stays_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(OSError, match="disk full"), replacing(folder) as scratch:
        scratch.mkdir()
        raise OSError("disk full")
    assert [path.name for path in tmp_path.rglob("*")] == ["prepared", "old"]
    with replacing(folder) as scratch:
        scratch.mkdir()
        (scratch / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["prepared", "new"]
