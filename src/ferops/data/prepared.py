"""Folders of images with manifest and report: data/prepared, data/augmented and the test sets below data/extra.

The files contain no time and no path, so that equal content is equal bytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import SIDE
from ferops.machine.files import replacing

IMAGES, MANIFEST, REPORT = "images.npy", "manifest.parquet", "report.json"

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Faces (n, 48, 48) and labels (n,)."""


class BadPrepared(FeropsError):
    """A folder lacks one of its three files, or they do not match."""


@dataclass(frozen=True)
class Prepared:
    """Images, a manifest with a row for each image in the same order, and the report of the stage that wrote them.

    Attributes:
        images: uint8 (N, 48, 48), memory-mapped and read-only where loaded.
        manifest: N rows; has at least `id`, `split` and `label`, and the rows of a split are contiguous.
        report: content of report.json.
    """

    images: NDArray[np.uint8]
    manifest: pd.DataFrame
    report: dict[str, Any]

    def rows(self, name: str) -> slice:
        """Return the rows of a split; empty where it has none."""
        found = np.flatnonzero(self.manifest["split"].to_numpy() == name)
        if len(found) == 0:
            return slice(0, 0)
        if found[-1] - found[0] + 1 != len(found):
            raise BadPrepared(f"the rows of {name} do not lie together in the manifest")
        return slice(int(found[0]), int(found[-1]) + 1)

    def split(self, name: str) -> Split:
        """Return a view of a split's images, uint8 (n, 48, 48), and their labels, int64 (n,)."""
        rows = self.rows(name)
        return self.images[rows], self.manifest["label"].to_numpy(np.int64)[rows]


def save(folder: Path, images: NDArray[np.uint8], manifest: pd.DataFrame, report: dict[str, Any]) -> None:
    """Write a folder atomically, in place of the old one.

    Raises:
        BadPrepared: images and manifest differ in length, or an image is not uint8 48 x 48.
    """
    _check_match(folder, images, manifest)
    with replacing(folder) as scratch:
        scratch.mkdir()
        np.save(scratch / IMAGES, images)
        manifest.to_parquet(scratch / MANIFEST, index=False)
        (scratch / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Prepared:
    """Open a folder; the images are memory-mapped.

    Raises:
        BadPrepared: a file is missing or not what `save` writes.
    """
    try:
        images = np.load(folder / IMAGES, mmap_mode="r")
        manifest = pd.read_parquet(folder / MANIFEST)
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadPrepared(f"{error.filename} is missing; `dvc repro` writes it") from None
    except (OSError, ValueError, EOFError) as error:
        raise BadPrepared(f"{folder}: not what ferops writes: {' '.join(str(error).split())}") from None
    _check_match(folder, images, manifest)
    return Prepared(images, manifest, report)


def _check_match(folder: Path, images: NDArray[np.uint8], manifest: pd.DataFrame) -> None:
    expected = (len(manifest), SIDE, SIDE)
    if images.dtype != np.uint8 or images.shape != expected:
        raise BadPrepared(
            f"{folder}: images are {images.dtype} {images.shape}; expected uint8 {expected}, one for each row"
        )
