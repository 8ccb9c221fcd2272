"""Image folders: SPLIT/EXPRESSION/FILE, the layout of most copies of FER2013."""

import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import numpy as np

from ferops.data.readers.archives import Member
from ferops.data.readers.decoding import IMAGE_STARTS, Decoded, decode_face, read_bounded
from ferops.data.readers.faces import FaceDataset, UnknownLayout, shown
from ferops.labels import EXPRESSIONS, MERGED, NAMES, SIDE, USAGES

_SPLIT_FOLDERS: Final = {
    **dict.fromkeys(("train", "training"), "Training"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "PublicTest"),
    **dict.fromkeys(("test", "testing"), MERGED),
    "privatetest": "PrivateTest",
}
_BATCH: Final = 64
_WORKERS: Final = os.cpu_count() or 1


class Annotation(NamedTuple):
    """What an image's path says of it: its Usage and the code of its expression."""

    usage: str
    code: int


def annotation(member: Member) -> Annotation | None:
    """Return Usage and label of an image by its path, or None where it is no image of a class folder.

    A name that begins with `Training_`, `PublicTest_` or `PrivateTest_` tells the Usage, as in Kaggle's own images.

    Raises:
        UnknownLayout: no such expression, an image at another depth, or a name that contradicts its folder.
    """
    *folders, file = PurePosixPath(member.name).parts
    depths = [depth for depth, folder in enumerate(folders) if folder.lower() in _SPLIT_FOLDERS]
    split, below = (folders[depths[-1]], folders[depths[-1] + 1 :]) if depths else ("", folders)
    if not split or len(below) != 1:
        is_lost = split or any(folder.lower() in EXPRESSIONS for folder in below)
        if is_lost and member.stream.peek(8).startswith(IMAGE_STARTS):
            raise UnknownLayout(f"{member.where}: expected images as train/EXPRESSION/FILE and test/EXPRESSION/FILE")
        return None
    expression = below[0].lower()
    if expression not in EXPRESSIONS:
        raise UnknownLayout(
            f"{member.where}: unknown expression {shown(below[0])}; expected folders {', '.join(NAMES)}"
        )
    usage, prefix = _SPLIT_FOLDERS[split.lower()], file.partition("_")[0]
    if prefix not in USAGES or prefix == usage:
        return Annotation(usage, EXPRESSIONS[expression])
    if usage == MERGED and prefix != "Training":
        return Annotation(prefix, EXPRESSIONS[expression])
    raise UnknownLayout(f"{member.where}: its name says {prefix}, its folder {split}; expected the same of both")


@contextmanager
def decoder() -> Iterator["Decoder"]:
    """Decode images on every core while the next ones are read; what is not decoded when the block ends is dropped."""
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(_WORKERS) as pool:
        try:
            yield Decoder(pool)
        finally:
            pool.shutdown(cancel_futures=True)


class Decoder:
    """The images of a copy, decoded in batches by a pool of threads."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Start with no image."""
        self._pool = pool
        self._annotations: list[Annotation] = []
        self._waiting: list[tuple[str, bytes]] = []
        self._running: deque[Future[list[Decoded]]] = deque()
        self._done: list[Decoded] = []

    def __len__(self) -> int:
        """Return the number of images added so far."""
        return len(self._annotations)

    def add(self, member: Member, annotation: Annotation) -> None:
        """Add an image.

        Raises:
            BadImage: this one or one before it is no image.
        """
        self._waiting.append((member.where, read_bounded(member.stream, member.where)))
        self._annotations.append(annotation)
        if len(self._waiting) == _BATCH:
            self._send()

    def faces(self) -> FaceDataset:
        """Return every image added, in order.

        Raises:
            BadImage: one is no image.
            UnknownLayout: some test images tell by a prefix which test they belong to, and some do not.
        """
        self._send()
        while self._running:
            self._done += self._running.popleft().result()
        usages = [annotation.usage for annotation in self._annotations]
        tests = {usage for usage in usages if usage != "Training"}
        if MERGED in tests and tests != {MERGED}:
            if "PrivateTest" in tests:
                raise UnknownLayout(
                    "some test images begin with PublicTest_ or PrivateTest_ and some do not; expected all or none"
                )
            usages = ["PrivateTest" if usage == MERGED else usage for usage in usages]
            tests = {"PublicTest", "PrivateTest"}
        told = "without PublicTest_/PrivateTest_" if MERGED in tests else "with PublicTest and PrivateTest told apart"
        return FaceDataset(
            images=np.stack([image.pixels for image in self._done]),
            labels=np.array([annotation.code for annotation in self._annotations], np.int64),
            usages=np.array(usages, np.str_),
            layout=f"image folders {told}",
            resized=sum(image.size != (SIDE, SIDE) for image in self._done),
            recoloured=sum(not image.is_gray for image in self._done),
        )

    def _send(self) -> None:
        if self._waiting:
            batch, self._waiting = self._waiting, []
            self._running.append(self._pool.submit(lambda: [decode_face(*image) for image in batch]))
        # at most a few batches of undecoded bytes are in memory
        while len(self._running) > 2 * _WORKERS:
            self._done += self._running.popleft().result()
