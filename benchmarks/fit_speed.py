"""Speed of training with `ferops.machine.tensorflow.configure` and without, as ratios measured in one run.

    python benchmarks/fit_speed.py [SYSTEM...]

Each measurement is a process of its own, since TensorFlow reads its environment once. Compared are the gradients of ten
batches of 32 faces, each as one vector: the norm of the difference as a fraction of the norm, median and greatest.
Where the input of a ReLU is zero but for rounding, one way passes the gradient on and the other does not; synthetic
faces have more such areas than those of FER2013, which are taken where FER2013_MINI names a copy.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import compare, peak_memory
from rich.console import Console
from rich.table import Table

from ferops import params
from ferops.machine import tensorflow

SYSTEMS = {
    "vgg16_transfer": {"weights": "weights/vgg16_fer_base.weights.h5", "frozen_blocks": 3, "scaling": "caffe"},
    "lean_cnn": {"weights": "none", "frozen_blocks": 0, "scaling": "unit"},
}
BATCH_SIZE = {"vgg16_transfer": 32, "lean_cnn": 128}
BATCHES = {"vgg16_transfer": 16, "lean_cnn": 36}
WARMUP = 4
ROUNDS = 3
COMPARED = 10
WAYS = ("as it is", "oneDNN", "configured")


def work(system: str, way: str, gradients: Path) -> None:
    """Train for some batches; print images a second and the greatest memory in MiB, save the compared gradients."""
    if way == "configured":
        tensorflow.configure()
    import keras

    from ferops.data import augmentation
    from ferops.data.readers import layouts
    from ferops.data.synthetic import generator
    from ferops.model import weights
    from ferops.model.networks import systems
    from ferops.model.training import fitting
    from ferops.model.training.batches import Transform

    given = params.load()
    settings = given.train.model_copy(update={"epochs": 1, "batch_size": BATCH_SIZE[system]})
    model = params.Model(name=system, noise=0, dropout=0, **SYSTEMS[system])
    count = BATCHES[system] * settings.batch_size
    if copy := os.environ.get("FER2013_MINI"):
        data = layouts.read(Path(copy))
    else:
        data = generator.generate_sample(seed=0, counts={"train": 32 * COMPARED, "validation": 14, "test": 14})
    faces, labels = np.resize(data.images, (count, 48, 48)), np.resize(data.labels, count)

    keras.utils.set_random_seed(0)
    network = systems.build(model)
    weights.initialize(network, model.weights, 0)
    start = network.get_weights()
    network.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", jit_compile=False)
    before, found = _flat(network), []
    for rows in np.arange(32 * COMPARED).reshape(COMPARED, 32):
        network.set_weights(start)
        network.train_on_batch(faces[rows], labels[rows])
        found.append(before - _flat(network))
    np.save(gradients, found)
    network.set_weights(start)

    times = []
    with tempfile.TemporaryDirectory() as scratch:
        fitting.fit(
            network, (faces, labels), (faces[:7], np.arange(7)), settings, Path(scratch),
            transform=Transform(partial(augmentation.draw, given.augment.warp), augmentation.apply),
            on_batch=lambda *_: times.append(time.perf_counter()),
        )  # fmt: skip
    speed = settings.batch_size * (BATCHES[system] - WARMUP) / (times[-1] - times[WARMUP - 1])
    print(json.dumps([speed, peak_memory()]))


def _flat(network: Any) -> np.ndarray:
    return np.concatenate([np.ravel(variable) for variable in network.trainable_variables])


def run(system: str, way: str, gradients: Path) -> tuple[float, float]:
    """Images a second and MiB of a process of its own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "TF_ENABLE_ONEDNN_OPTS" and not name.startswith("MALLOC_")
    }
    if way == "oneDNN":
        environment["TF_ENABLE_ONEDNN_OPTS"] = "1"
    done = subprocess.run(
        [sys.executable, __file__, "--work", system, way, str(gradients)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    speed, memory = json.loads(done.stdout.splitlines()[-1])
    return speed, memory


def main(systems: list[str]) -> None:
    """Measure, and print one row a system and way."""
    table = Table("system", "TensorFlow", "images/s", "ratio", "memory, MiB", "gradients differ by, median (greatest)")
    with tempfile.TemporaryDirectory() as folder:
        for system in systems:
            files = {way: Path(folder) / f"{system} {way}.npy" for way in WAYS}
            results = compare(
                {way: way for way in WAYS}, ROUNDS, lambda way, system=system, files=files: run(system, way, files[way])
            )
            usual, _ = np.median(results[WAYS[0]], axis=0)
            for way in WAYS:
                speed, memory = np.median(results[way], axis=0)
                reference, gradient = np.load(files[WAYS[0]]), np.load(files[way])
                apart = np.linalg.norm(gradient - reference, axis=1) / np.linalg.norm(reference, axis=1)
                differ = f"{np.median(apart):.0e} ({apart.max():.0e})"
                table.add_row(system, way, f"{speed:,.0f}", f"{speed / usual:.2f}", f"{memory:,.0f}", differ)
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main(sys.argv[1:] or list(SYSTEMS))
