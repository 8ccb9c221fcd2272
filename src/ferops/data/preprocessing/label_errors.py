"""Labels in doubt, by confident learning (Northcutt et al. 2021), and the overrides that people decide on."""

import re
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.data.readers import csv_tables
from ferops.data.readers.faces import shown
from ferops.errors import FeropsError
from ferops.labels import NAMES

DROP: Final = "drop"
"""In the place of a label: the image is left out."""

_DROPPED: Final = -1


class BadOverrides(FeropsError):
    """The file of overrides cannot be read, or has a damaged hash, an unknown label, or two labels for an image."""


def suggest(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Suggest a label for each image: its own, unless the network is confident of another.

    It is confident of a class where the probability reaches the mean probability of that class among the images that
    are labelled so; of several such classes the most probable counts. In the paper's terms these are the images beside
    the diagonal of the confident joint.

    Args:
        labels: int64 (N,), codes 0-6, as given.
        probabilities: (N, 7), of networks that never saw the image.

    Returns:
        int64 (N,), codes 0-6.
    """
    counts = np.bincount(labels, minlength=len(NAMES))
    sums = np.bincount(labels, probabilities[np.arange(len(labels)), labels], minlength=len(NAMES))
    thresholds = np.divide(sums, counts, out=np.full(len(NAMES), np.inf), where=counts > 0)
    confident = np.where(probabilities >= thresholds, probabilities, -1)
    return np.where(confident.max(axis=1) < 0, labels, confident.argmax(axis=1))


def suspects(manifest: pd.DataFrame, probabilities: NDArray[np.float32]) -> pd.DataFrame:
    """Return the images whose label is in doubt, the most doubtful first.

    Args:
        manifest: N rows with `id`, `hash` and `label`.
        probabilities: (N, 7), of networks that never saw the image.

    Returns:
        A row an image, with its index in the manifest: `id`, `hash`, `label` (its name), `probability` of that label,
        `suggested` (a name).
    """
    labels = manifest["label"].to_numpy(np.int64)
    suggested, rows = suggest(labels, probabilities), np.arange(len(labels))
    given = probabilities[rows, labels]
    doubt = probabilities[rows, suggested] - given
    chosen = np.flatnonzero(suggested != labels)
    chosen = chosen[np.argsort(-doubt[chosen], kind="stable")]
    return manifest.iloc[chosen][["id", "hash"]].assign(
        label=np.take(NAMES, labels[chosen]),
        probability=given[chosen].astype(np.float64).round(4),
        suggested=np.take(NAMES, suggested[chosen]),
    )


def read_overrides(path: Path) -> dict[str, int]:
    """Read a file of overrides: a CSV, also as spreadsheets write it, with the columns `hash` and `label`, and others.

    Images are named by their hash: an id is another image's where images are added to the source.

    Returns:
        Hash -> code of its label, or -1 where the image is dropped.

    Raises:
        BadOverrides: naming file, line and value.
    """
    try:
        with path.open("rb") as stream:
            table = csv_tables.open_table(stream)
            rows = [csv_tables.fields(line, table.separator, len(table.names)) for line in table.rows]
    except OSError as error:
        raise BadOverrides(f"data.overrides: {path} cannot be read: {error.strerror}") from None
    if not {"hash", "label"} <= set(table.names):
        found_columns = shown(table.separator.join(table.names))
        raise BadOverrides(f"data.overrides: {path} has the columns {found_columns}; expected hash,label")
    codes = {**{name: code for code, name in enumerate(NAMES)}, DROP: _DROPPED}
    found: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        if not any(row):
            continue
        where = f"data.overrides: {path}, line {line}"
        if len(row) != len(table.names):
            raise BadOverrides(f"{where}: fields {len(row)}; expected {len(table.names)}, as in the header")
        image, label = (row[table.names.index(name)].lower() for name in ("hash", "label"))
        if not re.fullmatch("[0-9a-f]{16}", image):  # a spreadsheet makes numbers of some
            raise BadOverrides(f"{where}: hash {shown(image)}; expected 16 hexadecimal digits")
        if label not in codes:
            raise BadOverrides(f"{where}: label {shown(label)}; expected {', '.join(NAMES)} or {DROP}")
        if found.setdefault(image, codes[label]) != codes[label]:
            raise BadOverrides(f"{where}: hash {image} is {label}; expected its label of a line above")
    return found


def override(
    labels: NDArray[np.int64], hashes: NDArray[np.str_], overrides: dict[str, int], changeable: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], dict[str, int]]:
    """Apply overrides to the images that may be changed; exact duplicates have one hash, and are changed together.

    Args:
        labels: int64 (N,), codes 0-6.
        hashes: str (N,), of `readers.faces.digests`.
        overrides: of `read_overrides`.
        changeable: bool (N,), the training images.

    Returns:
        The labels; bool (N,), true for images that are dropped; and the counts `relabelled`, `dropped`, `refused`, of
        images that may not be changed, and `unknown`, of hashes that no image has.
    """
    named = np.isin(hashes, list(overrides))
    rows = np.flatnonzero(named & changeable)
    changed, dropped = labels.copy(), np.zeros(len(labels), np.bool_)
    codes = np.array([overrides[image] for image in hashes[rows]], np.int64)
    dropped[rows[codes == _DROPPED]] = True
    changed[rows[codes != _DROPPED]] = codes[codes != _DROPPED]
    return changed, dropped, {
        "relabelled": int((changed != labels).sum()),
        "dropped": int(dropped.sum()),
        "refused": int((named & ~changeable).sum()),
        "unknown": len(overrides) - len(set(hashes[named])),
    }  # fmt: skip
