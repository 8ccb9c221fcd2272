"""How accurate a network is on faces that are worse than those of the test, and where it is certain.

    python benchmarks/robustness.py COPY OF FER2013 [MODEL]

The faces are PublicTest's, made worse in six ways at four strengths, as a camera or a web page would; PrivateTest is
not read. MODEL is what `ferops predict --model` takes, by default the shipped network. Writes
benchmarks/robustness.json and, of the shipped network, the table and the picture of docs/results.md.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import measure
import numpy as np
import report
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.progress import track

from ferops.data.readers import layouts
from ferops.labels import SIDE
from ferops.model import metrics
from ferops.model.plots import BLUE, GRAY, OWN_STYLE
from ferops.predict import networks

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = Path(__file__).with_suffix(".json")
BEGIN: Final = "<!-- benchmarks/robustness.py writes from here -->\n"
PAGE, PLOT = ROOT / "docs/results.md", ROOT / "docs/images/robustness.png"
THRESHOLDS: Final = np.arange(0.2, 0.96, 0.05).round(2)

Face = NDArray[np.uint8]


def blurred(face: Face, sigma: float) -> Face:
    """Blur a face by a Gaussian of so many pixels."""
    return cv2.GaussianBlur(face, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def noisy(face: Face, std: float) -> Face:
    """Add Gaussian noise of so many gray levels, seeded by the pixels."""
    rng = np.random.default_rng(int(face.sum()))
    return np.rint(np.clip(face + rng.normal(0, std, face.shape), 0, 255)).astype(np.uint8)


def compressed(face: Face, quality: float) -> Face:
    """Compress a face as a JPEG of this quality."""
    encoded = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


def darkened(face: Face, share: float) -> Face:
    """Multiply the gray levels of a face, rounded as a dark exposure rounds them."""
    return np.rint(face * share).astype(np.uint8)


def rotated(face: Face, degrees: float) -> Face:
    """Turn a face about its middle."""
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), degrees, 1)
    return cv2.warpAffine(face, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def coarse(face: Face, side: float) -> Face:
    """Shrink a face to so many pixels a side, and enlarge it again."""
    small = cv2.resize(face, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


WAYS: Final[dict[str, tuple[Callable[[Face, float], Face], tuple[float, ...]]]] = {
    "blur, pixels": (blurred, (0.5, 1, 1.5, 2)),
    "noise, gray levels": (noisy, (5, 10, 20, 40)),
    "JPEG, quality": (compressed, (50, 20, 10, 5)),
    "darkness, share of the light": (darkened, (0.7, 0.5, 0.3, 0.15)),
    "rotation, degrees": (rotated, (5, 10, 20, 30)),
    "resolution, pixels a side": (coarse, (36, 24, 16, 12)),
}
"""By name and unit: what makes a face worse, and the strengths, from weak to strong."""


def certain(probabilities: NDArray[np.float32], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return for each threshold the share of answers that are uncertain, and the accuracy of the others."""
    found = []
    for threshold in THRESHOLDS.tolist():
        kept = probabilities.max(axis=1) >= threshold
        if kept.any():
            uncertain, accuracy = float(1 - kept.mean()), float(right[kept].mean())
            found.append({"threshold": threshold, "uncertain": uncertain, "accuracy": accuracy, "n": int(kept.sum())})
    return found


def rendered(results: dict[str, Any]) -> str:
    """Return the tables in Markdown: accuracy by way and strength, and by the share of uncertain answers."""
    low, high = results["interval"]
    machine = results["machine"]
    about = (
        f"`{results['network']}` on PublicTest, n = {results['n']:,}; as they are: {results['accuracy']:.3f} "
        f"({low:.3f}-{high:.3f}). Commit {machine['commit']}.\n"
    )
    rows = [["faces made worse by", *(["strength: accuracy"] * 4)]]
    for name, found in results["ways"].items():
        rows.append([name, *(f"{one['strength']:g}: {one['accuracy']:.3f}" for one in found)])
    sure = [["answers below are uncertain", "share of uncertain answers", "accuracy of the others"]]
    sure += [
        [f"{one['threshold']:.2f}", f"{one['uncertain']:.1%}", f"{one['accuracy']:.3f}"]
        for one in results["certain"]
        if round(100 * one["threshold"]) % 10 == 0
    ]
    return f"{about}\n{report.table(*rows)}\n\n{report.table(*sure)}\n"


@OWN_STYLE
def plot(results: dict[str, Any]) -> None:
    """Plot accuracy against strength, a panel a way, and against the share of uncertain answers."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = list(figure.subplots(2, 4, sharey=True).flat)
    for axes, (name, found) in zip(panels, results["ways"].items(), strict=False):
        low, high = (np.array([one["interval"][side] for one in found]) for side in (0, 1))
        accuracy = np.array([one["accuracy"] for one in found])
        axes.errorbar(range(1, 5), accuracy, yerr=[accuracy - low, high - accuracy], color=BLUE, marker="o", capsize=3)
        axes.set_xticks(range(1, 5), [f"{one['strength']:g}" for one in found])
        axes.set_title(name)
        axes.axhline(results["accuracy"], color=GRAY, linestyle=":")
    sure = panels[6]
    sure.plot(
        [one["uncertain"] for one in results["certain"]], [one["accuracy"] for one in results["certain"]], color=BLUE
    )
    sure.axhline(results["accuracy"], color=GRAY, linestyle=":")
    sure.set(title="certain answers alone", xlabel="share of uncertain answers")
    panels[7].set_visible(False)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.set_ylim(0, 1)
    for axes in panels[::4]:
        axes.set_ylabel("accuracy on PublicTest")
    figure.savefig(PLOT, dpi=100)


def main(copy: Path, model: str | None) -> None:
    """Measure every way at every strength."""
    before, network, data = measure.machine(), networks.load(model), layouts.read(copy)
    public = (data.usages == "PublicTest") & (data.images.std(axis=(1, 2)) > 0)
    faces, labels = data.images[public], data.labels[public]

    def figures(images: Face) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.bool_]]:
        probabilities = network.probabilities(images)
        right = probabilities.argmax(axis=1) == labels
        interval = list(metrics.wilson(int(right.sum()), len(right)))
        return {"accuracy": float(right.mean()), "interval": interval}, probabilities, right

    plain, probabilities, right = figures(faces)
    ways: dict[str, list[dict[str, Any]]] = {}
    todo = [(name, change, strength) for name, (change, strengths) in WAYS.items() for strength in strengths]
    for name, change, strength in track(todo, "measuring"):
        worse = np.stack([change(face, strength) for face in faces])
        ways.setdefault(name, []).append({"strength": strength, **figures(worse)[0]})
    found = {
        "network": network.name, "n": len(labels), **plain, "ways": ways, "certain": certain(probabilities, right)
    }  # fmt: skip
    if model:
        print(rendered({"machine": before, **found}))
        return
    results = measure.save(RESULTS, before, found)
    report.write(BEGIN, rendered(results), PAGE)
    plot(results)
    print(rendered(results))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else None)
