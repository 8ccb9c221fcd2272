"""Features of a network's frozen blocks, computed once for a training in which no epoch would change them."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from ferops.machine.files import replacing
from ferops.model.networks import building_blocks
from ferops.model.training import fitting
from ferops.model.training.batches import Faces
from ferops.params import Model, Train

_BATCH: Final = 64
_FEATURES: Final = "features"
"""Folder in the scratch folder of a training."""


class Parts(NamedTuple):
    """A network as two models that share its layers, so that training the second trains the network.

    Fields:
        prefix: from faces, uint8 (N, 48, 48), to the output of the last frozen block.
        rest: from that, an input named `features`, to probabilities (N, 7).
        block: the last frozen one, such as `block3`.
    """

    prefix: keras.Model
    rest: keras.Model
    block: str


def is_worth_computing(model: Model, settings: Train) -> bool:
    """Tell whether frozen blocks, and they alone, would see the same images in more than one epoch."""
    varies = settings.online_augmentation or settings.brightness or settings.erasing or settings.mixup
    return model.frozen_blocks > 0 and settings.epochs > 1 and not varies and not settings.teacher


def prepare(
    network: keras.Model,
    faces: tuple[Faces, Faces],
    model: Model,
    settings: Train,
    scratch: Path,
    *,
    say: Callable[[str], None],
    on_batch: Callable[[int, int], None],
) -> tuple[keras.Model, tuple[Any, Any]]:
    """Compute what the frozen blocks make of the training and the validation faces, or read what is computed already.

    What it costs is part of the training's `fitting.Progress`.

    Args:
        network: one of `systems.build` with frozen blocks.
        faces: of training and validation, uint8 (N, 48, 48).
        model: the `model` section of params.yaml.
        settings: its `train` section.
        scratch: folder of the training, as `fitting.fit` takes it.
        say: called with a line for people.
        on_batch: see `compute`.

    Returns:
        The network behind the frozen blocks, and the features of both that it takes; or what was given, where the disk
        has no space for them.
    """
    parts, folder = split(network, model.scaling), scratch / _FEATURES
    progress, needed = fitting.load_progress(scratch), size(parts.prefix, sum(map(len, faces)))
    if not progress.frozen_prefix:
        shutil.rmtree(folder, ignore_errors=True)  # a killed process may have left half of them
        folder.mkdir(parents=True)
        if progress.history:
            return network, faces  # the whole network was trained so far, for want of space
        if needed > (free := shutil.disk_usage(folder).free):
            say(
                f"the features of {parts.block} would take {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free: "
                "its blocks are computed in every epoch"
            )
            return network, faces
        progress.frozen_prefix = {"last_block": parts.block, "bytes": needed, "seconds": 0.0}
    if fitting.is_over(progress, settings):
        return parts.rest, faces  # nothing reads them any more

    features, before = [], progress.seconds
    for name, images in zip(("train", "validation"), faces, strict=True):
        path, started = folder / f"{name}.npy", time.time()
        if (found := load(path)) is None:
            found = compute(parts.prefix, images, path, on_batch)
            seconds = time.time() - started
            progress.frozen_prefix["seconds"] += seconds
            progress.seconds += seconds
            progress.save(scratch)
        features.append(found)
    how = f"were computed once, in {progress.seconds - before:.0f} s" if progress.seconds > before else "were read"
    say(
        f"{parts.block} and what is before it are frozen, and see the same images in every epoch: "
        f"their features, {needed / 1e6:,.0f} MB, {how}"
    )
    return parts.rest, (features[0], features[1])


@contextmanager
def deleted_after(scratch: Path) -> Iterator[None]:
    """Delete the features of a training when it has ended or diverged; one that is interrupted reads them again."""
    try:
        yield
    except fitting.Diverged:
        shutil.rmtree(scratch / _FEATURES, ignore_errors=True)
        raise
    shutil.rmtree(scratch / _FEATURES, ignore_errors=True)


def split(network: keras.Model, scaling: str) -> Parts:
    """Split a network behind the last frozen block of its VGG16.

    Args:
        network: one of `systems.build` with such blocks.
        scaling: of its faces, as in `building_blocks.scale`.
    """
    base = network.get_layer("vgg16")
    last = [layer for layer in base.layers if not layer.trainable][-1]
    faces, x = building_blocks.faces_input(scaling)
    prefix = keras.Model(faces, keras.Model(base.input, last.output)(x))
    x = features = keras.Input(last.output.shape[1:], name="features")
    if last is not base.layers[-1]:
        x = keras.Model(last.output, base.output)(x)
    # VGG16's own output is that of its graph; in the network's graph it is what the next layer takes
    head = keras.Model(network.layers[network.layers.index(base) + 1].input, network.output)
    return Parts(prefix, keras.Model({"features": features}, head(x)), last.name.partition("_")[0])


def compute(
    prefix: keras.Model, faces: NDArray[np.uint8], path: Path, on_batch: Callable[[int, int], None]
) -> NDArray[np.float16]:
    """Compute the features of faces (N, 48, 48) into a .npy file.

    Args:
        prefix: of `split`.
        faces: gray levels.
        path: in the scratch folder of the training; what is there is deleted.
        on_batch: called with the number of faces done so far, and of all.

    Returns:
        The same as `load`.

    Raises:
        OSError: the disk is full.
    """
    path.unlink(missing_ok=True)
    shape = (len(faces), *prefix.output_shape[1:])
    with replacing(path) as scratch, scratch.open("wb") as file:
        # written, not mapped: a full disk is then an error and no bus error
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        for start in range(0, len(faces), _BATCH):
            batch = faces[start : start + _BATCH]
            file.write(_half(prefix.predict_on_batch(batch)).tobytes())
            on_batch(start + len(batch), len(faces))
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def load(path: Path) -> NDArray[np.float16] | None:
    """Memory-map the features, (N, ...), in a file of `compute`; None where it is missing or was cut short."""
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except (FileNotFoundError, EOFError, ValueError):  # NumPy's, of an empty file and of a cut one
        return None


def size(prefix: keras.Model, n: int) -> int:
    """Return the bytes that the features of n faces take, on disk and in memory."""
    return int(n * prod(prefix.output_shape[1:]) * np.dtype(np.float16).itemsize)


def _half(features: Any) -> NDArray[np.float16]:
    """Round features, none of them negative, to half precision."""
    return np.minimum(np.asarray(features, np.float32), np.finfo(np.float16).max).astype("<f2")
