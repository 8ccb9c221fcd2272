"""Test sets beside FER2013, CK+ and JAFFE: recognise which it is, give its faces as FER2013 has them."""

import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ferops.data import prepared
from ferops.data.readers import archives, crops
from ferops.data.readers.archives import Member
from ferops.data.readers.faces import BadFile, UnknownLayout, by_content, digests
from ferops.data.readers.image_folders import grey
from ferops.labels import EXPRESSIONS, NAMES, SIDE, UNSPLIT


class Kind(NamedTuple):
    """A test set, as it is passed on.

    Fields:
        name: of its folder in data/extra.
        title: what people call it.
        form: of its pictures, as Pillow names it.
        side: height and width of its pictures, in pixels.
        counts: its images of each class, in code order.
    """

    name: str
    title: str
    form: str
    side: int
    counts: tuple[int, ...]


CKPLUS: Final = Kind("ckplus", "CK+48", "PNG", SIDE, (135, 177, 75, 207, 84, 249, 0))
"""The last three frames of each of the 327 labelled sequences of CK+ (Lucey et al., 2010), cropped: 981 images."""

JAFFE: Final = Kind("jaffe", "JAFFE", "TIFF", 256, (30, 29, 32, 31, 31, 30, 30))
"""Ten women who posed seven expressions (Lyons, Akamatsu, Kamachi and Gyoba, 1998): 213 images."""

CONTEMPT: Final = "contempt"
"""An expression of CK+ that FER2013 does not have."""

_CK_FOLDERS: Final = ("anger", CONTEMPT, "disgust", "fear", "happy", "sadness", "surprise")
_CK_FILE: Final = re.compile(r"S\d+_\d+_\d+\.png", re.IGNORECASE)
_JAFFE_CODES: Final = {"AN": 0, "DI": 1, "FE": 2, "HA": 3, "SA": 4, "SU": 5, "NE": 6}
_JAFFE_FILE: Final = re.compile(rf"[A-Z]{{2}}\.({'|'.join(_JAFFE_CODES)})\d*\.\d+\.tiff?", re.IGNORECASE)
_EXPECTED: Final = (
    f"CK+48 (folders {', '.join(_CK_FOLDERS)} with files such as S010_004_00000017.png) "
    f"or JAFFE (files such as KA.AN1.39.tiff, with {', '.join(_JAFFE_CODES)})"
)
_IMAGE_STARTS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"GIF8")
_LARGEST_FILE: Final = 1 << 20


@dataclass(frozen=True)
class ExtraSet:
    """Every face of a test set, ordered by content.

    Attributes:
        kind: which set it is.
        images: uint8 (N, 48, 48), grey levels, unfiltered.
        labels: int64 (N,), codes 0-6.
        contempt: images left out since their expression is none of the seven.
        central: faces that were not found in their picture and are its central crop.
    """

    kind: Kind
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    contempt: int
    central: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class, in code order."""
        return tuple(np.bincount(self.labels, minlength=len(NAMES)).tolist())


class _Picture(NamedTuple):
    """A picture of a set; its code is None where its expression is none of the seven."""

    kind: Kind
    code: int | None
    pixels: NDArray[np.uint8]


def read(path: Path) -> ExtraSet:
    """Read CK+48 or JAFFE from a folder or an archive; files that are no images are passed over.

    Raises:
        UnknownLayout: it is neither or both, an image is not named or not as large as in the set.
        BadFile: missing, damaged, an archive not to be trusted, or an image that cannot be read.
    """
    pictures = list(_pictures(path))
    labelled = [picture for picture in pictures if picture.code is not None]
    if not labelled:
        raise UnknownLayout(f"{path}: no image of the seven expressions; expected {_EXPECTED}")
    kinds = {picture.kind for picture in pictures}
    if len(kinds) > 1:
        raise UnknownLayout(f"{path}: holds {' and '.join(sorted(kind.title for kind in kinds))}; name one of them")
    (kind,) = kinds
    images, central = _faces([picture.pixels for picture in labelled], kind)
    labels = np.array([picture.code for picture in labelled], np.int64)
    order = by_content(labels, np.full(len(labels), UNSPLIT), images)
    return ExtraSet(kind, images[order], labels[order], len(pictures) - len(labelled), central)


def save(folder: Path, found: ExtraSet) -> None:
    """Write a test set in the form of data/prepared: every row of it is of the split `test`."""
    manifest = pd.DataFrame(
        {
            "id": np.arange(len(found.labels), dtype=np.int64),
            "split": "test",
            "label": found.labels,
            "hash": [digest[:16] for digest in digests(found.images).tolist()],
        }
    )
    report = {
        "dataset": found.kind.name,
        "counts": list(found.counts),
        "left_out": {CONTEMPT: found.contempt},
        "central_crops": found.central,
    }
    prepared.save(folder, found.images, manifest, report)


def _pictures(path: Path) -> Iterator[_Picture]:
    for member in archives.members(path):
        if named := _named(PurePosixPath(member.name)):
            kind, code = named
            yield _Picture(kind, code, _pixels(member, kind))
        elif member.stream.peek(8).startswith(_IMAGE_STARTS):
            raise UnknownLayout(f"{member.where}: an image with another name or folder; expected {_EXPECTED}")


def _named(file: PurePosixPath) -> tuple[Kind, int | None] | None:
    """The set that a file is of and its code, by its name and its folder's."""
    if named := _JAFFE_FILE.fullmatch(file.name):
        return JAFFE, _JAFFE_CODES[named[1].upper()]
    folder = file.parent.name.lower()
    if folder in _CK_FOLDERS and _CK_FILE.fullmatch(file.name):
        return CKPLUS, EXPRESSIONS.get(folder)
    return None


def _pixels(member: Member, kind: Kind) -> NDArray[np.uint8]:
    """Grey levels of a picture, uint8 (side, side); its size is known, and checked, before it is decoded."""
    content = io.BytesIO(member.stream.read(_LARGEST_FILE))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is refused below
            with Image.open(content, formats=(kind.form,)) as image:
                size = image.size
                pixels = grey(image) if size == (kind.side, kind.side) else None
    except Exception:  # Pillow raises half a dozen kinds on bad bytes
        raise BadFile(f"{member.where}: found no whole image; expected a {kind.form}: mend or remove it") from None
    if pixels is None:
        raise UnknownLayout(
            f"{member.where}: {size[0]:,} x {size[1]:,} pixels; expected {kind.side} x {kind.side}, as in {kind.title}"
        )
    return pixels


def _faces(pictures: list[NDArray[np.uint8]], kind: Kind) -> tuple[NDArray[np.uint8], int]:
    """The face of each picture, uint8 (N, 48, 48), and how many of them were not found but cut from the middle."""
    if kind == CKPLUS:
        return np.stack(pictures), 0
    cascade = crops.detector()
    boxes = [crops.find(cascade, picture) for picture in pictures]
    faces = [crops.cut(picture, box or crops.central(picture)) for picture, box in zip(pictures, boxes, strict=True)]
    return np.stack(faces), boxes.count(None)
