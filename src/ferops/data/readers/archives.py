"""Stream the files in a folder, .zip, .tar, .gz, .bz2 or .xz, recognised by content; nothing is unpacked to disk."""

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NamedTuple, TypeAlias

from ferops.data.readers.faces import BadFile, one_line, printable, shown
from ferops.errors import FeropsError

Stream: TypeAlias = "io.BufferedReader[Any]"

ProgressCallback = Callable[[int, int], None]
"""Called with (bytes read from disk, size on disk in bytes)."""

UNPACKED_AT_MOST: Final = 2 << 30
"""Bytes that an archive may unpack to, seven times the largest known copy; a larger one is taken for a zip bomb."""

_HELD_AT_MOST: Final = 512 << 20
"""Bytes of a file inside an archive that must be in memory to be read: a .zip, or Parquet."""

_CHUNK: Final = 1 << 18
_PACKED_NAME: Final = re.compile(r"(\.(zip|tar|tgz|gz|bz2|xz|7z|rar|zst))+$", re.IGNORECASE)
_NOT_READ: Final = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x28\xb5\x2f\xfd": "zst"}
"""First bytes of the archives that Python does not read, and what they are called."""

_JUNK: Final = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "icon\r")


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


def members(path: Path, progress: ProgressCallback | None = None, *, nested: bool = False) -> Iterator[Member]:
    """Iterate over the regular files of a copy; hidden files and those that macOS and Windows add are skipped.

    Args:
        path: a folder, or a file: an archive or one bare file.
        progress: called as the bytes on disk are read, and at the end.
        nested: whether archives in the folder or archive are opened too; not those inside these again.

    Raises:
        BadFile: missing, unreadable, encrypted, damaged, cut short, too large when unpacked, of a kind that is not
            read, or an archive with a link or with a path that leads outside it.
    """
    report = progress or (lambda done, total: None)
    with _readable(str(path)):
        is_folder = path.is_dir()
        files = find(path) if is_folder else [path]
        done, total = 0, sum(file.stat().st_size for file in files)
        budget = Budget()
        for file in files:
            if not file.is_file():  # opening a pipe would wait for ever
                raise BadFile(f"{file} is neither a file nor a folder")
            with io.BufferedReader(_ProgressFile(file, report, done, total), _CHUNK) as stream:
                name = file.relative_to(path).as_posix() if is_folder else file.name
                bare = Member(name, printable(str(file)), stream)
                if is_folder and not nested:
                    yield bare
                elif is_folder:
                    yield from _inside(bare, budget)
                else:
                    yield from _members(bare, budget, nested=nested)
            done += file.stat().st_size
            report(done, total)


def seekable(member: Member) -> IO[bytes]:
    """Return a member's bytes as a file in which one can seek: in memory where it is packed.

    Raises:
        BadFile: a packed file of more than 512 MiB.
    """
    if member.stream.seekable():
        return member.stream
    content = member.stream.read(_HELD_AT_MOST + 1)
    if len(content) > _HELD_AT_MOST:
        raise BadFile(f"{member.where}: more than {_HELD_AT_MOST >> 20} MiB inside an archive; unpack it first")
    return io.BytesIO(content)


