"""Images in folders named by their class, below folders named by a split or not."""

import json
import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import IO, Final, NamedTuple

from ferops.data.on_disk import mapped
from ferops.data.readers.archives import Member
from ferops.data.readers.classes import SKIPPED, Classes, is_number, labelled, usage
from ferops.data.readers.decoding import IMAGE_START, Decoded, decode_faces
from ferops.data.readers.faces import FaceDataset, UnknownLayout
from ferops.labels import MERGED, NAMES, SIDE, UNSPLIT, USAGES

_BATCH: Final = 64
"""Images that a thread decodes at once."""

_WAITING: Final = 2 * (os.cpu_count() or 1)
"""Batches that are read and not yet decoded, at most: a bound on the memory."""

_NAMED_NUMBER: Final = re.compile(
    r"(?P<number>\d{1,9})[\W_]+(?P<name>[^\d\W].*)|(?P<name2>[^\d\W].*?)[\W_]+(?P<number2>\d{1,9})"
)
_LABEL_FILE: Final = re.compile(r"(labels?|class(es|_names|_indices)?|label_map)\.(txt|json|names)", re.IGNORECASE)
_LONGEST_LABEL_FILE: Final = 1 << 16
_EXPECTED: Final = "expected images as train/EXPRESSION/FILE and test/EXPRESSION/FILE, or all as EXPRESSION/FILE"


class Annotation(NamedTuple):
    """What a copy says of an image: its Usage, and the name or number of its class."""

    usage: str
    word: str


def annotation(member: Member, classes: Classes) -> Annotation | None:
    """Return what the path of an image says of it, or None where it is no image of a class folder.

    A name that begins with `Training_`, `PublicTest_` or `PrivateTest_` tells the Usage, as in Kaggle's own images.

    Raises:
        UnknownLayout: an image deeper or higher than the classes, or a name that contradicts its folder.
    """
    *folders, file = PurePosixPath(member.name).parts
    depths = [depth for depth, folder in enumerate(folders) if usage(folder)]
    split, below = (folders[depths[-1]], folders[depths[-1] + 1 :]) if depths else ("", folders)
    named = [folder for folder in below if classes.is_class(folder)]
    if split and len(below) == 1:
        word = below[0]
    elif not split and named and named == below[-1:]:
        word = named[0]
    elif not split and below and is_number(below[-1]) and not named and is_image(member):
        word = below[-1]
    elif (split or named) and is_image(member):
        raise UnknownLayout(f"{member.where}: {_EXPECTED}")
    else:
        return None
    of_folder, prefix = usage(split) or UNSPLIT, file.partition("_")[0]
    if prefix not in USAGES:
        return Annotation(of_folder, word)
    if of_folder not in (prefix, UNSPLIT) and (of_folder != MERGED or prefix == "Training"):
        raise UnknownLayout(f"{member.where}: its name says {prefix}, its folder {split}; expected the same of both")
    return Annotation(prefix, word)


def is_image(member: Member) -> bool:
    """Whether a file begins as one of the image formats that are read."""
    return bool(IMAGE_START.match(member.stream.peek(16)))


def label_names(member: Member) -> Mapping[int, str] | Sequence[str]:
    """Read the file that names numbered classes, as labels.txt or class_indices.json: by number, or in their order.

    Returns:
        Nothing for any other file.
    """
    if not _LABEL_FILE.fullmatch(PurePosixPath(member.name).name):
        return ()
    if b"pixel" in member.stream.peek(1 << 12)[: 1 << 12].lower():  # a CSV of faces
        return ()
    text = member.stream.read(_LONGEST_LABEL_FILE).decode("utf-8-sig", "replace")
    lines = [line.strip(" \t,{}[]\"'") for line in text.splitlines()]
    with suppress(ValueError, RecursionError):
        entries = json.loads(text)
        lines = []
        if isinstance(entries, dict):
            lines = [f"{key}={value}" for key, value in entries.items()]
        elif isinstance(entries, list):
            lines = list(map(str, entries))
    lines = [line for line in lines if line]
    pairs = [match.groupdict() for line in lines if (match := _NAMED_NUMBER.fullmatch(line))]
    if not pairs and not any(map(str.isdecimal, "".join(lines))):
        return lines
    named = {int(pair["number"] or pair["number2"]): pair["name"] or pair["name2"] for pair in pairs}
    return named if len(named) == len(lines) else ()


