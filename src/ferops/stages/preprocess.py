"""Stage `preprocess`: read a copy of FER2013, clean, split and median-filter it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from ferops import params as parameters
from ferops.data import prepared, statistics
from ferops.data.on_disk import chunks, joined
from ferops.data.preprocessing import duplicates, filters, label_errors, splits
from ferops.data.readers import layouts
from ferops.data.readers.classes import Classes
from ferops.data.readers.faces import digests
from ferops.labels import MERGED, SPLITS
from ferops.machine.progress import byte_progress


def main() -> None:
    """Read the copy that `data.source` names, write data/prepared."""
    params = parameters.load()
    source, classes = Path(params.data.source), Classes.parse(params.data.labels, params.data.skip)
    overrides = label_errors.read_overrides(Path(params.data.overrides))
    with byte_progress(f"reading {source.name}", Console()) as progress:
        faces = layouts.read(source, classes, progress=progress)

    mean, std = statistics.mean_and_std(faces.images)
    blank = std < params.preprocess.blank_std
    groups = duplicates.group(faces.images, params.preprocess.duplicate_rms, ignore=blank)
    split = splits.assign(faces.usages, faces.labels, groups, params.data.split, params.data.split_seed)
    hashes = digests(faces.images)
    changeable = (split == "train") & ~np.isin(faces.usages, ("PublicTest", "PrivateTest", MERGED))
    labels, dropped, overridden = label_errors.override(faces.labels, hashes, overrides, changeable)
    others = np.where(dropped, -1, groups)  # what is dropped anyway drops no duplicate of it
    keep = duplicates.apply_policy(others, split, params.preprocess.duplicates) & ~blank & ~dropped

    report: dict[str, Any] = {
        "dataset": params.data.dataset,
        "source": params.data.source,
        "layout": faces.layout,
        "left_out": faces.left_out,
        "converted": {"resized": faces.resized, "recoloured": faces.recoloured},
        "split": params.data.split,
        "median_kernel": params.preprocess.median_kernel,
        "duplicates": params.preprocess.duplicates,
        "read": splits.class_counts(faces.labels, split),
        "overrides": overridden,
        "kept": splits.class_counts(labels[keep], split[keep]),
        "dropped": {
            "blank": int(blank.sum()),
            "overrides": int((dropped & ~blank).sum()),
            "duplicates": int((~keep & ~blank & ~dropped).sum()),
        },
        "duplicated": int((groups >= 0).sum()),
    }
    rows = np.concatenate([np.flatnonzero(keep & (split == name)) for name in SPLITS])
    manifest = pd.DataFrame(
        {
            "id": rows.astype(np.int64),
            "split": split[rows],
            "label": labels[rows],
            "mean": mean[rows],
            "std": std[rows],
            "hash": hashes[rows],
            # a fact of the source: it is kept where the policy dropped the other members of the group
            "duplicate_of": pd.arrays.IntegerArray(groups[rows], mask=groups[rows] < 0),
        }
    )
    images = joined(filters.median(faces.images[part], params.preprocess.median_kernel) for part in chunks(rows))
    prepared.save(Path("data/prepared"), images, manifest, report)
    _print_summary(report)


def _print_summary(report: dict[str, Any]) -> None:
    print(f"recognised {report['layout']}")
    for what in ("read", "kept"):
        numbers = {name: sum(report[what][name]) for name in SPLITS}
        shares = ", ".join(f"{name} {number:,}" for name, number in numbers.items())
        print(f"{what} {sum(numbers.values()):,} images: {shares}")
    dropped = report["dropped"]
    print(
        f"dropped {dropped['blank']:,} blank and {dropped['duplicates']:,} duplicates "
        f"({report['duplicated']:,} images have a duplicate; policy {report['duplicates']})"
    )
    if any(report["overrides"].values()):
        print(f"overrides: {', '.join(f'{number:,} {what}' for what, number in report['overrides'].items())}")
