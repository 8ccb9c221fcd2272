"""A folder of image files to score: any size, colour and depth, without labels."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.data.readers import archives, decoding
from ferops.data.readers.faces import BadFile, BadImage, printable

_PART: Final = 256


class ImageFile(NamedTuple):
    """An image that could be read.

    Fields:
        path: below the folder, with `/`, as it can be printed.
        digest: SHA-256 of the file's bytes in hexadecimal.
        width, height: of the image in the file, in pixels.
        pixels: uint8 (48, 48), gray levels.
    """

    path: str
    digest: str
    width: int
    height: int
    pixels: NDArray[np.uint8]


class UnreadableFile(NamedTuple):
    """A file that could not be read, and why."""

    path: str
    reason: str


def find(folder: Path) -> list[Path]:
    """Find every file in a folder and below it, sorted; hidden ones are skipped.

    Raises:
        BadFile: naming what is wrong with the folder.
    """
    if not folder.is_dir():
        raise BadFile(f"{folder} is {'no folder' if folder.exists() else 'not there'}; expected a folder of images")
    if not (found := archives.find(folder)):
        raise BadFile(f"{folder} has no file in it; expected images of faces")
    return found


def digests(files: Sequence[Path]) -> list[str | None]:
    """Compute the SHA-256 of each file's bytes in hexadecimal; None where it cannot be read: `read` says why."""
    # a thread's work is many files: one alone takes no longer than its hand-over
    parts = [files[at : at + _PART] for at in range(0, len(files), _PART)]
    with ThreadPoolExecutor() as pool:
        return list(chain.from_iterable(pool.map(lambda part: [_digest(path) for path in part], parts)))


def read(files: Sequence[Path], folder: Path) -> tuple[list[ImageFile], list[UnreadableFile]]:
    """Read images of `FORMATS` on every core.

    Each becomes gray, 48 x 48, by the decoder that reads the training images.

    Args:
        files: a part of what `find` returned.
        folder: the folder that it was called with.

    Returns:
        Those that could be read and those that could not, each in the order given.
    """
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda path: _read(path, folder), files))
    return [one for one in done if isinstance(one, ImageFile)], [one for one in done if isinstance(one, UnreadableFile)]


def _digest(path: Path) -> str | None:
    try:
        return sha256(_content(path)).hexdigest()
    except BadImage:
        return None


def _read(path: Path, folder: Path) -> ImageFile | UnreadableFile:
    name = printable(path.relative_to(folder).as_posix())
    try:
        content = _content(path)
        decoded = decoding.decode_face(name, content)
    except BadImage as error:
        return UnreadableFile(name, error.found)
    return ImageFile(name, sha256(content).hexdigest(), *decoded.size, decoded.pixels)


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise BadImage(str(path), "no regular file")
        with path.open("rb") as stream:
            return decoding.read_bounded(stream, str(path))
    except OSError as error:
        raise BadImage(str(path), error.strerror or "a file that cannot be read") from None
