"""Print the tables of docs/paper.md and draw its picture: `python benchmarks/paper_audit.py PREDICTIONS.parquet`."""

import argparse
import itertools
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import chi2

from ferops import paper
from ferops.labels import MERGED_COUNTS, NAMES, OFFICIAL_COUNTS
from ferops.model import metrics, plots

PICTURE = Path(__file__).parent.parent / "docs/images/paper_confusions.png"
SHUFFLES = 1_000
COLUMNS = ["id", "split", "label", *NAMES, "duplicate_in_train"]
MERGED = dict(zip(NAMES, MERGED_COUNTS, strict=True))

Row = tuple[str, str, str]


def read(path: Path) -> pd.DataFrame:
    """Read predictions of validation and test as `evaluate` writes them; exit with one line on anything else."""
    try:
        table = pd.read_parquet(path, columns=COLUMNS)
    except FileNotFoundError:
        sys.exit(f"paper_audit.py: {path} is missing; expected the predictions.parquet that `dvc repro` writes")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        sys.exit(
            f"paper_audit.py: {path} is no table with the columns {', '.join(COLUMNS)} ({reason}); run `dvc repro`"
        )
    if set(table["split"]) != {"validation", "test"}:
        sys.exit(f"paper_audit.py: {path} lacks validation or test; set evaluate.test: true and run `dvc repro`")
    return table