def find(folder: Path) -> list[Path]:
    """Find every file in a folder and below it, sorted; hidden ones and those that systems add are skipped.

    Raises:
        BadFile: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    seen: set[Path] = set()
    with _readable(str(folder)):
        for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
            real = Path(parent).resolve()
            if real in seen:  # links may lead round in a circle, or to one folder twice
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not _is_junk(name))
            found += [Path(parent, name) for name in sorted(names) if not _is_junk(name)]
    return found


def is_packed(member: Member) -> bool:
    """Whether a file has the name of an archive."""
    return _PACKED_NAME.search(member.name) is not None


def _inside(packed: Member, budget: "Budget") -> Iterator[Member]:
    """Iterate over the members of an archive in a copy as over a folder of its name: train.zip is train/."""
    if not is_packed(packed):
        yield packed
        return
    name = _PACKED_NAME.sub("", packed.name)
    for member in _members(packed, budget):
        yield member if member.name == name else member._replace(name=f"{name}/{member.name}")


def _members(packed: Member, budget: "Budget", *, nested: bool = False) -> Iterator[Member]:
    """Iterate over the members of an archive, or return the bare file as the only one."""
    where, raw = packed.where, packed.stream
    start = raw.peek(6)
    unpacked = raw
    if kind := next((kind for magic, kind in _NOT_READ.items() if start.startswith(magic)), None):
        raise BadFile(f"{where}: .{kind} archives are not read; unpack it, and name the folder")
    if start.startswith(b"\x1f\x8b"):
        unpacked = _unpacked(where, gzip.GzipFile(fileobj=raw), budget)
    elif start.startswith(b"BZh"):
        unpacked = _unpacked(where, bz2.BZ2File(raw), budget)
    elif start.startswith(b"\xfd7zXZ\x00"):
        unpacked = _unpacked(where, lzma.LZMAFile(raw), budget)  # noqa: SIM115  # closed with the file below it
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        entries = _zip_entries(where, seekable(packed), budget)
    elif unpacked.peek(512)[257:].startswith(b"ustar"):
        entries = _tar_entries(_unpacked(where, unpacked))
    else:
        yield Member(_PACKED_NAME.sub("", packed.name), where, unpacked)
        return
    for name, is_folder, fault, opened in entries:
        # nothing is written to disk, but an archive with a path outside of it is no data set
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] == "/" or parts[0].endswith(":"):
            raise BadFile(f"{where}: {shown(name)} points outside of the archive; get the data from another source")
        if is_folder or _is_junk(*parts):
            continue
        if fault:
            raise BadFile(f"{where}: {shown(name)} {fault}")
        member = Member(name, f"{where}: {printable(name)}", _unpacked(where, opened()))
        if nested:
            yield from _inside(member, budget)
        else:
            yield member


def _zip_entries(where: str, file: IO[bytes], budget: "Budget") -> Iterator[_Entry]:
    with _readable(where):
        archive = zipfile.ZipFile(file)
    # zipfile reads no more of a member than the index says
    budget.spend(where, sum(info.file_size for info in archive.infolist()))
    for info in archive.infolist():
        fault = "is encrypted; unpack it with its password first" if info.flag_bits & 1 else ""
        if stat.S_ISLNK(info.external_attr >> 16):
            fault = "is a link; expected regular files only"
        name = info.filename.replace("\\", "/")  # as Windows' own packer writes it
        yield name, name.endswith("/"), fault, partial(archive.open, info)


def _tar_entries(unpacked: Stream) -> Iterator[_Entry]:
    # a stream, not a seek: the archive may be compressed, and is read once
    archive = tarfile.open(fileobj=unpacked, mode="r|")  # noqa: SIM115  # closed with the file below it
    for info in archive:
        fault = "" if info.isreg() and not info.issparse() else "is no regular file; expected regular files only"
        if info.islnk() or info.issym():
            fault = "is a link; expected regular files only"
        yield info.name, info.isdir(), fault, partial(archive.extractfile, info)


def _is_junk(*parts: str) -> bool:
    return any(part.lower() in _JUNK or (part.startswith(".") and part != ".") for part in parts)


class Budget:
    """Bytes that a copy may unpack to, over all of its archives: `UNPACKED_AT_MOST`."""

    def __init__(self) -> None:
        self._left = UNPACKED_AT_MOST

    def spend(self, where: str, number: int) -> None:
        """Count bytes; `where` names the archive in the error.

        Raises:
            BadFile: there are more than the copy may have.
        """
        self._left -= number
        if self._left < 0:
            limit = f"{UNPACKED_AT_MOST / (1 << 30):g} GiB"
            raise BadFile(f"{where} unpacks to more than {limit}, far more than FER2013; it was not read on")


class _UnpackedFile(io.RawIOBase):
    """An unpacked file of bounded size, whose errors are `BadFile`."""

    def __init__(self, where: str, stream: IO[bytes] | io.BufferedIOBase, budget: Budget) -> None:
        super().__init__()
        self._where, self._stream, self._budget = where, stream, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _readable(self._where):
            found = self._stream.read(len(buffer))
        self._budget.spend(self._where, len(found))
        buffer[: len(found)] = found
        return len(found)


def _unpacked(where: str, stream: IO[bytes] | io.BufferedIOBase, budget: Budget | None = None) -> Stream:
    """Wrap a stream; what is counted already, as the members of a .tar are, has a budget of its own."""
    return io.BufferedReader(_UnpackedFile(where, stream, budget or Budget()), _CHUNK)


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
def _readable(where: str) -> Iterator[None]:
    """Turn the dozen errors that the disk, zipfile, tarfile, gzip, bz2 and lzma raise into `BadFile`."""
    try:
        yield
    except FeropsError:
        raise
    except FileNotFoundError as error:
        raise BadFile(f"there is no file or folder {error.filename or where}") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BadFile(f"{error.filename or where} cannot be read: {error.strerror}") from None
        raise BadFile(f"{where}: the archive is damaged or cut short: {one_line(error)}") from None
