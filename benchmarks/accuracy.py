"""What speed costs in accuracy: the paper's network trained on FER2013 in three ways, by seeds.

    python benchmarks/accuracy.py COPY OF FER2013

As in the recipe `paper`, from the shipped base, but every epoch sees the same images, and the training is short: 4,000
images, three epochs. Each training is the stage's own functions in a process of its own. Accuracy is that of all of
PublicTest, after the epoch that is best on its first 500 faces, for the network as it is saved, in float32. PrivateTest
is not read. Writes benchmarks/accuracy.json, and a table into docs/performance.md.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import measure
import numpy as np
import report
import training

from ferops.machine.tensorflow import configure

RESULTS: Final = Path(__file__).with_suffix(".json")
BEGIN: Final = "<!-- benchmarks/accuracy.py writes from here -->\n"
IMAGES: Final = 4_000
CHOSEN_ON: Final = 500
SEEDS: Final = (0, 1, 2)
WAYS: Final = {
    "the whole network in float32": ("float32", False),
    "features of blocks 1-3 in half precision, the rest in float32": ("float32", True),
    "features in half precision, the rest in bfloat16": ("mixed_bfloat16", True),
}
"""Precision, and whether the frozen blocks are computed once."""


def train(way: str, seed: int, data: Path) -> float:
    """Train as the stage does; return the accuracy on PublicTest."""
    configure()
    from ferops.model.training import fitting, frozen_prefix
    from ferops.stages.train import build_networks

    precision, is_cached = WAYS[way]
    given = training.settings("paper")
    settings = given.train.model_copy(update={"seed": seed, "epochs": 3, "online_augmentation": False})
    with np.load(data) as arrays:
        faces, labels, held_out, held_labels = (arrays[name] for name in ("faces", "labels", "held_out", "held_labels"))
    core, network, _ = build_networks(given.model_copy(update={"train": settings}), precision)
    with tempfile.TemporaryDirectory() as folder:
        fitted, inputs = network, (faces, held_out[:CHOSEN_ON])
        if is_cached:
            fitted, inputs = frozen_prefix.prepare(
                network, inputs, given.model, settings, Path(folder), say=print, on_batch=lambda _done, _total: None
            )
        fitting.fit(fitted, (inputs[0], labels), (inputs[1], held_labels[:CHOSEN_ON]), settings, Path(folder))
    core.set_weights(network.get_weights())
    right = core.predict(held_out, batch_size=64, verbose=0).argmax(axis=1) == held_labels
    return float(right.mean())


def write_faces(copy: Path, path: Path) -> None:
    """Write training images that are no blanks, chosen at random, and all of PublicTest, median-filtered."""
    from ferops.data.preprocessing import filters
    from ferops.data.readers import layouts

    read = layouts.read(copy)
    training = np.flatnonzero((read.usages == "Training") & (read.images.std(axis=(1, 2)) > 2))
    rows = np.sort(np.random.default_rng(0).choice(training, IMAGES, replace=False))
    held_out = np.flatnonzero(read.usages == "PublicTest")
    np.savez(
        path, faces=filters.median(read.images[rows], 3), labels=read.labels[rows],
        held_out=filters.median(read.images[held_out], 3), held_labels=read.labels[held_out],
    )  # fmt: skip


def rendered(results: dict[str, Any]) -> str:
    """Return the table in Markdown, below a line on the machine."""
    machine = results["machine"]
    lines = [["trained", *(f"seed {seed}" for seed in SEEDS), "mean"]]
    for way, found in results["ways"].items():
        lines.append([way, *(f"{value:.3f}" for value in [*found, float(np.mean(found))])])
    about = f"{results['images']:,} images. {report.processor(machine)}. Commit {machine['commit']}.\n"
    return f"{about}\n{report.table(*lines)}\n"


def main(copy: Path) -> None:
    """Train by turns, and write results and table after each seed."""
    before = measure.machine()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "faces.npz")
        write_faces(copy, data)
        for seed in SEEDS:
            for way in WAYS:
                command = [sys.executable, __file__, way, str(seed), str(data)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[way].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"seed {seed}, {way}: {found[way][-1]}", flush=True)
    report.write(BEGIN, rendered(measure.save(RESULTS, before, {"images": IMAGES, "ways": found})))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        print(json.dumps(train(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
