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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NoReturn, TypeAlias

from ferops.data.readers.faces import BadFile, one_line, printable, shown

Stream: TypeAlias = "io.BufferedReader[Any]"

ProgressCallback = Callable[[int, int], None]
"""Called with (bytes read from disk, size on disk in bytes)."""

UNPACKED_AT_MOST: Final = 2 << 30
"""Bytes that an archive may unpack to, seven times the largest known copy; a larger one is taken for a zip bomb."""

_CHUNK: Final = 1 << 18
_JUNK: Final = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Member:
    """A file of a copy.

    Attributes:
        name: its path inside the archive or folder, with `/`; the file's own name where it is not packed.
        where: its name in messages.
        stream: its bytes; read them before the next member is fetched.
    """

    name: str
    where: str
    stream: Stream


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
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadFile(_unreadable(path, error)) from None
    if stat.S_ISDIR(mode):
        yield from _folder(path, report)
    elif stat.S_ISREG(mode):
        with _opened(path, report) as raw:
            yield from _file(path, raw)
        size = path.stat().st_size
        report(size, size)
    else:
        raise BadFile(f"{path} is neither a file nor a folder")


def _folder(path: Path, report: ProgressCallback) -> Iterator[Member]:
    def refuse(error: OSError) -> NoReturn:
        raise BadFile(_unreadable(Path(error.filename), error)) from None

    files = []
    for folder, folders, names in os.walk(path, onerror=refuse):
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        files += [Path(folder, name) for name in sorted(names) if not _is_junk(name)]
    try:
        sizes = [file.stat().st_size for file in files]
    except OSError as error:
        refuse(error)
    done, total = 0, sum(sizes)
    for file, size in zip(files, sizes, strict=True):
        if not file.is_file():  # opening a pipe would wait for ever
            raise BadFile(f"{file} is neither a file nor a folder")
        with _opened(file, lambda _done, _total: None) as stream:
            yield Member(file.relative_to(path).as_posix(), printable(str(file)), stream)
        done += size
        report(done, total)


def _file(path: Path, raw: Stream) -> Iterator[Member]:
    """Iterate over the members of an archive, or return the bare file as the only one."""
    start = raw.peek(6)
    if start.startswith(b"PK"):
        yield from _zip(path, raw)
        return
    unpacked = raw
    if start.startswith(b"\x1f\x8b"):
        unpacked = _bounded(path, gzip.GzipFile(fileobj=raw))
    elif start.startswith(b"\xfd7zXZ\x00"):
        unpacked = _bounded(path, lzma.LZMAFile(raw))  # noqa: SIM115  # closed with the file below it
    if unpacked.peek(512)[257:].startswith(b"ustar"):
        yield from _tar(path, unpacked)
    else:
        yield Member(path.name, str(path), unpacked)


def _zip(path: Path, raw: Stream) -> Iterator[Member]:
    left = _Budget(UNPACKED_AT_MOST)
    with _library(path):
        archive = zipfile.ZipFile(raw)
    for info in archive.infolist():
        _refuse_outside(path, info.filename)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise BadFile(f"{path}: {shown(info.filename)} is a link; expected regular files only")
        if info.is_dir() or _is_junk(*PurePosixPath(info.filename).parts):
            continue
        if info.flag_bits & 1:
            raise BadFile(f"{path}: {shown(info.filename)} is encrypted; unpack it with its password first")
        with _library(path):
            stream = archive.open(info)
        yield Member(info.filename, f"{path}: {printable(info.filename)}", _bounded(path, stream, left))


def _tar(path: Path, unpacked: Stream) -> Iterator[Member]:
    # a stream, not a seek: the archive may be compressed, and is read once
    left = _Budget(UNPACKED_AT_MOST)
    with _library(path):
        archive = tarfile.open(fileobj=unpacked, mode="r|")  # noqa: SIM115  # closed with the file below it
    while True:
        with _library(path):
            info = archive.next()
        if info is None:
            return
        _refuse_outside(path, info.name)
        if info.isdir() or _is_junk(*PurePosixPath(info.name).parts):
            continue
        if not info.isreg() or info.issparse():
            kind = "a link" if info.islnk() or info.issym() else "no regular file"
            raise BadFile(f"{path}: {shown(info.name)} is {kind}; expected regular files only")
        with _library(path):
            stream = archive.extractfile(info)
        if stream is not None:
            yield Member(info.name, f"{path}: {printable(info.name)}", _bounded(path, stream, left))


def _refuse_outside(path: Path, name: str) -> None:
    """Refuse a path outside of the archive: nothing is written to disk, but such an archive is no data set."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or parts[0].endswith(":"):
        raise BadFile(f"{path}: {shown(name)} points outside of the archive; get the data from another source")


def _is_junk(*parts: str) -> bool:
    return any(part in _JUNK or (part.startswith(".") and part != ".") for part in parts)


@dataclass
class _Budget:
    """Bytes that may still be unpacked from an archive, shared by its members."""

    left: int


class _BoundedStream(io.RawIOBase):
    """An unpacked stream of bounded size, whose errors are `BadFile`."""

    def __init__(self, path: Path, stream: IO[bytes] | io.BufferedIOBase, budget: _Budget) -> None:
        super().__init__()
        self._path, self._stream, self._budget = path, stream, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _library(self._path):
            found = self._stream.read(len(buffer))
        self._budget.left -= len(found)
        if self._budget.left < 0:
            raise BadFile(
                f"{self._path} unpacks to more than {UNPACKED_AT_MOST / (1 << 30):g} GiB, far more than FER2013; "
                "it was not read on"
            )
        buffer[: len(found)] = found
        return len(found)


def _bounded(path: Path, stream: IO[bytes] | io.BufferedIOBase, budget: _Budget | None = None) -> Stream:
    return io.BufferedReader(_BoundedStream(path, stream, budget or _Budget(UNPACKED_AT_MOST)), _CHUNK)


class _ProgressFile(io.FileIO):
    """A file on disk that reports how many bytes were read."""

    def __init__(self, path: Path, report: ProgressCallback) -> None:
        super().__init__(path)
        self._report, self._done, self._size = report, 0, os.fstat(self.fileno()).st_size

    def readinto(self, buffer: Any) -> int | None:
        number = super().readinto(buffer)
        self._done = min(self._done + (number or 0), self._size)  # a .zip's index is read twice
        self._report(self._done, self._size)
        return number


@contextmanager
def _opened(path: Path, report: ProgressCallback) -> Iterator[Stream]:
    try:
        raw = _ProgressFile(path, report)
    except OSError as error:
        raise BadFile(_unreadable(path, error)) from None
    with io.BufferedReader(raw, _CHUNK) as stream:
        yield stream


@contextmanager
def _library(path: Path) -> Iterator[None]:
    """Turn the dozen errors that zipfile, tarfile, gzip and lzma raise on bad bytes into `BadFile`."""
    try:
        yield
    except BadFile:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BadFile(_unreadable(path, error)) from None
        raise BadFile(f"{path}: the archive is damaged or cut short: {one_line(error)}") from None


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file or folder {path}"
    return f"{path} cannot be read: {error.strerror or one_line(error)}"
