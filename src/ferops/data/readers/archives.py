"""Stream the files inside a folder, .zip, .tar, .gz or .xz, recognised by content; nothing is unpacked to disk."""

import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NamedTuple, TypeAlias

from ferops.data.readers.faces import BadFile, one_line, printable, shown

Stream: TypeAlias = "io.BufferedReader[Any]"

ProgressCallback = Callable[[int, int], None]
"""Called with (bytes read from disk, size on disk in bytes)."""

UNPACKED_AT_MOST: Final = 2 << 30
"""Bytes that an archive may unpack to, seven times the largest known copy; a larger one is taken for a zip bomb."""

_CHUNK: Final = 1 << 18
_JUNK: Final = ("__MACOSX", "Thumbs.db", "desktop.ini")


class Member(NamedTuple):
    """A file of a copy.

    Fields:
        name: its path inside the archive or folder, with `/`; the file's own name where it is not packed.
        where: its name in messages.
        stream: its bytes; read them before the next member is fetched.
    """

    name: str
    where: str
    stream: Stream


_Entry = tuple[str, bool, str, Callable[[], Any]]
"""An entry of an archive: its path, whether it is a folder, what forbids to read it, and what opens it."""


def members(path: Path, progress: ProgressCallback | None = None) -> Iterator[Member]:
    """Iterate over the regular files of a copy; hidden files and those that macOS and Windows add are skipped.

    Args:
        path: a folder, or a file: an archive or one bare file.
        progress: called as the bytes on disk are read, and at the end.

    Raises:
        BadFile: missing, unreadable, encrypted, damaged, cut short, too large when unpacked, or an archive with a link
            or with a path that leads outside it.
    """
    report = progress or (lambda done, total: None)
    with _readable(path):
        files = find(path) if path.is_dir() else [path]
        done, total = 0, sum(file.stat().st_size for file in files)
        for file in files:
            if not file.is_file():  # opening a pipe would wait for ever
                raise BadFile(f"{file} is neither a file nor a folder")
            with io.BufferedReader(_ProgressFile(file, report, done, total), _CHUNK) as stream:
                if path.is_dir():
                    yield Member(file.relative_to(path).as_posix(), printable(str(file)), stream)
                else:
                    yield from _members(file, stream)
            done += file.stat().st_size
            report(done, total)


def find(folder: Path) -> list[Path]:
    """Find every file in a folder and below it, sorted; hidden ones and those that systems add are skipped.

    Raises:
        BadFile: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    with _readable(folder):
        for parent, folders, names in os.walk(folder, onerror=refuse):
            folders[:] = sorted(name for name in folders if not _is_junk(name))
            found += [Path(parent, name) for name in sorted(names) if not _is_junk(name)]
    return found


def _members(path: Path, raw: Stream) -> Iterator[Member]:
    """Iterate over the members of an archive, or return the bare file as the only one."""
    start = raw.peek(6)
    unpacked = raw
    if start.startswith(b"\x1f\x8b"):
        unpacked = _unpacked(path, gzip.GzipFile(fileobj=raw))
    elif start.startswith(b"\xfd7zXZ\x00"):
        unpacked = _unpacked(path, lzma.LZMAFile(raw))  # noqa: SIM115  # closed with the file below it
    if start.startswith(b"PK"):
        entries = _zip_entries(path, raw)
    elif unpacked.peek(512)[257:].startswith(b"ustar"):
        entries = _tar_entries(_unpacked(path, unpacked))
    else:
        yield Member(path.name, str(path), unpacked)
        return
    for name, is_folder, fault, opened in entries:
        # nothing is written to disk, but an archive with a path outside of it is no data set
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] == "/" or parts[0].endswith(":"):
            raise BadFile(f"{path}: {shown(name)} points outside of the archive; get the data from another source")
        if is_folder or _is_junk(*parts):
            continue
        if fault:
            raise BadFile(f"{path}: {shown(name)} {fault}")
        yield Member(name, f"{path}: {printable(name)}", _unpacked(path, opened()))


def _zip_entries(path: Path, raw: Stream) -> Iterator[_Entry]:
    archive = zipfile.ZipFile(raw)
    # zipfile reads no more of a member than the index says
    if sum(info.file_size for info in archive.infolist()) > UNPACKED_AT_MOST:
        raise _too_large(path)
    for info in archive.infolist():
        fault = "is encrypted; unpack it with its password first" if info.flag_bits & 1 else ""
        if stat.S_ISLNK(info.external_attr >> 16):
            fault = "is a link; expected regular files only"
        yield info.filename, info.is_dir(), fault, partial(archive.open, info)


def _tar_entries(unpacked: Stream) -> Iterator[_Entry]:
    # a stream, not a seek: the archive may be compressed, and is read once
    archive = tarfile.open(fileobj=unpacked, mode="r|")  # noqa: SIM115  # closed with the file below it
    for info in archive:
        fault = "" if info.isreg() and not info.issparse() else "is no regular file; expected regular files only"
        if info.islnk() or info.issym():
            fault = "is a link; expected regular files only"
        yield info.name, info.isdir(), fault, partial(archive.extractfile, info)


def _is_junk(*parts: str) -> bool:
    return any(part in _JUNK or (part.startswith(".") and part != ".") for part in parts)


class _UnpackedFile(io.RawIOBase):
    """An unpacked file of bounded size, whose errors are `BadFile`."""

    def __init__(self, path: Path, stream: IO[bytes] | io.BufferedIOBase) -> None:
        super().__init__()
        self._path, self._stream, self._left = path, stream, UNPACKED_AT_MOST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _readable(self._path):
            found = self._stream.read(len(buffer))
        self._left -= len(found)
        if self._left < 0:
            raise _too_large(self._path)
        buffer[: len(found)] = found
        return len(found)


def _unpacked(path: Path, stream: IO[bytes] | io.BufferedIOBase) -> Stream:
    return io.BufferedReader(_UnpackedFile(path, stream), _CHUNK)


def _too_large(path: Path) -> BadFile:
    limit = f"{UNPACKED_AT_MOST / (1 << 30):g} GiB"
    return BadFile(f"{path} unpacks to more than {limit}, far more than FER2013; it was not read on")


class _ProgressFile(io.FileIO):
    """A file on disk that reports how many bytes were read, of it and of those before it."""

    def __init__(self, path: Path, report: ProgressCallback, before: int, total: int) -> None:
        super().__init__(path)
        self._report, self._done, self._total = report, before, total

    def readinto(self, buffer: Any) -> int | None:
        number = super().readinto(buffer)
        self._done = min(self._done + (number or 0), self._total)  # a .zip's index is read twice
        self._report(self._done, self._total)
        return number


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn the dozen errors that the disk, zipfile, tarfile, gzip and lzma raise into `BadFile`."""
    try:
        yield
    except BadFile:
        raise
    except FileNotFoundError as error:
        raise BadFile(f"there is no file or folder {error.filename or path}") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BadFile(f"{error.filename or path} cannot be read: {error.strerror}") from None
        raise BadFile(f"{path}: the archive is damaged or cut short: {one_line(error)}") from None
