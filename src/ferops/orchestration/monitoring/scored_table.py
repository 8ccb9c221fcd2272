"""Read and write the table of scored images, data/scored.

It is a folder of parquet parts that pandas reads as one table, `pd.read_parquet("data/scored")`. A part is written
atomically and never changed: a scoring that was killed keeps the parts that it had finished. The files that could not
be read are listed in `_bad/`, which pandas passes over.
"""

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.data.preprocessing.filters import median
from ferops.data.readers.image_files import ImageFile, UnreadableFile
from ferops.data.statistics import STATISTICS, measure
from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.machine.files import replacing

COLUMNS: Final = {
    "path": "str",
    "digest": "str",
    "width": "int64",
    "height": "int64",
    **dict.fromkeys(STATISTICS, "float64"),
    **dict.fromkeys(NAMES, "float32"),
    "label": "str",
    "probability": "float32",
    "version": "int64",
    "weights_digest": "str",
    "run": "str",
    "scored": "datetime64[us, UTC]",
}
"""Columns of a part in order, and their pandas types."""


class BadScoredTable(FeropsError):
    """A part of the table cannot be read."""


def new_run() -> str:
    """Return a unique name for a scoring run; names sort by the time at which the runs started."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}"


def make_part(
    faces: Sequence[ImageFile],
    probabilities: NDArray[np.float32],
    *,
    kernel: int,
    version: int,
    weights_digest: str,
    run: str,
) -> pd.DataFrame:
    """Make a part of the table: a row an image, the columns of `COLUMNS`.

    The statistics are of the image as the network sees it: gray, 48 x 48, median filtered. So they can be compared with
    those of data/prepared.

    Args:
        faces: the images.
        probabilities: float32 (N, 7), the output of the network.
        kernel: side of its median filter in pixels.
        version: of the registered model.
        weights_digest: of its network.
        run: `new_run`'s.
    """
    pixels = np.stack([face.pixels for face in faces])
    described = pd.DataFrame(faces, columns=list(ImageFile._fields)).drop(columns="pixels")
    predicted = pd.DataFrame(probabilities, columns=list(NAMES))
    table = pd.concat([described, measure(median(pixels, kernel)), predicted], axis=1).assign(
        label=np.take(NAMES, probabilities.argmax(axis=1)), probability=probabilities.max(axis=1),
        version=version, weights_digest=weights_digest, run=run, scored=datetime.now(UTC),
    )  # fmt: skip
    return table.astype(COLUMNS)


def add(folder: Path, part: pd.DataFrame, number: int) -> Path:
    """Write a part atomically; its name is the run and the part's number in it."""
    path = folder / f"{part['run'].iloc[0]}-{number:05}.parquet"
    with replacing(path) as scratch:
        part.to_parquet(scratch, index=False)
    return path


def add_bad(folder: Path, run: str, bad: Sequence[UnreadableFile]) -> Path:
    """Write the list of the files that a run could not read as CSV."""
    path = folder / "_bad" / f"{run}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(bad, columns=list(UnreadableFile._fields)).to_csv(path, index=False)
    return path


def delete_stale_parts(folder: Path) -> None:
    """Delete temporary files of killed scorings; one younger than an hour may belong to a scoring that still runs."""
    for path in folder.glob(".new.*"):
        if time.time() - path.stat().st_mtime > 3600:
            path.unlink(missing_ok=True)


def scored_digests(folder: Path, weights_digest: str) -> set[str]:
    """Return the digests of the images that these weights have scored.

    Raises:
        BadScoredTable: a part cannot be read.
    """
    return set(_read(folder, ["digest"], [("weights_digest", "==", weights_digest)])["digest"])


def latest(folder: Path, weights_digest: str, at_least: int) -> pd.DataFrame:
    """Return the images of the newest scoring run of these weights, and of the runs before it until they are enough.

    Args:
        folder: of the parts.
        weights_digest: other networks' rows are left out: their predictions cannot be compared.
        at_least: images; fewer where there are not so many. Older runs are taken whole.

    Raises:
        BadScoredTable: a part cannot be read.
    """
    ours = ("weights_digest", "==", weights_digest)
    sizes = _read(folder, ["run"], [ours])["run"].value_counts().sort_index(ascending=False)
    oldest = min(sizes.index[sizes.cumsum() - sizes < at_least], default="")
    table = _read(folder, list(COLUMNS), [ours, ("run", ">=", oldest)])
    # two scorings at once may have scored the same image
    return table.drop_duplicates("digest", ignore_index=True)


def _read(folder: Path, columns: list[str], filters: list[tuple[str, str, Any]]) -> pd.DataFrame:
    """Read columns of the rows that pass every filter; pyarrow skips the parts whose statistics exclude them."""
    parts: Any = sorted(folder.glob("[!.]*.parquet"))  # pyarrow takes a list, which the annotations of pandas lack
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=COLUMNS[name]) for name in columns})
    try:
        return pd.read_parquet(parts, columns=columns, filters=filters)
    except (OSError, ValueError) as error:
        found = f"a file that scoring did not write: {' '.join(str(error).split())[:300]}"
        raise BadScoredTable(f"{folder} holds {found}; move it away, and its images are scored again") from None
