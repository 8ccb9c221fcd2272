"""Image folders: SPLIT/EXPRESSION/FILE, as most copies of FER2013 are passed on."""

import io
import os
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Final, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ferops.data.readers.archives import Member
from ferops.data.readers.faces import BadImage, Faces, UnknownLayout, shown
from ferops.labels import EXPRESSIONS, MERGED, NAMES, SIDE, USAGES

_SPLIT_FOLDERS: Final = {
    **dict.fromkeys(("train", "training"), "Training"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "PublicTest"),
    **dict.fromkeys(("test", "testing"), MERGED),
    "privatetest": "PrivateTest",
}
_IMAGE_STARTS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_LARGEST_FILE: Final = 16 << 20
_LARGEST_SIDE: Final = 4096
_BATCH: Final = 64


class _Place(NamedTuple):
    """Where an image stands: its Usage and its code."""

    usage: str
    code: int


class _Decoded(NamedTuple):
    """An image as FER2013 has it, uint8 (48, 48), and what had to be changed for that."""

    pixels: NDArray[np.uint8]
    resized: bool
    recoloured: bool


def place(member: Member) -> _Place | None:
    """Usage and label of a member by its path, or None where it is no image of a class folder.

    A name that begins with `Training_`, `PublicTest_` or `PrivateTest_` tells the Usage, as in Kaggle's own images.

    Raises:
        UnknownLayout: no such expression, an image at another depth, or a name that contradicts its folder.
    """
    *folders, file = PurePosixPath(member.name).parts
    depths = [depth for depth, folder in enumerate(folders) if folder.lower() in _SPLIT_FOLDERS]
    split, below = (folders[depths[-1]], folders[depths[-1] + 1 :]) if depths else ("", folders)
    if not split or len(below) != 1:
        is_lost = split or any(folder.lower() in EXPRESSIONS for folder in below)
        if is_lost and member.stream.peek(8).startswith(_IMAGE_STARTS):
            raise UnknownLayout(f"{member.where}: expected images as train/EXPRESSION/FILE and test/EXPRESSION/FILE")
        return None
    expression = below[0].lower()
    if expression not in EXPRESSIONS:
        raise UnknownLayout(
            f"{member.where}: unknown expression {shown(below[0])}; expected folders {', '.join(NAMES)}"
        )
    usage, prefix = _SPLIT_FOLDERS[split.lower()], file.partition("_")[0]
    if prefix not in USAGES or prefix == usage:
        return _Place(usage, EXPRESSIONS[expression])
    if usage == MERGED and prefix != "Training":
        return _Place(prefix, EXPRESSIONS[expression])
    raise UnknownLayout(f"{member.where}: its name says {prefix}, its folder {split}; expected the same of both")


class Decoder:
    """Decodes images on every core while the next ones are read; a context manager."""

    def __init__(self) -> None:
        """Prepare; no thread is started before the first image."""
        self._places: list[_Place] = []
        self._waiting: list[tuple[str, bytes]] = []
        self._running: deque[Future[list[_Decoded]]] = deque()
        self._done: list[_Decoded] = []
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1)
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> Self:
        """Silence Pillow's warning of a large image, which is refused with a message of our own."""
        self._warnings.__enter__()
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads; what waits is given up."""
        self._pool.shutdown(cancel_futures=True)
        self._warnings.__exit__(None, None, None)

    def __len__(self) -> int:
        """Images taken so far."""
        return len(self._places)

    def add(self, member: Member, place: _Place) -> None:
        """Take an image.

        Raises:
            BadImage: this one or one before it is no image.
        """
        content = member.stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise BadImage(member.where, f"a file of more than {_LARGEST_FILE >> 20} MiB")
        self._places.append(place)
        self._waiting.append((member.where, content))
        if len(self._waiting) == _BATCH:
            self._send()

    def faces(self) -> Faces:
        """Every image taken, in order.

        Raises:
            BadImage: one is no image.
            UnknownLayout: some test images tell by a prefix which test they belong to, and some do not.
        """
        self._send()
        while self._running:
            self._done += self._running.popleft().result()
        usages = [place.usage for place in self._places]
        tells = {usage for usage in usages if usage != "Training"}
        if MERGED in tells and tells != {MERGED}:
            if "PrivateTest" in tells:
                raise UnknownLayout(
                    "some test images begin with PublicTest_ or PrivateTest_ and some do not; expected all or none"
                )
            usages = ["PrivateTest" if usage == MERGED else usage for usage in usages]
            tells = {"PublicTest", "PrivateTest"}
        told = "without PublicTest_/PrivateTest_" if MERGED in tells else "with PublicTest and PrivateTest told apart"
        return Faces(
            images=np.stack([image.pixels for image in self._done]),
            labels=np.array([place.code for place in self._places], np.int64),
            usages=np.array(usages, np.str_),
            layout=f"image folders {told}",
            resized=sum(image.resized for image in self._done),
            recoloured=sum(image.recoloured for image in self._done),
        )

    def _send(self) -> None:
        if self._waiting:
            self._running.append(self._pool.submit(_decode_all, self._waiting))
            self._waiting = []
        # the bytes of a few batches at most lie in memory
        while len(self._running) > 2 * (os.cpu_count() or 1):
            self._done += self._running.popleft().result()


def _decode_all(images: Sequence[tuple[str, bytes]]) -> list[_Decoded]:
    return [_decode(where, content) for where, content in images]


def _decode(where: str, content: bytes) -> _Decoded:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:  # reads the header alone
            if max(image.size) > _LARGEST_SIDE:
                raise BadImage(where, f"an image of {image.width:,} x {image.height:,} pixels")
            resized, recoloured = image.size != (SIDE, SIDE), image.mode != "L"
            pixels = _jpeg(content) if image.format == "JPEG" else grey(image)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(where, "an image of hundreds of millions of pixels") from None
    except Exception:  # Pillow raises half a dozen kinds on bad bytes
        pixels = None
    if pixels is None:
        raise BadImage(where, "no image" if not content.startswith(_IMAGE_STARTS) else "an image damaged or cut short")
    if resized:
        shrinks = max(pixels.shape) > SIDE
        pixels = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return _Decoded(np.asarray(pixels, np.uint8), resized, recoloured)


def _jpeg(content: bytes) -> NDArray[np.uint8] | None:
    # four times as fast as Pillow, and without the interpreter's lock
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def grey(image: Image.Image) -> NDArray[np.uint8]:
    """Grey levels of an image, uint8 (H, W), whatever its colours and depth."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        return (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
    return np.asarray(image.convert("L"))
