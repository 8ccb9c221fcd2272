"""Read a copy of FER2013: Kaggle's CSV, plain or inside .gz, .xz or .zip, as a stream."""

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import NAMES, SIDE, USAGES

Progress = Callable[[int, int], None]
"""Called with (bytes read of the file as it lies on disk, its size in bytes)."""

_COLUMNS: Final = ("emotion", "pixels", "usage")
_CODES: Final = {str(code).encode(): code for code in range(len(NAMES))}
_WORDS: Final = {word.encode(): word for word in USAGES}
_PIXELS: Final = SIDE * SIDE
_LONGEST_LINE: Final = 1 << 20
_ROWS_A_REPORT: Final = 256


class UnknownLayout(FeropsError):
    """The file is not laid out as any copy of FER2013 that ferops reads."""


class BadFile(FeropsError):
    """The file is missing, empty, unreadable, or an archive that is damaged or cut short."""


class BadRow(FeropsError):
    """A row of the CSV is not a face: carries `path`, `row` (the header is row 1), `found` and `expected`."""

    def __init__(self, path: Path, row: int, found: str, expected: str) -> None:
        """Say where, what was found and what was expected."""
        super().__init__(f"{path}: row {row} (the header is row 1): found {found}; expected {expected}")
        self.path, self.row, self.found, self.expected = path, row, found, expected


@dataclass(frozen=True)
class Faces:
    """Every face of a copy of FER2013, in the order of the file.

    Attributes:
        images: uint8 (N, 48, 48), grey levels.
        labels: int64 (N,), codes 0-6 as in `ferops.labels.NAMES`.
        usages: str (N,), `Training`, `PublicTest` or `PrivateTest`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usages: NDArray[np.str_]


def read_csv(path: Path, *, progress: Progress | None = None) -> Faces:
    """Read Kaggle's CSV line by line; what it is packed in is told by its content, not its name.

    The columns `emotion`, `pixels` and `Usage` are found by name, in any order; a byte order mark, CRLF, spaces
    around names and quotes around fields are accepted. In a .zip, the first CSV with these columns is read.

    Args:
        path: the CSV, plain or packed.
        progress: called every few rows and at the end.

    Raises:
        UnknownLayout: the columns are not there.
        BadFile: missing, empty, no rows, or an archive that is damaged or cut short.
        BadRow: a row without 2,304 pixels in 0-255, a label in 0-6 and a known Usage.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw, _unpacked(path, raw) as stream:
            size = path.stat().st_size
            faces = _read(path, stream, lambda: progress and progress(raw.tell(), size))
    except FileNotFoundError:
        raise BadFile(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UnknownLayout(f"{path} is a folder; expected fer2013.csv, plain or as .gz, .xz or .zip") from None
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise BadFile(f"{path}: the archive is damaged or cut short: {_one_line(error)}") from None
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise BadFile(f"{path} cannot be read: {_one_line(error)}") from None
    if progress:
        progress(size, size)
    return faces


def _read(path: Path, stream: IO[bytes], report: Callable[[], None]) -> Faces:
    names = _columns(stream.readline(_LONGEST_LINE))
    if names == [""]:
        raise BadFile(f"{path} is empty; expected the header emotion,pixels,Usage and rows")
    if not set(_COLUMNS) <= set(names):
        raise UnknownLayout(
            f"{path}: expected the columns emotion, pixels and Usage in the first line; found {_shown(','.join(names))}"
        )
    emotion, pixels, usage = (names.index(column) for column in _COLUMNS)

    images, labels, usages = bytearray(), [], []
    for row, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE), b""), start=2):
        fields = [field.strip(b' "') for field in line.rstrip(b"\r\n").split(b",")]
        if fields == [b""]:
            continue
        if len(fields) != len(names):
            raise BadRow(path, row, _count(len(fields), "field"), str(len(names)))
        if fields[emotion] not in _CODES:
            raise BadRow(path, row, f"label {_shown(fields[emotion])}", f"0-{len(NAMES) - 1}")
        if fields[usage] not in _WORDS:
            raise BadRow(path, row, f"Usage {_shown(fields[usage])}", ", ".join(USAGES))
        images += _grey_levels(path, row, fields[pixels])
        labels.append(_CODES[fields[emotion]])
        usages.append(_WORDS[fields[usage]])
        if row % _ROWS_A_REPORT == 0:
            report()
    if not labels:
        raise BadFile(f"{path} has a header and no rows")
    return Faces(
        images=np.frombuffer(images, np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.array(labels, np.int64),
        usages=np.array(usages, np.str_),
    )


def _grey_levels(path: Path, row: int, field: bytes) -> bytes:
    # int64, not uint8: a narrower type wraps 256 round to 0 without a word.
    try:
        levels = np.fromstring(field.decode("latin-1"), dtype=np.int64, sep=" ")
    except ValueError:
        _blame(path, row, field)
    if len(levels) != _PIXELS:
        raise BadRow(path, row, _count(len(levels), "pixel"), f"{_PIXELS:,}")
    if levels.min() < 0 or levels.max() > 255:
        _blame(path, row, field)
    return levels.astype(np.uint8).tobytes()


def _blame(path: Path, row: int, field: bytes) -> NoReturn:
    """Name the first pixel that is not a grey level."""
    good = {str(level).encode() for level in range(256)}
    wrong = next((token for token in field.split() if token not in good), field)
    raise BadRow(path, row, f"pixel {_shown(wrong)}", "whole numbers 0-255")


@contextmanager
def _unpacked(path: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """The CSV's bytes, out of whatever the file's first bytes say it is packed in."""
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=raw) as stream:
            yield cast(IO[bytes], stream)
    elif magic == b"\xfd7zXZ\x00":
        with lzma.LZMAFile(raw) as stream:
            yield stream
    elif magic.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(raw) as archive, archive.open(_member(path, archive)) as stream:
            yield stream
    else:
        yield raw


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        if name.lower().endswith(".csv") and not name.startswith("__MACOSX/"):
            with archive.open(name) as member:
                if set(_COLUMNS) <= set(_columns(member.readline(_LONGEST_LINE))):
                    return name
    raise UnknownLayout(
        f"{path}: expected a CSV with the columns emotion, pixels and Usage in the archive; "
        f"found {_shown(', '.join(archive.namelist()) or 'nothing')}"
    )


def _columns(header: bytes) -> list[str]:
    return [name.strip(' "\r\n').lower() for name in header.decode("utf-8-sig", errors="replace").split(",")]


def _shown(found: bytes | str, limit: int = 60) -> str:
    text = found.decode("utf-8", errors="replace") if isinstance(found, bytes) else found
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
