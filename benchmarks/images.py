"""The data package beside the usual ways: a CSV read, images filtered, augmented, and read back from the disk."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from measure import Line, compare, peak_memory
from numpy.typing import NDArray
from scipy import ndimage

from ferops import params
from ferops.data import augmentation, prepared
from ferops.data.preprocessing import filters
from ferops.data.readers import faces, layouts

SOME = 4_000
"""Images that are filtered and augmented: so many show it, and the usual ways take a minute for all."""
Images = NDArray[np.uint8]


def lines(csv: Path, scratch: Path, copy_rate: float) -> Iterator[Line]:
    """Measure each step on the images of a copy in FER2013's layout.

    Args:
        csv: the copy, a file that is not compressed.
        scratch: a folder for the images as files.
        copy_rate: bytes a second in memory, the floor of each step.
    """
    images = layouts.read(csv).images
    some = images[:SOME]
    yield from reading(csv, csv.stat().st_size / copy_rate)
    yield from filtering(some, 2 * some.nbytes / copy_rate)
    yield from augmenting(some, 2 * some.nbytes / copy_rate)
    yield from loading(images, scratch, 2 * images.nbytes / copy_rate)


def reading(csv: Path, floor: float) -> list[Line]:
    """Read the CSV in a process of its own, for the peak of its memory."""

    def read(way: str) -> tuple[float, float, str]:
        done = subprocess.run([sys.executable, __file__, way, str(csv)], stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    found = compare({"pandas": "pandas", "ferops": "ferops"}, 3, read)
    if len({content for runs in found.values() for *_, content in runs}) > 1:
        sys.exit("pandas and ferops read different images")
    (slow, much, _), (fast, little, _) = (zip(*found[way], strict=True) for way in ("pandas", "ferops"))
    usual, ours = "pandas, a list of ints a row", "streamed"
    return [
        Line("`fer2013.csv` to arrays", usual, ours, "s", list(slow), list(fast), 7.5, floor),
        Line("its peak of memory, imports included", usual, ours, "MiB", list(much), list(little)),
    ]


def with_pandas(csv: Path) -> Images:
    """Read the images as notebooks do."""
    table = pd.read_csv(csv)
    return np.array([[int(level) for level in row.split()] for row in table["pixels"]], np.uint8).reshape(-1, 48, 48)


def filtering(images: Images, floor: float) -> list[Line]:
    """Filter images by the paper's median."""
    found = compare(
        {
            "scipy, an image": lambda: [ndimage.median_filter(image, 3, mode="nearest") for image in images],
            "cv2, an image": lambda: np.stack([cv2.medianBlur(image, 3) for image in images]),
            "ferops": lambda: filters.median(images, 3),
        },
    )
    work, ours = f"median filter 3x3, {len(images):,} images", found.pop("ferops")
    return [
        Line(work, usual, "cv2, 64 side by side", "s", slow, ours, lead, floor)
        for (usual, slow), lead in zip(found.items(), (21, None), strict=True)
    ]


def augmenting(images: Images, floor: float) -> list[Line]:
    """Augment images by the paper's five."""
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    warp = params.load().augment.warp
    rng = np.random.default_rng(0)
    keras = ImageDataGenerator(
        height_shift_range=warp.height_shift, width_shift_range=warp.width_shift, rotation_range=warp.rotation,
        zoom_range=warp.zoom, horizontal_flip=warp.horizontal_flip,
    )  # fmt: skip

    def generate(channels: int) -> None:
        batches = keras.flow(np.repeat(images[..., None], channels, axis=-1).astype(np.float32), batch_size=32)
        for _ in range(len(batches)):
            next(batches)

    def three_steps() -> None:
        for image in images:
            angle, zoom = rng.uniform(-warp.rotation, warp.rotation), rng.uniform(1 - warp.zoom, 1 + warp.zoom)
            dx, dy = rng.uniform(-warp.width_shift, warp.width_shift, 2) * 48
            turned = cv2.warpAffine(image, cv2.getRotationMatrix2D((23.5, 23.5), angle, zoom), (48, 48))
            moved = cv2.warpAffine(turned, np.array([[1, 0, dx], [0, 1, dy]]), (48, 48))
            cv2.flip(moved, 1)

    found = compare(
        {
            "ImageDataGenerator, 3 channels as VGG16 takes": lambda: generate(3),
            "ImageDataGenerator, 1 channel": lambda: generate(1),
            "cv2, three steps": three_steps,
            "ferops": lambda: augmentation.warp(images, augmentation.draw_maps(warp, len(images), rng)),
        },
    )
    ours = found.pop("ferops")
    return [
        Line(f"augmented copy of {len(images):,} images", usual, "cv2, one composed map", "s", slow, ours, lead, floor)
        for (usual, slow), lead in zip(found.items(), (57, None, None), strict=True)
    ]


def loading(images: Images, scratch: Path, floor: float) -> list[Line]:
    """Read all images from files that were just written, into an array in memory."""
    files = [scratch / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        cv2.imwrite(str(file), image)
    manifest = pd.DataFrame({"id": range(len(images)), "split": "train", "label": 0})
    prepared.save(scratch / "prepared", images, manifest, {})
    array = np.empty_like(images)

    def pngs() -> None:
        for file, image in zip(files, array, strict=True):
            image[:] = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)

    found = compare({"usual": pngs, "ours": lambda: np.copyto(array, prepared.load(scratch / "prepared").images)})
    work = f"arrays from the disk, {len(images):,} images"
    return [Line(work, "PNGs, cv2", ".npy, memory-mapped", "s", found["usual"], found["ours"], 80, floor)]


if __name__ == "__main__":
    way, path = sys.argv[1:]
    started = time.perf_counter()
    read = {"pandas": with_pandas, "ferops": lambda path: layouts.read(path).images}[way](Path(path))
    taken, peak = time.perf_counter() - started, peak_memory()
    content = "".join(sorted(faces.digests(read)))  # pandas has another order
    print(json.dumps([taken, peak, sha256(content.encode()).hexdigest()]))
