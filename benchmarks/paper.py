"""The tables and the picture of docs/paper.md: `python benchmarks/paper.py PREDICTIONS.parquet`."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ferops import paper
from ferops.labels import NAMES
from ferops.model import metrics, plots

PICTURE = Path(__file__).parent.parent / "docs/images/paper_confusions.png"
SHUFFLES = 1_000
COLUMNS = ["id", "split", "label", *NAMES, "duplicate_in_train"]


def read(path: Path) -> pd.DataFrame:
    """Predictions of validation and test as `evaluate` writes them; anything else ends the program with one line."""
    try:
        table = pd.read_parquet(path, columns=COLUMNS)
    except FileNotFoundError:
        sys.exit(f"paper.py: {path} is missing; expected the predictions.parquet that `dvc repro` writes")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        sys.exit(f"paper.py: {path} is no table with the columns {', '.join(COLUMNS)} ({reason}); run `dvc repro`")
    if set(table["split"]) != {"validation", "test"}:
        sys.exit(f"paper.py: {path} lacks validation or test; set evaluate.test: true and run `dvc repro`")
    return table


def scores(predictions: pd.DataFrame) -> list[tuple[str, ...]]:
    """Our network's figures by the code that evaluates models, beside what the formulas make of its P and R."""
    probabilities = predictions[list(NAMES)].to_numpy(np.float32)
    labels = predictions["label"].to_numpy(np.int64)
    ours = metrics.evaluate(
        labels,
        probabilities,
        duplicate_in_train=predictions["duplicate_in_train"].to_numpy(bool),
        tta=probabilities,
        bins=15,
    )
    p, r = ours["precision_micro"], ours["recall_micro"]
    low, high = paper.accuracy_bounds(p, r)
    undecided = probabilities.max(axis=1) <= 0.5
    right = (probabilities.argmax(axis=1) == labels)[undecided].mean()
    return [
        ("images", f"{ours['n']:,}", ""),
        ("P, micro at one half", f"{p:.3f}", ""),
        ("R, micro at one half", f"{r:.3f}", ""),
        ("binary accuracy", f"{ours['binary_accuracy']:.4f}", f"{paper.binary_accuracy(p, r):.4f}"),
        ("accuracy", f"{ours['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"),
        ("images with no output above one half", f"{undecided.mean():.3f}", f"{paper.undecided(p, r):.3f}"),
        ("of these, right", f"{right:.3f}", ""),
    ]


def draw(path: Path, table: paper.Table) -> None:
    """The confusion matrix as shares of the true class: straight, and with shuffled labels."""
    once = paper.shuffled(*paper.unrolled(table), seed=0)
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    figure.suptitle(f"The same predictions of our network on FER2013's PublicTest and PrivateTest, n = {table.sum():,}")
    for axes, counts, title in zip(
        figure.subplots(1, 2), (table, once), ("labels in their own order", "labels shuffled (seed 0)"), strict=True
    ):
        plots.confusion_axes(axes, counts, normalised=True)
        axes.set_ylabel("label that it was compared with (shares of the row)")
        axes.set_title(f"{title}\naccuracy {paper.accuracy(counts):.3f}, kappa {paper.kappa(counts):.4f}")
    figure.savefig(path, dpi=100)


def show(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table."""
    for cells in (header, ["---"] * len(header), *rows):
        print("|", " | ".join(map(str, cells)), "|")
    print()


def main() -> None:
    """Print the four tables and write the picture."""
    parser = argparse.ArgumentParser(description="Print the tables of docs/paper.md and write its picture.")
    parser.add_argument("predictions", type=Path, help="predictions.parquet of a model evaluated on all of FER2013")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where to write it (default: %(default)s)")
    arguments = parser.parse_args()
    predictions = read(arguments.predictions)
    highest = predictions[list(NAMES)].to_numpy().argmax(axis=1)
    table = metrics.confusion(predictions["label"].to_numpy(), highest)
    show(["figure", "the paper", "computed"], paper.checks())
    show(["figure", "measured", "from P and R"], scores(predictions))
    show(["true / predicted", *NAMES], [(name, *row) for name, row in zip(NAMES, table.tolist(), strict=True)])
    show(
        [
            "figure",
            "the paper's Table 4",
            "ours",
            "ours, shuffled",
            f"{SHUFFLES:,} shuffles, 95%",
            "of them below Table 4",
        ],
        paper.demonstration(table, SHUFFLES),
    )
    draw(arguments.picture, table)


if __name__ == "__main__":
    main()
