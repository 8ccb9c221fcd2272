"""Compare the speed of the data package with the usual way, as ratios measured in one run: `make bench`.

Both process the same synthetic faces and must give the same result; each time is the least of three.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from ferops import params
from ferops.data import augmentation, filters
from ferops.data.readers import layouts
from ferops.data.readers.faces import digests
from ferops.data.synthetic import generator

FACES = 10_000


def seconds(work: Callable[[], Any]) -> float:
    """The least of three wall-clock times."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def read_with_pandas(path: Path) -> np.ndarray[Any, Any]:
    """What notebooks do: a list of ints for each row."""
    table = pd.read_csv(path)
    return np.array([[int(value) for value in row.split()] for row in table["pixels"]], dtype=np.uint8)


def warp_one_by_one(images: np.ndarray[Any, Any], warp: params.Warp, rng: np.random.Generator) -> None:
    """Rotation and zoom, shift, and flip as three steps on each image."""
    for image in images:
        angle, zoom = rng.uniform(-warp.rotation, warp.rotation), rng.uniform(1 - warp.zoom, 1 + warp.zoom)
        dx, dy = rng.uniform(-warp.width_shift, warp.width_shift, 2) * 48
        turned = cv2.warpAffine(image, cv2.getRotationMatrix2D((23.5, 23.5), angle, zoom), (48, 48))
        moved = cv2.warpAffine(turned, np.array([[1, 0, dx], [0, 1, dy]]), (48, 48))
        cv2.flip(moved, 1)


def main() -> None:
    """Measure, and print one row a piece of work."""
    few = generator.generate_sample(seed=0, counts={"train": 1000, "validation": 70, "test": 70})
    images = np.tile(few.images, (FACES // len(few.images) + 1, 1, 1))[:FACES]
    warp = params.load().augment.warp
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fer2013.csv"
        generator.write_csv(path, few)
        usual = read_with_pandas(path)[np.argsort(digests(few.images))]  # as faces are ordered: by content
        assert np.array_equal(usual, layouts.read(path).images.reshape(-1, 2304))  # noqa: S101
        rows.append(
            ("fer2013.csv to arrays", "pandas, a list of ints a row", seconds(lambda: read_with_pandas(path)),
             seconds(lambda: layouts.read(path)), len(few.images))
        )  # fmt: skip
    usual = np.stack([cv2.medianBlur(image, 3) for image in images])
    assert np.array_equal(usual, filters.median(images, 3))  # noqa: S101
    rows.append(
        ("median filter 3x3", "cv2, image by image", seconds(lambda: [cv2.medianBlur(image, 3) for image in images]),
         seconds(lambda: filters.median(images, 3)), FACES)
    )  # fmt: skip
    rng = np.random.default_rng(0)
    rows.append(
        ("warp", "cv2, three steps an image", seconds(lambda: warp_one_by_one(images, warp, rng)),
         seconds(lambda: augmentation.warp(images, augmentation.draw_maps(warp, len(images), rng))), FACES)
    )  # fmt: skip
    table = Table("work", "usual way", "images/s", "ferops, images/s", "ratio")
    for work, way, slow, fast, count in rows:
        table.add_row(work, way, f"{count / slow:,.0f}", f"{count / fast:,.0f}", f"{slow / fast:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
