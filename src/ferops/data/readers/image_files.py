"""Images of faces as they come: a folder of files of any size, colour and depth."""

import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ferops.data.readers.faces import BadImage, printable
from ferops.data.readers.image_folders import _decode, grey  # as the training images are read, to the pixel
from ferops.errors import FeropsError

_DECODED: Final = ("JPEG", "PNG")  # what that decoder takes; others become PNG first
_FORMATS: Final = (*_DECODED, "BMP", "WEBP", "TIFF", "GIF", "PPM")
_LARGEST_FILE: Final = 16 << 20
_LARGEST_SIDE: Final = 4096


class NoImages(FeropsError):
    """There is no such folder, it cannot be read, or no file is in it."""


class _Refused(Exception):
    """Why a file is not read."""


class Face(NamedTuple):
    """An image that could be read.

    Fields:
        path: below the folder, with `/`, as it can be printed.
        digest: SHA-256 of the file's bytes in hexadecimal.
        width, height: of the image in the file, in pixels.
        pixels: uint8 (48, 48), grey levels.
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
    """Every file in a folder and below it, sorted; hidden ones are passed over.

    Raises:
        NoImages: naming what is wrong with the folder.
    """
    if not folder.is_dir():
        raise NoImages(f"{folder} is {'no folder' if folder.exists() else 'not there'}; expected a folder of images")

    def refuse(error: OSError) -> NoReturn:
        raise NoImages(f"{error.filename} cannot be read: {error.strerror}") from None

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    if not found:
        raise NoImages(f"{folder} has no file in it; expected images of faces")
    return found


def digests(files: Sequence[Path]) -> list[str | None]:
    """SHA-256 of each file's bytes in hexadecimal; None where they cannot be had: `read` says why."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_digest, files))


def read(files: Sequence[Path], folder: Path) -> tuple[list[Face], list[UnreadableFile]]:
    """Read images on every core: JPEG, PNG, BMP, WebP, TIFF, GIF (its first picture), PBM, PGM and PPM.

    Each becomes grey, 48 x 48: stretched where it is not square, not turned by a camera's orientation flag.

    Args:
        files: of those that `find` gave.
        folder: that it looked in.

    Returns:
        Those that could be read and those that could not, each in the order given.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused with a reason of our own
        done = list(pool.map(lambda path: _read(path, folder), files))
    return [one for one in done if isinstance(one, Face)], [one for one in done if isinstance(one, UnreadableFile)]


def _digest(path: Path) -> str | None:
    try:
        return sha256(_content(path)).hexdigest()
    except (_Refused, OSError):
        return None


def _read(path: Path, folder: Path) -> Face | UnreadableFile:
    name = printable(path.relative_to(folder).as_posix())
    try:
        content = _content(path)
        width, height, decodable = _opened(content)
        return Face(name, sha256(content).hexdigest(), width, height, _decode(name, decodable).pixels)
    except BadImage:
        return UnreadableFile(name, "an image damaged or cut short")
    except _Refused as refused:
        return UnreadableFile(name, str(refused))
    except OSError as error:
        return UnreadableFile(name, error.strerror or "cannot be read")


def _content(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for ever
        raise _Refused("no regular file")
    with path.open("rb") as stream:
        content = stream.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise _Refused(f"a file of more than {_LARGEST_FILE >> 20} MiB")
    return content


def _opened(content: bytes) -> tuple[int, int, bytes]:
    """Width and height of an image by its header, and the bytes that the decoder of the training images takes."""
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if max(width, height) > _LARGEST_SIDE:
                raise _Refused(f"an image of {width:,} x {height:,} pixels; at most {_LARGEST_SIDE:,} a side")
            if image.mode == "F":
                raise _Refused("an image of fractions; expected whole grey levels or colours")
            if image.format in _DECODED:
                return width, height, content
            return width, height, cv2.imencode(".png", _whole(image))[1].tobytes()
    except Image.DecompressionBombError:
        raise _Refused("an image of hundreds of millions of pixels") from None
    except _Refused:
        raise
    except Exception:  # Pillow raises half a dozen kinds on bad bytes
        raise _Refused(f"no image that is read here ({', '.join(_FORMATS)})") from None


def _whole(image: Image.Image) -> NDArray[np.uint8]:
    try:
        return grey(image)
    except Exception:
        raise _Refused("an image damaged or cut short") from None
