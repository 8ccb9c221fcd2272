"""The files inside a folder, a .zip, .tar, .gz or .xz, as streams: told by content, nothing unpacked to disk."""

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

Progress = Callable[[int, int], None]
"""Called with (bytes read of the copy as it lies on disk, its size in bytes)."""

UNPACKED_AT_MOST: Final = 2 << 30
"""Bytes that an archive may unpack to, seven times the largest known copy: what unpacks to more is a bomb."""

_CHUNK: Final = 1 << 18
_TAR_MAGIC: Final = (257, b"ustar")
_JUNK: Final = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Member:
    """A file of a copy.

    Attributes:
        name: its path inside the archive or folder, with `/`; the file's own name where it is not packed.
        where: how messages name it.
        stream: its bytes, to be read before the next member is asked for.
    """

    name: str
    where: str
    stream: Stream


def members(path: Path, progress: Progress | None = None) -> Iterator[Member]:
    """Every regular file of a copy; hidden files and what macOS and Windows leave behind are passed over.

    Args:
        path: a folder, or a file: an archive or one bare file.
        progress: called as the bytes on disk are read, and at the end.

    Raises:
        BadFile: missing, unreadable, encrypted, damaged, cut short, too large when unpacked, or an archive with a link
            or with a member that points outside.
    """
    tell = progress or (lambda done, total: None)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadFile(_unreadable(path, error)) from None
    if stat.S_ISDIR(mode):
        yield from _folder(path, tell)
    elif stat.S_ISREG(mode):
        with _opened(path, tell) as raw:
            yield from _file(path, raw)
        size = path.stat().st_size
        tell(size, size)
    else:
        raise BadFile(f"{path} is neither a file nor a folder")


def _folder(path: Path, tell: Progress) -> Iterator[Member]:
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
        tell(done, total)


def _file(path: Path, raw: Stream) -> Iterator[Member]:
    """The members of an archive, or the bare file itself."""
    start = raw.peek(6)
    if start.startswith(b"PK"):
        yield from _zip(path, raw)
        return
    unpacked = raw
    if start.startswith(b"\x1f\x8b"):
        unpacked = _bounded(path, gzip.GzipFile(fileobj=raw))
    elif start.startswith(b"\xfd7zXZ\x00"):
        unpacked = _bounded(path, lzma.LZMAFile(raw))  # noqa: SIM115  # closed with the file below it
    offset, magic = _TAR_MAGIC
    if unpacked.peek(512)[offset:].startswith(magic):
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
    """No member is ever written anywhere, yet an archive that points outside is not a data set."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or parts[0].endswith(":"):
        raise BadFile(f"{path}: {shown(name)} points outside of the archive; get the data from another place")


def _is_junk(*parts: str) -> bool:
    return any(part in _JUNK or (part.startswith(".") and part != ".") for part in parts)


@dataclass
class _Budget:
    """Bytes that may still be unpacked from one archive."""

    left: int


class _BoundedStream(io.RawIOBase):
    """What a library unpacks: its failures named, its size bounded."""

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
    """A file on disk that tells how far it was read."""

    def __init__(self, path: Path, tell: Progress) -> None:
        super().__init__(path)
        self._tell, self._done, self._size = tell, 0, os.fstat(self.fileno()).st_size

    def readinto(self, buffer: Any) -> int | None:
        number = super().readinto(buffer)
        self._done = min(self._done + (number or 0), self._size)  # a .zip's index is read besides
        self._tell(self._done, self._size)
        return number


@contextmanager
def _opened(path: Path, tell: Progress) -> Iterator[Stream]:
    try:
        raw = _ProgressFile(path, tell)
    except OSError as error:
        raise BadFile(_unreadable(path, error)) from None
    with io.BufferedReader(raw, _CHUNK) as stream:
        yield stream


@contextmanager
def _library(path: Path) -> Iterator[None]:
    """What zipfile, tarfile, gzip and lzma raise on bad bytes, a dozen kinds, is one kind here."""
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
