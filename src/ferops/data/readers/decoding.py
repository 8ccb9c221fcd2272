"""Decode image files to gray levels: one decoder for training images, test sets and images to score."""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ferops.data.readers.faces import FORMATS, BadImage
from ferops.labels import SIDE

Picture = NDArray[np.uint8]

IMAGE_START: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM....\0\0\0\0|RIFF....WEBP|II\*\0|MM\0\*|GIF8|P[1-6]\s+[\d#]|....ftyp(?:avi[fs]|hei[cx]|mif1)",
    re.DOTALL,
)
"""First bytes of the formats that are read, and of HEIC."""

_LARGEST_FILE: Final = 16 << 20
_LARGEST_SIDE: Final = 4096
_LARGEST_PHOTOGRAPH: Final = 80_000_000  # pixels
_DEEPEST: Final = (1 << 16) - 1

_DAMAGED: Final = "an image damaged or cut short"
_FRACTIONS: Final = "an image of fractions, not of whole gray levels or colours"


LARGEST_PHOTOGRAPH_FILE: Final = 64 << 20
"""Bytes of a file that `decode_photograph` decodes, at most."""


class Decoded(NamedTuple):
    """A decoded image.

    Fields:
        pixels: gray levels, uint8 (H, W).
        size: width and height of the image, upright, in pixels.
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


def decode(where: str, content: bytes) -> Decoded:
    """Decode an image to gray levels, upright as its EXIF orientation says; of an animation the first frame.

    Colours become luma, 16 bits their upper eight; an alpha channel is left out.

    Thread-safe. Pillow may warn of an image that is refused here: silence it in the caller, which owns the threads.

    Args:
        where: names the image in errors.
        content: the file's bytes.

    Raises:
        BadImage: no image of `FORMATS`, damaged, too large, or of fractions; the size is checked before decoding.
    """
    with _opened(where, content) as image:
        width, height = image.size
        if max(width, height) > _LARGEST_SIDE:
            raise BadImage(where, f"an image of {width:,} x {height:,} pixels, more than {_LARGEST_SIDE:,} a side")
        by_opencv = _is_plain_jpeg(image)
        pixels = _jpeg(content, cv2.IMREAD_GRAYSCALE) if by_opencv else _gray_levels(image)
        return Decoded(pixels, pixels.shape[::-1], image.mode == "L")


def decode_photograph(where: str, content: bytes) -> Picture:
    """Decode an image of any shape to colours, RGB uint8 (H, W, 3), upright; otherwise as `decode`.

    Args:
        where: names the image in errors.
        content: the file's bytes.

    Raises:
        BadImage: as `decode`; too large is one of more than 64 MiB or 80 million pixels.
    """
    if len(content) > LARGEST_PHOTOGRAPH_FILE:
        raise BadImage(where, f"a file of more than {LARGEST_PHOTOGRAPH_FILE >> 20} MiB")
    with _opened(where, content) as image:
        width, height = image.size
        if width * height > _LARGEST_PHOTOGRAPH:
            limit = f"{_LARGEST_PHOTOGRAPH // 1_000_000} million"
            raise BadImage(where, f"an image of {width:,} x {height:,} pixels, more than {limit}")
        return _jpeg(content, cv2.IMREAD_COLOR_RGB) if _is_plain_jpeg(image) else _colours(image)


def from_pillow(where: str, image: Image.Image) -> Picture:
    """Return the pixels of Pillow's image, which stays as it is; as `decode_photograph` otherwise."""
    if image.mode == "F":
        raise BadImage(where, _FRACTIONS)
    try:
        return _colours(ImageOps.exif_transpose(image))  # a copy
    except Exception:  # its file is read now
        raise BadImage(where, _DAMAGED) from None


def decode_face(where: str, content: bytes) -> Decoded:
    """Decode an image as `decode` does, and resize it to FER2013's 48 x 48."""
    decoded = decode(where, content)
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


def _colours(image: Image.Image) -> Picture:
    if image.mode.startswith("I"):
        return np.asarray(cv2.cvtColor(_gray_levels(image), cv2.COLOR_GRAY2RGB), np.uint8)
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image.convert("RGB"), np.uint8)


@contextmanager
def _opened(where: str, content: bytes) -> Iterator[Image.Image]:
    """Open an image whose header alone is read, and turn what its pixels raise in the block into `BadImage`."""
    is_image = bool(IMAGE_START.match(content))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            is_image = True
            if image.mode == "F":
                raise BadImage(where, _FRACTIONS)
            yield image
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(where, "an image of hundreds of millions of pixels") from None
    except Exception:  # Pillow raises half a dozen kinds on bad bytes
        found = _DAMAGED if is_image else "no image that is read here"
        found = "a HEIC image, which is not read" if content[8:11] in (b"hei", b"mif") else found
        raise BadImage(where, found) from None


def _is_plain_jpeg(image: Image.Image) -> bool:
    return image.format == "JPEG" and image.mode in ("L", "RGB")  # OpenCV takes CMYK for its negative


def _jpeg(content: bytes, mode: int) -> Picture:
    # four times as fast as Pillow, and without the interpreter's lock
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
    if pixels is None:
        raise ValueError("damaged")
    return np.asarray(pixels, np.uint8)


def _gray_levels(image: Image.Image) -> Picture:
    ImageOps.exif_transpose(image, in_place=True)  # without a copy
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > _DEEPEST:
            raise ValueError("32 bits of unknown range")
        return np.asarray(levels >> 8, np.uint8)
    return np.asarray(image if image.mode == "L" else image.convert("L"))
