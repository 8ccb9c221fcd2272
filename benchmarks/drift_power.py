"""Measure the statistical power of drift detection: false alarms on fresh faces, and changes that are detected.

    python benchmarks/drift_power.py

Faces are synthetic; real ones are added where FER2013_MINI names a copy of FER2013, and a network's predictions where
there is a predictions.parquet. Fresh images are in no reference: synthetic ones from another seed, PublicTest and
PrivateTest of the copy, the test split of the predictions. Samples are taken from them repeatedly, so they overlap.
"""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ferops.data.preprocessing.filters import median
from ferops.data.readers import layouts
from ferops.data.statistics import measure
from ferops.data.synthetic import portraits
from ferops.labels import NAMES, OFFICIAL_COUNTS
from ferops.orchestration.monitoring.drift import LABEL, shift

BOUND = 0.2
TIMES = 200
SIZES = (100, 300)


def blur(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    """Gaussian, in pixels."""
    return lambda images: np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])


def noise(std: float) -> Callable[[np.ndarray], np.ndarray]:
    """Gaussian, in gray levels."""
    rng = np.random.default_rng(0)
    return lambda images: np.clip(images + rng.normal(0, std, images.shape), 0, 255).astype(np.uint8)


def jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    """Saved as JPEG and read again."""
    flags = (cv2.IMWRITE_JPEG_QUALITY, quality)
    return lambda images: np.stack([cv2.imdecode(cv2.imencode(".jpg", one, flags)[1], 0) for one in images])


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same kind": lambda images: images,
    "JPEG, quality 95": jpeg(95),
    "JPEG, quality 75": jpeg(75),
    "blurred, sigma 0.5": blur(0.5),
    "blurred, sigma 1": blur(1.0),
    "equalised": lambda images: np.stack([cv2.equalizeHist(image) for image in images]),
    "20 gray levels darker": lambda images: np.clip(images.astype(int) - 20, 0, 255).astype(np.uint8),
    "contrast times 0.7": lambda images: ((images - 128.0) * 0.7 + 128).astype(np.uint8),
    "noise of 10 gray levels": noise(10),
    "noise of 20 gray levels": noise(20),
}
MIXES = {
    "the same mix": np.ones(7),
    "happy a fifth, sad threefold": np.array([1, 1, 1, 0.2, 3, 1, 1]),
    "neutral tenfold": np.array([1, 1, 1, 1, 1, 1, 10]),
}


def faces(seed: int, count: int) -> np.ndarray:
    """Synthetic faces in FER2013's class shares: uint8 (count, 48, 48)."""
    counts = np.array(OFFICIAL_COUNTS["train"])
    labels = np.random.default_rng(seed).choice(7, count, p=counts / counts.sum())
    return np.stack(
        [portraits.render_face(int(code), np.random.default_rng([seed, k])) for k, code in enumerate(labels)]
    )


def pixels(kind: str, known: np.ndarray, fresh: np.ndarray) -> None:
    """Print a line a change: in how many samples of each size any pixel statistic drifted."""
    reference = measure(median(known, 3))
    for name, change in CHANGES.items():
        pool, rng = measure(median(change(fresh), 3)), np.random.default_rng(1)
        alarms = dict.fromkeys(SIZES, 0)
        for size in SIZES:
            for _ in range(TIMES):
                rows = pool.iloc[rng.choice(len(pool), size, replace=False)]
                alarms[size] += any(shift(c, reference[c], rows[c], BOUND).has_drifted for c in reference)
        counts = ", ".join(f"{alarms[size]} of {TIMES} with {size} images" for size in SIZES)
        print(f"{kind}, {len(known):,} as reference: {name}: {counts}", flush=True)


def classes(table: pd.DataFrame) -> None:
    """Print a line a mix of true classes: in how many samples of each size the predicted classes drifted."""
    predicted = pd.Series(np.take(NAMES, table[list(NAMES)].to_numpy().argmax(axis=1)))
    is_fresh = (table["split"] == "test").to_numpy()
    known, fresh, labels = predicted[~is_fresh], predicted[is_fresh], table.loc[is_fresh, "label"].to_numpy()
    rng = np.random.default_rng(1)
    for name, weights in MIXES.items():
        p = weights[labels] / weights[labels].sum()
        alarms = {
            size: sum(
                shift(LABEL, known, fresh.iloc[rng.choice(len(fresh), size, p=p)], BOUND).has_drifted
                for _ in range(TIMES)
            )
            for size in SIZES
        }
        counts = ", ".join(f"{alarms[size]} of {TIMES} with {size} images" for size in SIZES)
        print(f"predictions, {len(known):,} as reference: {name}: {counts}", flush=True)


if __name__ == "__main__":
    pixels("synthetic faces", faces(1, 1400), faces(2, 5000))
    if (mini := Path(os.environ.get("FER2013_MINI", ""))).is_file():
        real = layouts.read(mini)
        is_known = real.usages == "Training"
        pixels("real faces", real.images[is_known], real.images[~is_known])
    if (predictions := Path("predictions.parquet")).is_file():
        classes(pd.read_parquet(predictions))
