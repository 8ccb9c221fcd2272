"""Decode image files to gray levels: one decoder for training images, test sets and images to score."""

import io
from collections.abc import Iterable
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ferops.data.readers.faces import BadImage
from ferops.labels import SIDE

Picture = NDArray[np.uint8]

_STARTS: Final = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "TIFF": (b"II*\x00", b"MM\x00*"),
    "GIF": (b"GIF8",),
}
IMAGE_STARTS: Final = tuple(start for starts in _STARTS.values() for start in starts)
"""First bytes of a JPEG, PNG, TIFF or GIF."""

_LARGEST_FILE: Final = 16 << 20
_LARGEST_SIDE: Final = 4096


class Decoded(NamedTuple):
    """A decoded image.

    Fields:
        pixels: gray levels, uint8 (H, W).
        size: width and height of the image in the file, in pixels.
        is_gray: whether the file has 8-bit gray levels.
    """

    pixels: Picture
    size: tuple[int, int]
    is_gray: bool


def read_bounded(stream: io.BufferedIOBase, where: str) -> bytes:
    """Read an image file of at most 16 MiB; `where` names it in the error.

    Raises:
        BadImage: it is larger.
    """
    content = stream.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise BadImage(where, f"a file of more than {_LARGEST_FILE >> 20} MiB")
    return content


def decode(where: str, content: bytes, formats: tuple[str, ...] = ("JPEG", "PNG")) -> Decoded:
    """Decode an image to gray levels; a camera's orientation flag is ignored.

    Thread-safe. Pillow may warn of an image that is refused here: silence it in the caller, which owns the threads.

    Args:
        where: names the image in errors.
        content: the file's bytes.
        formats: those that are read, as Pillow names them.

    Raises:
        BadImage: no image of these formats, damaged, too large, or of fractions; the size is checked before decoding.
    """
    is_image = any(content.startswith(_STARTS.get(name, ())) for name in formats)
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:  # reads the header alone
            is_image, size, is_gray = True, image.size, image.mode == "L"
            if max(size) > _LARGEST_SIDE:
                found = f"an image of {size[0]:,} x {size[1]:,} pixels, more than {_LARGEST_SIDE:,} a side"
                raise BadImage(where, found, formats)
            if image.mode == "F":
                raise BadImage(where, "an image of fractions, not of whole gray levels or colours", formats)
            pixels = _jpeg(content) if image.format == "JPEG" else _gray_levels(image)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(where, "an image of hundreds of millions of pixels", formats) from None
    except Exception:  # Pillow raises half a dozen kinds on bad bytes
        pixels = None
    if pixels is None:
        no_image = f"no image that is read here ({', '.join(formats)})"
        raise BadImage(where, "an image damaged or cut short" if is_image else no_image, formats)
    return Decoded(pixels, size, is_gray)


def decode_face(where: str, content: bytes, formats: tuple[str, ...] = ("JPEG", "PNG")) -> Decoded:
    """Decode an image as `decode` does, and resize it to FER2013's 48 x 48."""
    decoded = decode(where, content, formats)
    return decoded._replace(pixels=resize(decoded.pixels))


def decode_faces(batch: Iterable[tuple[str, bytes]]) -> list[Decoded]:
    """Decode training images, each given by its name in errors and its content, as `decode_face` does."""
    return [decode_face(*image) for image in batch]


def resize(pixels: Picture) -> Picture:
    """Resize an image, uint8 (H, W), to uint8 (48, 48); it is stretched where it is not square."""
    if pixels.shape == (SIDE, SIDE):
        return pixels
    shrinks = max(pixels.shape) > SIDE
    resized = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def _jpeg(content: bytes) -> Picture | None:
    # four times as fast as Pillow, and without the interpreter's lock
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def _gray_levels(image: Image.Image) -> Picture:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        return (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
    return np.asarray(image.convert("L"))
