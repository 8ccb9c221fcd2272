"""A folder of images with their manifest and report: the one place that knows the files of data/prepared.

data/augmented is such a folder too. The files carry no time and no path, so the same content is the same bytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import SIDE
from ferops.machine.files import replacing

IMAGES: Final = "images.npy"
MANIFEST: Final = "manifest.parquet"
REPORT: Final = "report.json"


class BadPrepared(FeropsError):
    """A folder lacks one of its three files, or they do not belong together."""


@dataclass(frozen=True)
class Prepared:
    """Images, one manifest row an image in the same order, and the report of how they came about.

    Attributes:
        images: uint8 (N, 48, 48), memory-mapped and read-only where loaded.
        manifest: N rows; has at least `id`, `split` and `label`, and the rows of a split lie together.
        report: what report.json says.
    """

    images: NDArray[np.uint8]
    manifest: pd.DataFrame
    report: dict[str, Any]

    def rows(self, name: str) -> slice:
        """Where a split lies; empty where there is none of it."""
        found = np.flatnonzero(self.manifest["split"].to_numpy() == name)
        if len(found) == 0:
            return slice(0, 0)
        if found[-1] - found[0] + 1 != len(found):
            raise BadPrepared(f"the rows of {name} do not lie together in the manifest")
        return slice(int(found[0]), int(found[-1]) + 1)

    def split(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """A view of the split's images, uint8 (n, 48, 48), and their labels, int64 (n,)."""
        rows = self.rows(name)
        return self.images[rows], self.manifest["label"].to_numpy(np.int64)[rows]


def save(folder: Path, images: NDArray[np.uint8], manifest: pd.DataFrame, report: dict[str, Any]) -> None:
    """Write a folder anew; it appears under its name only when it is complete.

    Raises:
        BadPrepared: images and manifest differ in length, or an image is not uint8 48 x 48.
    """
    _belong_together(folder, images, manifest)
    with replacing(folder) as scratch:
        scratch.mkdir()
        np.save(scratch / IMAGES, images)
        manifest.to_parquet(scratch / MANIFEST, index=False)
        (scratch / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Prepared:
    """Open a folder; the images stay on disk until they are touched.

    Raises:
        BadPrepared: a file is missing or not what `save` writes.
    """
    try:
        images = np.load(folder / IMAGES, mmap_mode="r")
        manifest = pd.read_parquet(folder / MANIFEST)
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadPrepared(f"{error.filename} is missing; `dvc repro` writes it") from None
    except (OSError, ValueError) as error:
        raise BadPrepared(f"{folder}: not what ferops writes: {' '.join(str(error).split())}") from None
    _belong_together(folder, images, manifest)
    return Prepared(images, manifest, report)


def _belong_together(folder: Path, images: NDArray[np.uint8], manifest: pd.DataFrame) -> None:
    if images.dtype != np.uint8 or images.shape != (len(manifest), SIDE, SIDE):
        raise BadPrepared(
            f"{folder}: images are {images.dtype} {images.shape}; "
            f"expected uint8 ({len(manifest)}, {SIDE}, {SIDE}), one for each row of the manifest"
        )