def scores(predictions: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return our network's figures, measured and as the formulas give them from its P and R."""
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


def checks() -> list[Row]:
    """Return every figure of the paper that can be computed: its name, as printed, as computed."""
    return [*network_checks(), *metric_checks(), *table_4_checks(), *data_checks()]


def demonstration(table: paper.Table, shuffles: int) -> list[tuple[str, ...]]:
    """Compare a model's confusion matrix, straight and with shuffled labels, with the paper's.

    Args:
        table: the model's counts.
        shuffles: how many to take the range by chance from; the first of them is also shown alone.

    Returns:
        Rows of: figure, the paper's Table 4, straight, shuffled once, middle 95% of the shuffles, share of the shuffles
        below the paper's value.
    """
    tables = paper.TABLE_4, table, paper.shuffled(*paper.unrolled(table), seed=0)
    tests, chance = [paper.chi_square(one) for one in tables], paper.by_chance(table, shuffles)
    accuracies, kappas = ([compute(one) for one in tables] for compute in (paper.accuracy, paper.kappa))
    statistics = [float(test.statistic) for test in tests]
    return [
        ("images", *(f"{one.sum():,}" for one in tables), "", ""),
        ("accuracy", *(f"{one:.3f}" for one in accuracies), *place(chance.accuracy, accuracies[0], digits=3)),
        ("macro recall", *(f"{paper.macro_recall(one):.3f}" for one in tables), "", ""),
        ("kappa", *(f"{one:.4f}" for one in kappas), *place(chance.kappa, kappas[0], digits=4)),
        ("chi-square", *(f"{one:,.1f}" for one in statistics), *place(chance.chi_square, statistics[0], digits=1)),
        ("degrees of freedom", *(str(test.dof) for test in tests), "", ""),
        ("p", *(p_text(test.pvalue) for test in tests), "", ""),
    ]


def network_checks() -> list[Row]:
    """Check the counts of Table 2."""
    ours = paper.parameters(frozen_blocks=3)
    statistics = paper.parameters(frozen_blocks=0).non_trainable
    fixed = f"{paper.TABLE_2.non_trainable:,}; {paper.TEXT_NON_TRAINABLE:,} in the text"
    return [
        ("parameters", f"{paper.TABLE_2.total:,}", f"{ours.total:,}"),
        ("trained, with blocks 1-3 frozen", f"{paper.TABLE_2.trainable:,}", f"{ours.trainable:,}"),
        ("not trained, with blocks 1-3 frozen", fixed, f"{ours.non_trainable:,}"),
        ("of these, weights of blocks 1-3", "", f"{ours.non_trainable - statistics:,}"),
        ("of these, moving statistics of batch norms", "", f"{statistics:,}"),
        ("trained, if all of VGG16 were frozen", "", f"{paper.parameters(frozen_blocks=5).trainable:,}"),
    ]


def metric_checks() -> list[Row]:
    """Check accuracy and F1 against precision and recall."""
    # the corners of what precision and recall were rounded from: every figure is monotone in each
    ends = (-paper.ROUNDING, paper.ROUNDING)
    rounded = [(paper.PRECISION + one, paper.RECALL + other) for one, other in itertools.product(ends, ends)]
    binary = between([paper.binary_accuracy(*pair) for pair in rounded], digits=3)
    bounds = between([bound for pair in rounded for bound in paper.accuracy_bounds(*pair)], digits=3)
    happy = MERGED["happy"] / sum(MERGED_COUNTS)
    return [
        (
            "binary accuracy, from P and R",
            f"{paper.ACCURACY:.0%}",
            f"{paper.binary_accuracy(paper.PRECISION, paper.RECALL):.4f}",
        ),
        ("binary accuracy, whatever P and R were rounded from", "", binary),
        ("F1, from P and R", f"{paper.F1:.0%}", f"{paper.f1(paper.PRECISION, paper.RECALL):.4f}"),
        ("accuracy, from P and R", "", between(paper.accuracy_bounds(paper.PRECISION, paper.RECALL), digits=3)),
        ("accuracy, whatever P and R were rounded from", "", bounds),
        ("images with no output above one half", "", f"{paper.undecided(paper.PRECISION, paper.RECALL):.3f}"),
        ("greatest accuracy, if R were macro", "", f"{paper.accuracy_ceiling(paper.RECALL, MERGED):.3f}"),
        ("binary accuracy of a network that never fires", "", f"{paper.binary_accuracy(1, 0):.3f}"),
        ('accuracy of always "happy"', "", f"{happy:.3f}"),
        ('binary accuracy of always "happy"', "", f"{paper.binary_accuracy(happy, happy):.3f}"),
        (
            "training accuracy, if binary as well",
            f"{paper.TRAIN_ACCURACY:.2%}",
            f"at least {paper.least_accuracy(paper.TRAIN_ACCURACY):.3f}",
        ),
        (
            "geometric mean of the true class's probability, training",
            f"loss {paper.TRAIN_LOSS}",
            f"{math.exp(-paper.TRAIN_LOSS):.2f}",
        ),
        (
            "geometric mean of the true class's probability, test",
            f"loss {paper.TEST_LOSS}",
            f"{math.exp(-paper.TEST_LOSS):.2f}",
        ),
    ]


def table_4_checks() -> list[Row]:
    """Check the confusion matrix, from its cells, against chance, and its rows against FER2013."""
    table, test = paper.TABLE_4, paper.chi_square(paper.TABLE_4)
    by_chance = paper.accuracy_by_chance(table)
    return [
        ("Table 4, accuracy", f"{paper.ACCURACY:.0%}", f"{paper.accuracy(table):.3f}"),
        ("Table 4, accuracy by chance", "", f"{by_chance:.3f}"),
        ("Table 4, diagonal", "", f"{table.trace():,}"),
        ("Table 4, diagonal by chance", "", f"{by_chance * table.sum():,.0f}"),
        ("Table 4, macro recall", f"recall {paper.RECALL:.0%}", f"{paper.macro_recall(table):.3f}"),
        ("Table 4, macro recall by chance", "", f"{1 / len(NAMES):.3f}"),
        ("Table 4, kappa", "", f"{paper.kappa(table):.4f}"),
        ("Table 4, chi-square", "", f"{test.statistic:.1f}"),
        ("Table 4, degrees of freedom", "", f"{test.dof}"),
        ("Table 4, p", "", f"{test.pvalue:.2f}"),
        ("Table 4, chi-square by chance, 95%", "", between(chi2.ppf((0.025, 0.975), test.dof), digits=1)),
        *(
            (f"Table 4, row {name}", f"{printed:,}", f"{MERGED[name]:,}")
            for name, printed in zip(NAMES, table.sum(axis=1).tolist(), strict=True)
        ),
        ("Table 4, all rows", f"{table.sum():,}", f"{sum(MERGED_COUNTS):,}"),
    ]


def table_4() -> list[tuple[str, ...]]:
    """Return the cells of Table 4 with the sums of its rows, and PublicTest and PrivateTest beside them."""
    rows = zip(NAMES, paper.TABLE_4.tolist(), MERGED_COUNTS, strict=True)
    return [(name, *map(str, cells), f"{sum(cells):,}", f"{merged:,}") for name, cells, merged in rows]


def data_checks() -> list[Row]:
    """Check the sizes of the test splits."""
    total = sum(map(sum, OFFICIAL_COUNTS.values()))
    low, high = metrics.wilson(round(0.75 * paper.TEST_IMAGES), paper.TEST_IMAGES)
    return [
        ("test images, Kaggle's own split", f"{paper.TEST_IMAGES:,}", f"{sum(OFFICIAL_COUNTS['test']):,}"),
        ("test images, 70/30 split", "30%", f"{round(0.3 * total):,}"),
        ("95% interval of an accuracy of 0.75, Kaggle's own split", "", f"+/- {100 * (high - low) / 2:.1f} points"),
    ]


def between(values: Iterable[float], digits: int) -> str:
    """Format the least and the greatest value."""
    low, *_, high = sorted(values)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def place(values: NDArray[np.float64], printed: float, digits: int) -> tuple[str, str]:
    """Return the middle 95% of the values, and the share of them below the paper's."""
    return between(np.quantile(values, (0.025, 0.975)), digits), f"{(values < printed).mean():.0%}"


def p_text(p: float) -> str:
    """Format a p-value."""
    return f"{p:.2f}" if p >= 0.01 else "< 0.01"


def draw(path: Path, table: paper.Table) -> None:
    """Draw the confusion matrix as shares of the true class: straight, and with shuffled labels."""
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
    """Print the five tables and write the picture."""
    parser = argparse.ArgumentParser(description="Print the tables of docs/paper.md and write its picture.")
    parser.add_argument("predictions", type=Path, help="predictions.parquet of a model evaluated on all of FER2013")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where to write it (default: %(default)s)")
    arguments = parser.parse_args()
    predictions = read(arguments.predictions)
    highest = predictions[list(NAMES)].to_numpy().argmax(axis=1)
    table = metrics.confusion(predictions["label"].to_numpy(), highest)
    show(["figure", "the paper", "computed"], checks())
    show(["Table 4", *NAMES, "sum", "PublicTest and PrivateTest"], table_4())
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
        demonstration(table, SHUFFLES),
    )
    draw(arguments.picture, table)


if __name__ == "__main__":
    main()
