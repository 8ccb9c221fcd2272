"""Write files and folders atomically, and name the folder of checkpoints."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SCRATCH: Final = Path(".scratch")
"""Folder of what outlives a killed process and is no out of a stage: checkpoints and features of unfinished trainings,
one folder each; the working files of scoring; statistics of data sets, by their MD5."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or folder under a temporary name, and rename it into place once the block has ended.

    A reader sees the old content or the new one, never a part; between an old folder and the new one it sees none for a
    moment, since only a file can be replaced in one step. Where the block raises, the old content stays and the
    temporary file is deleted. A killed process leaves `.new.NAME` behind, which the next one replaces.

    Args:
        path: the file or folder to replace; its parent folders are created.

    Yields:
        The temporary path, in the same folder; nothing exists there yet.

    Raises:
        IsADirectoryError: a file was written, and there is a folder of its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".new.{path.name}")  # Keras recognizes the format by the suffix
    _delete(scratch)
    try:
        yield scratch
        if path.is_dir() and scratch.is_dir():  # a folder in the place of a file is the user's
            shutil.rmtree(path)
        scratch.replace(path)
    finally:
        _delete(scratch)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
