"""What every reader gives, faces, and the named errors of a copy that cannot be read."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import USAGES


class UnknownLayout(FeropsError):
    """The file or folder is not laid out as any copy of FER2013 that ferops reads."""


class BadFile(FeropsError):
    """The file is missing, empty, unreadable, or an archive that is damaged, cut short or not to be trusted."""


class BadRow(FeropsError):
    """A row of a CSV is not a face: carries `where`, `row` (the header is row 1), `found` and `expected`."""

    def __init__(self, where: str, row: int, found: str, expected: str) -> None:
        """Say where, what was found and what was expected."""
        super().__init__(f"{where}: row {row} (the header is row 1): found {found}; expected {expected}")
        self.where, self.row, self.found, self.expected = where, row, found, expected


class BadImage(FeropsError):
    """A file in the folder of an expression is not an image that ferops reads: carries `where`."""

    def __init__(self, where: str, found: str) -> None:
        """Say where and what was found."""
        super().__init__(f"{where}: found {found}; expected a whole JPEG or PNG: mend or remove it")
        self.where = where


@dataclass(frozen=True)
class Faces:
    """Every face of a copy of FER2013.

    Attributes:
        images: uint8 (N, 48, 48), grey levels.
        labels: int64 (N,), codes 0-6 as in `ferops.labels.NAMES`.
        usages: str (N,), `Training`, `PublicTest` or `PrivateTest`; `ferops.labels.MERGED` where the copy does not tell
            the last two apart, `ferops.labels.UNSPLIT` where it has no split.
        layout: what the copy was recognised as, in words.
        left_out: what was seen and not read, each with the reason.
        resized: images that had another size than 48 x 48.
        recoloured: images that were not 8-bit grey.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usages: NDArray[np.str_]
    layout: str = ""
    left_out: tuple[str, ...] = ()
    resized: int = 0
    recoloured: int = 0


def digests(images: NDArray[np.uint8]) -> NDArray[np.str_]:
    """SHA-256 of each image's pixels in hexadecimal, str (N,)."""
    return np.array([sha256(image.tobytes()).hexdigest() for image in images], np.str_)


def by_content(labels: NDArray[np.int64], usages: NDArray[np.str_], images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The order in which the same faces stand in whatever layout they came: int64 (N,), positions in the copy.

    By pixels, then label, then usage: equal images of one label differ in nothing else that a copy tells.
    """
    rank = {usage: place for place, usage in enumerate(USAGES)}
    ranks = np.array([rank.get(str(usage), len(rank)) for usage in usages], np.int64)
    return np.lexsort((ranks, labels, digests(images)))


def shown(found: bytes | str, limit: int = 60) -> str:
    """What was found, quoted, cut and in one line, for a message."""
    text = found.decode("utf-8", errors="replace") if isinstance(found, bytes) else found
    quoted = repr(text)  # a NUL is four characters of it
    return quoted if len(quoted) <= limit + 2 else f"{quoted[: limit + 1]}…{quoted[-1]}"


def printable(name: str) -> str:
    """A file's name as it may be printed: without line breaks and what steers a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def one_line(error: BaseException) -> str:
    """A library's message in one line; its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
