"""Test sets beside FER2013, CK+ and JAFFE: recognise which it is, and convert its faces to FER2013's form."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.data import crops, prepared
from ferops.data.readers import archives, image_folders
from ferops.data.readers.archives import Member
from ferops.data.readers.classes import SKIPPED, Classes, labelled, left_out
from ferops.data.readers.decoding import Picture, decode, read_bounded
from ferops.data.readers.faces import UnknownLayout, by_content, digests
from ferops.labels import NAMES, SIDE, UNSPLIT


class Kind(NamedTuple):
    """A test set and the form in which it is distributed.

    Fields:
        name: of its folder in data/extra.
        title: its usual name.
        side: height and width of its pictures, in pixels.
        counts: its images of each class, in code order.
    """

    name: str
    title: str
    side: int
    counts: tuple[int, ...]


CKPLUS: Final = Kind("ckplus", "CK+48", SIDE, (135, 177, 75, 207, 84, 249, 0))
"""The last three frames of each of the 327 labelled sequences of CK+ (Lucey et al., 2010), cropped: 981 images."""

JAFFE: Final = Kind("jaffe", "JAFFE", 256, (30, 29, 32, 31, 31, 30, 30))
"""Ten women who posed seven expressions (Lyons, Akamatsu, Kamachi and Gyoba, 1998): 213 images."""

_CK_FOLDERS: Final = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_SUFFIX: Final = r"(?:png|jpe?g|tiff?|bmp|webp|gif|pgm|avif)"
_CK_FILE: Final = re.compile(rf"S\d+_\d+_\d+\.{_SUFFIX}", re.IGNORECASE)
_JAFFE_CODES: Final = dict(zip(("AN", "DI", "FE", "HA", "SA", "SU", "NE"), NAMES, strict=True))
_JAFFE_FILE: Final = re.compile(rf"[A-Z]{{2}}\.({'|'.join(_JAFFE_CODES)})\d*\.\d+\.{_SUFFIX}", re.IGNORECASE)
_EXPECTED: Final = (
    f"CK+48 (folders {', '.join(_CK_FOLDERS)} with files such as S010_004_00000017.png) "
    f"or JAFFE (files such as KA.AN1.39.tiff, with {', '.join(_JAFFE_CODES)})"
)


@dataclass(frozen=True)
class ExtraSet:
    """Every face of a test set, ordered by content.

    Attributes:
        kind: which set it is.
        images: uint8 (N, 48, 48), gray levels, unfiltered.
        labels: int64 (N,), codes 0-6.
        left_out: how many images were left out, and why.
        central: images in which no face was found, so that the central crop was taken.
    """

    kind: Kind
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    left_out: tuple[str, ...]
    central: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the images of each class, in code order."""
        return tuple(np.bincount(self.labels, minlength=len(NAMES)).tolist())


def read(path: Path, classes: Classes) -> ExtraSet:
    """Read CK+48 or JAFFE from a folder or an archive; files that are no images are skipped.

    Args:
        path: a folder or an archive.
        classes: those that are left out, as CK+'s contempt, which FER2013 does not have.

    Raises:
        UnknownLayout: it is neither or both, an image has another name or size than in the set, or a class is none of
            the seven.
        BadFile: missing, damaged, or an unsafe archive.
        BadImage: an image cannot be read.
    """
    pictures: list[Picture] = []
    kinds, stems, words = set(), set(), []
    first: dict[str, str] = {}
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of images that are refused
        for member in archives.members(path):
            file = PurePosixPath(member.name)
            if named := _named(file):
                kind, word = named
                kinds.add(kind)
                words.append(word)
                first.setdefault(word, member.where)
                pictures.append(_pixels(member, kind))
                if file.with_suffix("") in stems:
                    raise UnknownLayout(f"{member.where}: the same image a second time, in another format; remove one")
                stems.add(file.with_suffix(""))
            elif image_folders.is_image(member):
                raise UnknownLayout(f"{member.where}: an image with another name or folder; expected {_EXPECTED}")
    if len(kinds) > 1:
        raise UnknownLayout(f"{path}: holds {' and '.join(sorted(kind.title for kind in kinds))}; name one of them")
    if not words:
        raise UnknownLayout(f"{path}: no image of a test set; expected {_EXPECTED}")
    codes = classes.codes(first)
    if set(codes.values()) <= {SKIPPED}:
        raise UnknownLayout(f"{path}: no image of the seven expressions; expected {_EXPECTED}")
    (kind,) = kinds
    kept = [place for place, word in enumerate(words) if codes[word] != SKIPPED]
    images, central = _faces([pictures[place] for place in kept], kind)
    faces = by_content(labelled(images, [words[place] for place in kept], [UNSPLIT] * len(kept), codes))
    return ExtraSet(kind, faces.images, faces.labels, left_out(words, codes), central)


def save(folder: Path, found: ExtraSet) -> None:
    """Write a test set in the form of data/prepared, every row with the split `test`."""
    manifest = pd.DataFrame({"id": range(len(found.labels)), "split": "test", "label": found.labels})
    report = {"dataset": found.kind.name, "counts": list(found.counts), "left_out": found.left_out}
    manifest["hash"] = digests(found.images)
    prepared.save(folder, found.images, manifest, report | {"central_crops": found.central})


def _named(file: PurePosixPath) -> tuple[Kind, str] | None:
    """Return the test set and the class of an image by the names of the file and its folder; None for another file."""
    if named := _JAFFE_FILE.fullmatch(file.name):
        return JAFFE, _JAFFE_CODES[named[1].upper()]
    folder = file.parent.name.strip().lower()
    return (CKPLUS, folder) if folder in _CK_FOLDERS and _CK_FILE.fullmatch(file.name) else None


def _pixels(member: Member, kind: Kind) -> Picture:
    """Read the gray levels of a picture, uint8 (side, side)."""
    picture = decode(member.where, read_bounded(member.stream, member.where))
    (width, height), side = picture.size, kind.side
    if (width, height) != (side, side):
        raise UnknownLayout(f"{member.where}: {width} x {height} pixels; expected {side} x {side}, as in {kind.title}")
    return picture.pixels


def _faces(pictures: list[Picture], kind: Kind) -> tuple[NDArray[np.uint8], int]:
    """Return the face of each picture, uint8 (N, 48, 48), and in how many of them none was found."""
    if kind == CKPLUS:
        return np.stack(pictures), 0
    cascade = crops.detector()
    boxes = [crops.find(cascade, picture) for picture in pictures]
    faces = [crops.cut(picture, box or crops.central(picture)) for picture, box in zip(pictures, boxes, strict=True)]
    return np.stack(faces), boxes.count(None)
