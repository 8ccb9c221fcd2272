"""The table of scored images: the one place that knows the files of data/scored.

A folder of parquet parts that pandas reads as one table, `pd.read_parquet("data/scored")`. A part appears under its
name only when it is complete, and is never changed: a scoring that was killed keeps the parts that it had finished. The
files that could not be read are listed in `_bad/`, which pandas passes over.
"""

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.data.filters import median
from ferops.data.readers.image_files import Face, UnreadableFile
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

_BAD: Final = "_bad"
_HOUR: Final = 3600.0


class BadScored(FeropsError):
    """A part of the table cannot be read, or is not what a scoring writes."""


def new_run() -> str:
    """A name for a scoring run: names sort as the runs began, and no two are the same."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}"


def table(
    faces: Sequence[Face],
    probabilities: NDArray[np.float32],
    *,
    kernel: int,
    version: int,
    weights_digest: str,
    run: str,
) -> pd.DataFrame:
    """One row an image: `COLUMNS`.

    The statistics are of the image as the network sees it: grey, 48 x 48, behind its median filter. So they can be held
    against those of data/prepared.

    Args:
        faces: the images.
        probabilities: float32 (N, 7), what the network says of them.
        kernel: side of its median filter in pixels.
        version: of the registered model.
        weights_digest: of its network.
        run: `new_run`'s.
    """
    pixels = np.stack([face.pixels for face in faces])
    said = probabilities.argmax(axis=1)
    columns = {
        **{name: [getattr(face, name) for face in faces] for name in ("path", "digest", "width", "height")},
        **measure(median(pixels, kernel)),
        **{name: probabilities[:, code] for code, name in enumerate(NAMES)},
        "label": np.take(NAMES, said),
        "probability": probabilities.max(axis=1),
        "version": version,
        "weights_digest": weights_digest,
        "run": run,
        "scored": datetime.now(UTC),
    }
    return pd.DataFrame(columns).astype(COLUMNS)


def add(folder: Path, part: pd.DataFrame) -> Path:
    """Write a part; a run's parts are counted by the names that are there."""
    run = str(part["run"].iloc[0])
    path = folder / f"{run}-{len(list(folder.glob(f'{run}-*.parquet'))):05}.parquet"
    with replacing(path) as scratch:
        part.to_parquet(scratch, index=False)
    return path


def add_bad(folder: Path, run: str, bad: Sequence[UnreadableFile]) -> Path:
    """Write the list of the files that a run could not read, as CSV."""
    path = folder / _BAD / f"{run}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(bad, columns=list(UnreadableFile._fields)).to_csv(path, index=False)
    return path


def delete_stale_parts(folder: Path) -> None:
    """Remove what killed scorings left half written; what is younger than an hour may be another's."""
    for left in folder.glob(".new.*"):
        if time.time() - left.stat().st_mtime > _HOUR:
            left.unlink(missing_ok=True)


def known(folder: Path, weights_digest: str) -> set[str]:
    """Digests of the images that these weights have scored.

    Raises:
        BadScored: a part cannot be read.
    """
    parts = [_read(path, ["digest", "weights_digest"]) for path in _parts(folder)]
    return {digest for part in parts for digest in part.loc[part["weights_digest"] == weights_digest, "digest"]}


def latest(folder: Path, weights_digest: str, at_least: int) -> pd.DataFrame:
    """What the last runs of these weights have scored: of the newest run, and of those before it until it is enough.

    Args:
        folder: of the parts.
        weights_digest: other networks' rows are left out: their predictions cannot be compared.
        at_least: images; fewer where there are not so many. Older runs are taken whole.

    Raises:
        BadScored: a part cannot be read.
    """
    taken: list[pd.DataFrame] = []
    last = None
    for path in reversed(_parts(folder)):
        part = _read(path, list(COLUMNS))
        part = part[part["weights_digest"] == weights_digest]
        if part.empty:
            continue
        run = str(part["run"].iloc[0])
        if run != last and sum(map(len, taken)) >= at_least:
            break
        taken.append(part)
        last = run
    if not taken:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    # two scorings at once may have scored the same image
    return pd.concat(reversed(taken)).drop_duplicates("digest", ignore_index=True)


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, ValueError) as error:
        raise BadScored(
            f"{path} is not what a scoring writes: {' '.join(str(error).split())[:200]}; move it away, and its images "
            "are scored again"
        ) from None
