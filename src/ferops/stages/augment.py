"""Stage `augment`: raise rare classes with warped copies of their own training images."""

from pathlib import Path

import numpy as np
import pandas as pd

from ferops import params as parameters
from ferops.data import augmentation, pictures, prepared, statistics
from ferops.data.on_disk import chunks, joined
from ferops.labels import NAMES

REPORTS = Path("reports/augment")


def main() -> None:
    """Read data/prepared, write data/augmented: the added images only, each with its origin."""
    params = parameters.load()
    original = prepared.load(Path("data/prepared"))
    images, labels = original.split("train")
    ids = original.manifest.loc[original.manifest["split"] == "train", "id"].to_numpy()

    rng = np.random.default_rng(params.augment.seed)
    origins = augmentation.plan(labels, params.augment.min_share, rng)
    maps = augmentation.draw_maps(params.augment.warp, len(origins), rng)
    parts = zip(chunks(origins), chunks(maps), strict=True)
    added = joined(augmentation.warp(images[rows], of_rows) for rows, of_rows in parts)

    mean, std = statistics.mean_and_std(added)
    manifest = pd.DataFrame(
        {
            "id": np.arange(len(added)),
            "origin": ids[origins],
            "split": pd.Series("train", index=range(len(added)), dtype="str"),
            "label": labels[origins],
            "mean": mean,
            "std": std,
        }
    )
    before = np.bincount(labels, minlength=len(NAMES))
    after = before + np.bincount(labels[origins], minlength=len(NAMES))
    report = {"min_share": params.augment.min_share, "before": before.tolist(), "after": after.tolist()}
    prepared.save(Path("data/augmented"), added, manifest, report)
    REPORTS.mkdir(parents=True, exist_ok=True)
    pictures.plot_class_distribution(REPORTS / "class_distribution.png", before, after)
    pictures.save_png(REPORTS / "contact_sheet.png", pictures.contact_sheet(added, labels[origins]))
