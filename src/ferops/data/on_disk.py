"""Images that may be more than the memory holds: what is made of them is made in `chunks`, and `joined` on disk."""

import errno
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from ferops.labels import SIDE

_CHUNK: Final = 1_000


def chunks(rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Split an array into views of at most 1,000 rows, one at least: what is done to one needs little memory."""
    return np.array_split(rows, max(1, -(-len(rows) // _CHUNK)))


@contextmanager
def scratch_file() -> Iterator[IO[bytes]]:
    """Open an unnamed temporary file for the block; where its disk is full, the error names the folder."""
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = tempfile.gettempdir()
        raise


def joined(parts: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return images, uint8 (N, 48, 48), of which only a part at a time need be in memory; see `mapped`."""
    with scratch_file() as file:
        file.writelines(part.tobytes() for part in parts)
        return mapped(file)


def mapped(file: IO[bytes]) -> NDArray[np.uint8]:
    """Map the pixels in a file, uint8 (N, 48, 48), read-only; a temporary file lasts as long as the array."""
    file.flush()
    if not file.tell():  # nothing can be mapped
        return np.empty((0, SIDE, SIDE), np.uint8)
    return np.asarray(np.memmap(file, np.uint8, mode="r").reshape(-1, SIDE, SIDE))
