"""What Wang's generator draws, and whether it helps: `gan_augmented` beside its network alone, on FER2013.

    python benchmarks/generated_faces.py COPY OF FER2013 [EPOCHS]

Both are trained by the recipe, on Training, for the same epochs (10 by default) from the same weights. The shipped
network judges the generator's images: whether it names the class that was asked for, and how far the images are from
PublicTest's by the Frechet distance of its features (Heusel et al. 2017, with this network in place of Inception).
PrivateTest is not read. Writes benchmarks/generated_faces.json, a table into docs/results.md and
.scratch/generated_faces.png, ten images a class.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import cv2
import measure
import numpy as np
import report
import training
from numpy.typing import NDArray

from ferops.data.readers import layouts
from ferops.data.readers.faces import FaceDataset
from ferops.labels import NAMES, SIDE
from ferops.machine.files import SCRATCH
from ferops.machine.tensorflow import configure
from ferops.model import metrics

RESULTS: Final = Path(__file__).with_suffix(".json")
BEGIN: Final = "<!-- benchmarks/generated_faces.py writes from here -->\n"
PAGE: Final = report.ROOT / "docs/results.md"
JUDGE: Final = report.ROOT / "weights/lean_cnn.keras"
EACH: Final = 500
"""Generated images a class."""

CLASSES: Final = np.repeat(np.arange(len(NAMES)), EACH)
"""Of the generated images."""

Faces = NDArray[np.uint8]
Labels = NDArray[np.int64]


def faces_of(read: FaceDataset, usage: str) -> tuple[Faces, Labels]:
    """Return the images of a split of FER2013 that are no blanks, and their labels."""
    rows = (read.usages == usage) & (read.images.std(axis=(1, 2)) > 0)
    return read.images[rows], read.labels[rows]


def distance(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Return the Frechet distance of two sets of features, float32 (N, n), each taken for a normal distribution."""
    (mean, covariance), (other, others) = ((one.mean(axis=0), np.cov(one, rowvar=False)) for one in (ours, theirs))
    root = np.sqrt(np.linalg.eigvals(covariance @ others).real.clip(0)).sum()  # the trace of the product's square root
    return float(((mean - other) ** 2).sum() + np.trace(covariance + others) - 2 * root)


def drawn(generator: Any) -> Faces:
    """Generate images of `CLASSES`, uint8 (n, 48, 48); seeded."""
    noise = np.random.default_rng(0).normal(size=(len(CLASSES), generator.input_shape[0][1])).astype(np.float32)
    images = generator.predict([noise, np.eye(len(NAMES), dtype=np.float32)[CLASSES]], batch_size=250, verbose=0)
    return np.rint(255 * images[..., 0]).astype(np.uint8)


def train(train: tuple[Faces, Labels], public: tuple[Faces, Labels], epochs: int) -> tuple[dict[str, Any], Any, Any]:
    """Train the network alone, then beside its generator.

    Returns:
        The figures of each way, and the images that were generated before and after.
    """
    from ferops.model.networks import systems
    from ferops.model.training import fitting, runtime
    from ferops.stages.train import build_networks

    given = training.settings("gan_augmented", epochs=epochs, patience=epochs)
    ways = {}
    for way in ("the network alone", "with its generator"):
        core, network, _ = build_networks(given, runtime.precision(given.train.precision))
        graph = systems.training_graph(network) if ways else network
        if graph is not network:
            generator = graph.get_layer("game").generator
            untrained = drawn(generator)
        with tempfile.TemporaryDirectory() as folder:
            progress = fitting.fit(
                graph, train, public, given.train, Path(folder), transform=training.transform(given),
                on_epoch=lambda row, way=way: print(way, f"{row['epoch']}/{epochs}", f"{row['val/accuracy']:.3f}"),
            )  # fmt: skip
        core.set_weights(network.get_weights())
        right = core.predict(public[0], batch_size=250, verbose=0).argmax(axis=1) == public[1]
        ways[way] = {
            "accuracy": float(right.mean()), "interval": list(metrics.wilson(int(right.sum()), len(right))),
            "best_epoch": progress.best_epoch, "seconds": progress.seconds,
        }  # fmt: skip
    return ways, untrained, drawn(generator)


def judge(sets: dict[str, tuple[Faces, Labels]], public: Faces) -> dict[str, Any]:
    """Return of each set of images its distance to PublicTest's, and the share of each class that is named rightly."""
    import keras

    network = keras.models.load_model(JUDGE, compile=False)
    features = keras.Model(network.input, [network.layers[-2].output, network.output])  # of 384 numbers
    of_public = features.predict(public, batch_size=250, verbose=0)[0]
    found = {}
    for name, (faces, labels) in sets.items():
        seen, probabilities = features.predict(faces, batch_size=250, verbose=0)
        right = probabilities.argmax(axis=1) == labels
        found[name] = {
            "distance": distance(seen, of_public), "accuracy": float(right.mean()),
            "recalls": [float(right[labels == label].mean()) for label in range(len(NAMES))],
        }  # fmt: skip
    return found


def rendered(results: dict[str, Any]) -> str:
    """Return the tables in Markdown: what the generator brings, and what it draws."""
    machine = results["machine"]
    about = f"{results['epochs']} epochs. {report.processor(machine)}. Commit {machine['commit']}.\n"
    ways = [["trained", "PublicTest", "best epoch", "minutes"]]
    for way, one in results["ways"].items():
        low, high = one["interval"]
        figure = f"{one['accuracy']:.3f} ({low:.3f}-{high:.3f})"
        ways.append([way, figure, str(one["best_epoch"]), f"{one['seconds'] / 60:.0f}"])
    sets = [["images", "Frechet distance to PublicTest", "class named rightly", *NAMES]]
    for name, one in results["images"].items():
        shares = (f"{share:.2f}" for share in (one["accuracy"], *one["recalls"]))
        sets.append([name, f"{one['distance']:.1f}", *shares])
    return f"{about}\n{report.table(*ways)}\n\n{report.table(*sets)}\n"


def main(copy: Path, epochs: int) -> None:
    """Train, judge, and write results, table and picture."""
    before = measure.machine()
    configure()
    read = layouts.read(copy)
    train_split, public = faces_of(read, "Training"), faces_of(read, "PublicTest")
    ways, untrained, trained = train(train_split, public, epochs)
    some = np.random.default_rng(0).permutation(len(train_split[1]))[: len(CLASSES)]
    sets = {
        "generated, before training": (untrained, CLASSES),
        "generated, after": (trained, CLASSES),
        "of Training": (train_split[0][some], train_split[1][some]),
    }
    found = {"epochs": epochs, "ways": ways, "images": judge(sets, public[0])}
    results = measure.save(RESULTS, before, found)
    report.write(BEGIN, rendered(results), PAGE)
    SCRATCH.mkdir(exist_ok=True)
    rows = trained.reshape(len(NAMES), EACH, SIDE, SIDE)[:, :10]
    cv2.imwrite(str(SCRATCH / "generated_faces.png"), np.vstack([np.hstack(list(row)) for row in rows]))
    print(rendered(results))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 10)
