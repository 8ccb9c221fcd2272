"""A training step beside the usual way and beside its convolutions alone, and the batches that feed it.

    python benchmarks/training.py

Each measurement is a process of its own, since TensorFlow reads its environment once. Wall-clock seconds are those of a
quiet machine; under other work the seconds of the processor, which are printed beside them, say more.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from measure import Line, compare
from rich.console import Console
from rich.table import Table

from ferops import params
from ferops.data import augmentation
from ferops.machine.tensorflow import configure

if TYPE_CHECKING:
    from ferops.model.training.batches import Transform

IMAGES = {"paper": 6 * 64, "best": 4 * 128, "lean_cnn": 15 * 128}
"""Of one measurement, by recipe; the first third warms up."""
SYSTEMS = {"paper": "the paper's network", "lean_cnn": "lean_cnn"}
USUAL, ONLINE, CACHED, FLOOR = "ImageDataGenerator, folders of PNGs", "ferops", "ferops, frozen features", "floor"
LEADS = {(USUAL, ONLINE): 1.7, (USUAL, CACHED): 2.2}
"""Best ratios seen for the paper's network, on cores with AVX-512 and bfloat16 (DESIGN 7)."""


class Cost(NamedTuple):
    """Milliseconds an image: of the clock, and of all processors together."""

    wall: float
    processor: float


def lines(rounds: int = 3) -> Iterator[Line]:
    """Measure the training step of the paper's network and of lean_cnn, in milliseconds an image."""
    for recipe, system in SYSTEMS.items():
        costs = measure(recipe, rounds)
        for ours in (ONLINE, CACHED):
            if ours in costs:
                yield Line(
                    f"training step, {system}", USUAL, ours, "ms/image", [one.wall for one in costs[USUAL]],
                    [one.wall for one in costs[ours]], LEADS.get((USUAL, ours)) if recipe == "paper" else None,
                    min(one.wall for one in costs[f"{FLOOR} of {ours}"]), "avx512_bf16",
                )  # fmt: skip


def measure(recipe: str, rounds: int) -> dict[str, list[Cost]]:
    """Measure each way to train a recipe's network by turns, each in a process of its own."""
    names = [USUAL, ONLINE, f"{FLOOR} of {ONLINE}"]
    if recipe == "paper":
        names += [CACHED, f"{FLOOR} of {CACHED}"]
    return compare({name: (recipe, name) for name in names}, rounds, _process)


def _process(arguments: tuple[str, ...]) -> Cost:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_ENABLE", "MALLOC_"))}
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


class Clock:
    """Takes the time after every batch; the first third warms up."""

    def __init__(self) -> None:
        """Start without a batch."""
        self._times: list[tuple[float, float]] = []

    def tick(self, *_: Any) -> None:
        """Take the time."""
        self._times.append((time.perf_counter(), time.process_time()))

    def cost(self, images: int) -> Cost:
        """Return the cost of each of `images`, the warm-up left out."""
        first = len(self._times) // 3
        (start, start_cpu), (end, end_cpu) = self._times[first], self._times[-1]
        counted = images * (len(self._times) - 1 - first) / len(self._times)
        return Cost(1000 * (end - start) / counted, 1000 * (end_cpu - start_cpu) / counted)


def settings(recipe: str, **changes: object) -> params.Params:
    """Return the parameters of a recipe, for one epoch; the paper's network starts from the shipped base."""
    given = params.merged(params.defaults().model_dump(by_alias=True), params.load_recipe(recipe), recipe)
    weights = {"weights": params.defaults().model.weights} if recipe == "paper" else {}
    return given.model_copy(
        update={
            "train": given.train.model_copy(update={"epochs": 1, "online_augmentation": True, **changes}),
            "model": given.model.model_copy(update=weights),
        }
    )


def transform(given: params.Params) -> "Transform":
    """Return what augments the faces of every batch, as the stage does."""
    from ferops.model.training.batches import Transform  # imports Keras, once TensorFlow's environment is set

    return Transform(partial(augmentation.draw, given.augment.warp), augmentation.apply, augmentation.apply_on_device)


def data(recipe: str) -> tuple[np.ndarray, np.ndarray]:
    """Return random faces and labels: their content changes no cost."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES[recipe], 48, 48), dtype=np.uint8), rng.integers(0, 7, IMAGES[recipe])


def usual(recipe: str) -> Cost:
    """Train as notebooks do: tf.keras in its own environment, float32, images from folders of PNGs."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf

    from ferops.model.networks import systems

    given, (faces, labels) = settings(recipe), data(recipe)
    warp = given.augment.warp
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        rotation_range=warp.rotation, width_shift_range=warp.width_shift, height_shift_range=warp.height_shift,
        zoom_range=warp.zoom, horizontal_flip=warp.horizontal_flip,
    )  # fmt: skip
    network, clock = systems.build(given.model), Clock()
    network.compile(
        "adam" if given.train.optimizer == "adam" else "sgd", "categorical_crossentropy", metrics=["accuracy"]
    )
    with tempfile.TemporaryDirectory() as folder:
        for index, (face, label) in enumerate(zip(faces, labels, strict=True)):
            path = Path(folder) / str(label) / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), face)
        images = generator.flow_from_directory(folder, (48, 48), "grayscale", batch_size=given.train.batch_size)
        for _ in range(len(images)):
            batch, targets = next(images)
            network.train_on_batch(batch[..., 0], targets)
            clock.tick()
    return clock.cost(len(faces))


