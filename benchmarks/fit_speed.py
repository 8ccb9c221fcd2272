"""Speed of training with `ferops.machine.tensorflow.configure` and without, as ratios measured in one run.

    python benchmarks/fit_speed.py [SYSTEM...]

Each measurement is a process of its own, since TensorFlow reads its environment once. Ways take turns; the faster of
two counts. The gradients are those of five steps, their difference relative to the greatest one of a variable: about
1e-5, and on single variables up to 1e-1 where a ReLU's input is zero but for rounding, so that one way passes it on and
the other does not.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
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
STEPS = 5
ROUNDS = 2
WAYS = ("as it is", "oneDNN", "configured")


def work(system: str, way: str, gradients: Path) -> None:
    """Train for some batches; print images a second and the greatest memory in MiB, save the first step's gradients."""
    if way == "configured":
        tensorflow.configure()
    import keras

    from ferops.data import augmentation
    from ferops.model import fitting, weights
    from ferops.model.networks import systems

    given = params.load()
    settings = given.train.model_copy(update={"epochs": 1, "batch_size": BATCH_SIZE[system]})
    model = params.Model(name=system, noise=0, dropout=0, **SYSTEMS[system])
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (BATCHES[system] * settings.batch_size, 48, 48), dtype=np.uint8)
    labels = rng.integers(0, 7, len(faces))

    keras.utils.set_random_seed(0)
    network = systems.build(model)
    weights.initialize(network, model.weights, 0)
    start = network.get_weights()
    trained = [np.array(variable) for variable in network.trainable_variables]
    network.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", jit_compile=False)
    found = {}
    for step in range(STEPS):
        rows = slice(8 * step, 8 * step + 8)
        network.train_on_batch(faces[rows], labels[rows])
        for place, (old, new) in enumerate(zip(trained, network.trainable_variables, strict=True)):
            found[f"{step} {place}"] = old - np.array(new)
        network.set_weights(start)
    np.savez(gradients, **found)

    times = []
    with tempfile.TemporaryDirectory() as scratch:
        fitting.fit(
            network, (faces, labels), (faces[:7], np.arange(7)), settings, Path(scratch),
            transform=lambda batch, _epoch, rng: augmentation.warp(batch, given.augment.warp, rng),
            on_batch=lambda *_: times.append(time.perf_counter()),
        )  # fmt: skip
    speed = settings.batch_size * (BATCHES[system] - WARMUP) / (times[-1] - times[WARMUP - 1])
    print(json.dumps([speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def measure(system: str, way: str, gradients: Path) -> tuple[float, float]:
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


def differences(one: Path, other: Path) -> list[float]:
    """Of two files of gradients, for each step the greatest, as a fraction of its variable's greatest gradient."""
    found = [0.0] * STEPS
    with np.load(one) as first, np.load(other) as second:
        for name in first:
            apart = np.abs(first[name] - second[name]).max() / (np.abs(first[name]).max() or 1.0)
            found[int(name.split()[0])] = max(found[int(name.split()[0])], float(apart))
    return found


def main(systems: list[str]) -> None:
    """Measure, and print one row a system and way."""
    table = Table("system", "TensorFlow", "images/s", "ratio", "memory, MiB", "gradients differ by")
    with tempfile.TemporaryDirectory() as folder:
        for system in systems:
            files = {way: Path(folder) / f"{system} {way}.npz" for way in WAYS}
            results = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for way in WAYS:
                    results[way].append(measure(system, way, files[way]))
            usual = max(results[WAYS[0]])[0]
            for way in WAYS:
                speed, memory = max(results[way])
                apart = differences(files[WAYS[0]], files[way])
                spread = f"{min(apart):.0e} - {max(apart):.0e}"
                table.add_row(system, way, f"{speed:,.0f}", f"{speed / usual:.2f}", f"{memory:,.0f}", spread)
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main(sys.argv[1:] or list(SYSTEMS))
