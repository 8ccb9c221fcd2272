"""Faces, which every reader returns, and the errors of a copy that cannot be read."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import features

from ferops.data.on_disk import chunks, joined
from ferops.errors import FeropsError
from ferops.labels import MERGED, UNSPLIT, USAGES


class UnknownLayout(FeropsError):
    """The file or folder is not laid out as any copy of FER2013 that ferops reads."""


class BadFile(FeropsError):
    """The file is missing, empty, unreadable, or an archive that is damaged, cut short or unsafe."""


class BadRow(FeropsError):
    """A row of a CSV is not a face: carries `where`, `row` (the header is row 1), `found` and `expected`."""

    def __init__(self, where: str, row: int, found: str, expected: str) -> None:
        """Name the row, what was found and what was expected."""
        super().__init__(f"{where}: row {row} (the header is row 1): found {found}; expected {expected}")
        self.where, self.row, self.found, self.expected = where, row, found, expected


class BadImage(FeropsError):
    """A file is not an image that ferops reads: carries `where` and `found`."""

    def __init__(self, where: str, found: str) -> None:
        """Name the file and what was found."""
        super().__init__(f"{where}: found {found}; expected a whole {' or '.join(FORMATS)}: mend or remove it")
        self.where, self.found = where, found


FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", *(["AVIF"] if features.check("avif") else []))
"""The image formats that are read, as Pillow names them; PPM stands for PBM and PGM too."""


@dataclass(frozen=True)
class FaceDataset:
    """Every face of a copy of FER2013.

    Attributes:
        images: uint8 (N, 48, 48), gray levels; of a reader mapped and read-only.
        labels: int64 (N,), codes 0-6 as in `ferops.labels.NAMES`.
        usages: str (N,), `Training`, `PublicTest` or `PrivateTest`; `ferops.labels.MERGED` where the copy does not tell
            the last two apart, `ferops.labels.UNSPLIT` where it has no split.
        layout: which layout was recognised, for people.
        left_out: files that were not read, each with the reason.
        resized: images that had another size than 48 x 48.
        recoloured: images that were not 8-bit gray.
        of_images: whether they come from image files, not from rows of pixels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    usages: NDArray[np.str_]
    layout: str = ""
    left_out: tuple[str, ...] = ()
    resized: int = 0
    recoloured: int = 0
    of_images: bool = False

    @property
    def split(self) -> str | None:
        """Return the `data.split` that takes the copy as it is; Kaggle's train.csv is cut 80/10/10 by `official`.

        None where the copy lacks one of the three splits.
        """
        usages = set(self.usages)
        if MERGED in usages:
            return "folders" if "Training" in usages else None
        if UNSPLIT in usages:
            return "random" if self.of_images else "official"
        return "official" if usages >= set(USAGES) else None


def digests(images: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Compute the first 16 hexadecimal digits of the SHA-256 of each image's pixels, str (N,)."""
    return np.fromiter((sha256(image.tobytes()).hexdigest()[:16] for image in images), "U16", len(images))


def by_content(faces: FaceDataset) -> FaceDataset:
    """Sort faces by content, so that the same faces have the same order in every layout.

    The order is by digest of the pixels, then label, then usage: no copy tells more of an image.
    """
    rank = np.select([faces.usages == usage for usage in USAGES], range(len(USAGES)), default=len(USAGES))
    order = np.lexsort((rank, faces.labels, digests(faces.images)))
    images = joined(faces.images[part] for part in chunks(order))
    return replace(faces, images=images, labels=faces.labels[order], usages=faces.usages[order])


def shown(found: str, limit: int = 60) -> str:
    """Quote a value for a message, in one line and at most `limit` characters."""
    quoted = repr(found)  # its length counts: a NUL is four characters
    return quoted if len(quoted) <= limit + 2 else f"{quoted[: limit + 1]}…{quoted[-1]}"


def printable(name: str) -> str:
    """Replace what is not printable in a file's name: line breaks and control sequences of terminals."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def one_line(error: BaseException) -> str:
    """Return a library's message in one line, or the error's name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