def ours(recipe: str, way: str) -> Cost:
    """Train by `fit`, as the stage does."""
    configure()
    import keras

    from ferops.model.networks import systems
    from ferops.model.training import fitting, frozen_prefix

    given, (faces, labels), clock = settings(recipe, online_augmentation=way == ONLINE), data(recipe), Clock()
    keras.config.set_dtype_policy(_precision(given))
    network = systems.build(given.model)
    with tempfile.TemporaryDirectory() as folder:
        if way == CACHED:
            prefix, network, _ = frozen_prefix.split(network, given.model.scaling)
            faces = frozen_prefix.compute(prefix, faces, Path(folder) / "features.npy", lambda _done, _total: None)
        fitting.fit(
            network, (faces, labels), (faces[:7], np.arange(7)), given.train, Path(folder),
            transform=transform(given), on_batch=clock.tick,
        )  # fmt: skip
    return clock.cost(len(faces))


def floor(recipe: str, way: str) -> Cost:
    """Convolve forward and back alone, each layer by itself: the sum of the best times."""
    configure()
    import tensorflow as tf

    from ferops.model.networks import systems

    given = settings(recipe)
    network, size = systems.build(given.model), given.train.batch_size
    layers = [layer for layer in network._flatten_layers() if type(layer).__name__ == "Conv2D"]
    trained = [layer for layer in layers if layer.trainable]
    dtype = "bfloat16" if _precision(given) == "mixed_bfloat16" else "float32"
    total = np.zeros(2)
    for layer in trained if way == CACHED else layers:
        images = tf.random.normal((size, *layer.input.shape[1:]), dtype=dtype)
        kernel = tf.random.normal(layer.kernel.shape, dtype=dtype)
        gradient = tf.random.normal((size, *layer.output.shape[1:]), dtype=dtype)
        same: dict[str, Any] = {"strides": [1, *layer.strides, 1], "padding": layer.padding.upper()}
        steps: list[Callable[[], Any]] = [partial(tf.nn.conv2d, images, kernel, **same)]
        if layer.trainable:
            back = {"out_backprop": gradient, **same}
            shape = kernel.shape.as_list()
            steps.append(partial(tf.raw_ops.Conv2DBackpropFilter, input=images, filter_sizes=shape, **back))
            if layer is not trained[0]:
                shape = images.shape.as_list()
                steps.append(partial(tf.raw_ops.Conv2DBackpropInput, input_sizes=shape, filter=kernel, **back))
        for step in steps:
            total += _best(tf.function(step))
    return Cost(*(1000 * total / size))


def batches(recipe: str) -> Cost:
    """Make the batches of a recipe alone, augmented as it says, on one core."""
    from ferops.model.networks import systems
    from ferops.model.training.batches import Batches

    cv2.setNumThreads(1)
    given, clock = settings(recipe), Clock()
    made = Batches(systems.build(given.model), data(recipe), given.train, 1, transform(given))
    for index in range(len(made)):
        made[index]
        clock.tick()
    return clock.cost(IMAGES[recipe])


def _precision(given: params.Params) -> str:
    from ferops.model.training import runtime

    return runtime.precision(given.train.precision)


def _best(step: Callable[[], Any]) -> np.ndarray:
    """Return the least of seven costs, in seconds, the first of which traces the graph."""
    costs = []
    for _ in range(7):
        started, processor = time.perf_counter(), time.process_time()
        step().numpy()
        costs.append((time.perf_counter() - started, time.process_time() - processor))
    return np.min(costs[1:], axis=0)


def main() -> None:
    """Print a table of the steps, and one of the batches beside the step that they feed."""
    steps = Table("network", "way", "ms an image, best", "on one processor, best", "of the floor")
    online = {}
    for recipe in SYSTEMS:
        costs = {name: Cost(*np.min(found, axis=0)) for name, found in measure(recipe, 2).items()}
        online[recipe] = costs[ONLINE].processor
        for name, cost in costs.items():
            bound = costs.get(f"{FLOOR} of {name}")
            share = f"{bound.processor / cost.processor:.0%}" if bound else ""
            steps.add_row(SYSTEMS[recipe], name, f"{cost.wall:.2f}", f"{cost.processor:.2f}", share)
    fed = Table("recipe", "batches alone, ms an image on one processor", "of the step's")
    for recipe in IMAGES:
        alone = _process((recipe, "batches")).processor
        step = online.get(recipe) or _process((recipe, ONLINE)).processor
        fed.add_row(recipe, f"{alone:.3f}", f"{alone / step:.1%}")
    Console().print(steps, fed)


if __name__ == "__main__":
    if sys.argv[1:]:
        recipe, way = sys.argv[1:]
        work = {USUAL: usual, "batches": batches}.get(way)
        if work is None:
            work = partial(floor if way.startswith(FLOOR) else ours, way=way.removeprefix(f"{FLOOR} of "))
        print(json.dumps(work(recipe)))
    else:
        main()