@dataclass
class LabelledImages:
    """Images of class folders and Parquet files, decoded on every core as they are read.

    Attributes:
        classes: how their classes are read.
        pool: of threads.
        file: a temporary one, which gets the pixels.
        known: what the copy says of its numbered classes, see `label_names`.
        source: where the images come from, for people.
        strays: images in no class folder: the name of the folder that they are in, and theirs in messages.
    """

    classes: Classes
    pool: Executor
    file: IO[bytes]
    known: Mapping[int, str] | Sequence[str] = ()
    source: str = "image folders"
    strays: list[tuple[str, str]] = field(default_factory=list)
    _annotations: list[Annotation] = field(default_factory=list)
    _first: dict[str, str] = field(default_factory=dict)
    _unsplit: str = ""
    _batch: list[tuple[str, bytes]] = field(default_factory=list)
    _waiting: deque[Future[list[Decoded]]] = field(default_factory=deque)
    _resized: int = 0
    _recoloured: int = 0

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._annotations)

    def learn(self, known: Mapping[int, str] | Sequence[str], where: str) -> None:
        """Keep what a file says of numbered classes.

        Raises:
            UnknownLayout: another file says otherwise.
        """
        if self.known and self.known != known:
            raise UnknownLayout(f"{where}: names the classes in another way than a file before it; give --labels")
        self.known = known

    def add(self, annotation: Annotation, where: str, content: bytes) -> None:
        """Add an image file; `where` names it in messages.

        Raises:
            BadImage: an earlier image cannot be decoded.
        """
        self._first.setdefault(annotation.word, where)
        if annotation.usage == UNSPLIT:
            self._unsplit = self._unsplit or where
        self._annotations.append(annotation)
        self._batch.append((where, content))
        if len(self._batch) == _BATCH:
            self._waiting.append(self.pool.submit(decode_faces, self._batch))
            self._batch = []
            if len(self._waiting) == _WAITING:
                self._keep(self._waiting.popleft().result())

    def faces(self) -> FaceDataset:
        """Return the faces.

        Raises:
            UnknownLayout: of `Classes.codes`, images with a split and without one, an image in no class folder beside
                images without a split, or only some test images tell their test.
            BadImage: an image cannot be decoded.
        """
        usages, words = zip(*self._annotations, strict=True)
        strays = dict(reversed(self.strays))  # the first of each folder
        if UNSPLIT in usages and ("" in strays or len(set(usages)) > 1):
            raise UnknownLayout(f"{strays.get('', self._unsplit)}: {_EXPECTED}")
        # without a split any folder may be meant as a class
        codes = self.classes.codes(self._first | (strays if UNSPLIT in usages else {}), self.known)
        for batch in (*(future.result() for future in self._waiting), decode_faces(self._batch)):
            self._keep(batch)
        told = "with PublicTest and PrivateTest told apart"
        if UNSPLIT in usages:
            told = "without a split"
        elif MERGED in usages and "PublicTest" not in usages:
            told = "with one test split"
        numbered = [
            f"{word} {NAMES[code]}" for word, code in sorted(codes.items()) if is_number(word) and code != SKIPPED
        ]
        faces = labelled(
            mapped(self.file), words, usages, codes,
            layout=", ".join((f"{self.source} {told}", *numbered)),
            resized=self._resized,
            recoloured=self._recoloured,
            of_images=True,
        )  # fmt: skip
        passed = f"{len(self.strays):,} images in no class folder, the first {self.strays[0][1]}" if strays else ""
        return replace(faces, left_out=(*faces.left_out, *filter(None, [passed])))

    def _keep(self, images: Sequence[Decoded]) -> None:
        self.file.writelines(image.pixels.tobytes() for image in images)
        self._resized += sum(image.size != (SIDE, SIDE) for image in images)
        self._recoloured += sum(not image.is_gray for image in images)
