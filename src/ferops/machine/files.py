"""Write files and folders atomically, and the folder for what must survive a killed run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SCRATCH: Final = Path(".scratch")
"""Checkpoints of trainings under way, one folder each: no stage's out, so that a killed training can be resumed."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or folder under a temporary name, and rename it into place once the block has ended.

    A reader sees the old content or the new one, never a part. Where the block raises, the old content stays and the
    temporary file is deleted. A process that is killed leaves `.new.NAME` behind.

    Args:
        path: what is replaced; the folders above it are made.

    Yields:
        The temporary path beside it; nothing is there yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".new.{path.name}")  # Keras goes by the suffix
    _delete(scratch)
    try:
        yield scratch
        if path.is_dir():
            shutil.rmtree(path)
        scratch.replace(path)
    finally:
        _delete(scratch)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
