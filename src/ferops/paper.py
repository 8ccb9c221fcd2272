"""The paper's printed figures, and small functions that compute what is true of them: the audit of docs/paper.md.

The paper: L. A. Al Hak, W. A. Ali, S. J. Saba, "Facial Expression Recognition Using Data Augmentation and Transfer
Learning", Ingenierie des Systemes d'Information 29(3), 2024, 1219-1225, doi 10.18280/isi.290338.

scikit-learn and scipy are imported where they are used: `ferops results` reads only the constants.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.labels import MERGED_COUNTS, NAMES, OFFICIAL_COUNTS

Table = NDArray[np.int64]
"""A confusion matrix (7, 7): rows are true classes, columns predicted ones, both in code order."""
Labels = NDArray[np.int64]
"""Codes 0-6, (N,)."""


class Parameters(NamedTuple):
    """Parameters of a network, as Keras' summary and the paper's Table 2 tell them apart."""

    total: int
    trainable: int
    non_trainable: int


class Range(NamedTuple):
    """A least and a greatest value."""

    low: float
    high: float


class ChiSquare(NamedTuple):
    """Pearson's test of independence: p is the probability of so great a statistic by chance."""

    statistic: float
    degrees: int
    p: float


class Chance(NamedTuple):
    """Figures of many confusion matrices with shuffled labels, each (shuffles,)."""

    accuracy: NDArray[np.float64]
    kappa: NDArray[np.float64]
    chi_square: NDArray[np.float64]


class PrintedResult(NamedTuple):
    """A line of its Table 3: whose work it is, the figures, fractions, and what they are of or at odds with."""

    work: str
    figures: tuple[float, ...]
    of: str


class Check(NamedTuple):
    """One row of the page: a figure, as the paper prints it, as it is computed here."""

    figure: str
    printed: str
    computed: str


TABLE_2: Final = Parameters(14_883_399, 13_146_119, 1_737_280)
"""Its Table 2."""
TEXT_NON_TRAINABLE: Final = 1_737_200
"""The same count in its text."""

ACCURACY: Final = 0.90
"""Its abstract and results: "accuracy" on the test set."""
PRECISION: Final = 0.66
RECALL: Final = 0.60
F1: Final = 0.63
"""Its results on the test set, with the accuracy above."""
ROUNDING: Final = 0.005
"""Half a unit of the last digit that precision and recall are printed with."""

TEST_IMAGES: Final = 3_589
"""One of the two splits that it names, Kaggle's own; the other is 70/30."""

TRAIN_ACCURACY: Final = 0.9641
TRAIN_LOSS: Final = 0.48
TEST_LOSS: Final = 1.3794
"""Its results: accuracy and loss on training, loss on test."""

TABLE_4_TRACE: Final = 1_172
TABLE_4_TOTAL: Final = 6_900
TABLE_4_ROWS: Final = {"surprise": 831, "sad": 1_243, "disgust": 109}
"""Sums of its Table 4, the confusion matrix: diagonal, all cells, and three of the rows."""
TABLE_4_KAPPA: Final = -0.0003
TABLE_4_CHI_SQUARE: Final = 36.5
TABLE_4_DEGREES: Final = 36
"""Computed from the cells of its Table 4 when the paper was read. The cells are not at hand here: these are quoted."""

TABLE_3: Final = {
    "vgg16_transfer": PrintedResult("its own", (0.90,), "binary accuracy"),
    "cnn": PrintedResult("Singh and Nasoz", (0.752,), "61.7% in its section 2.1"),
    "cnn_lbp_orb": PrintedResult("Debnath et al.", (0.9813, 0.9205), "CK+ and JAFFE"),
}
"""What is known here of its Table 3, by the system's `model.name`; its other lines were not at hand."""

_MERGED: Final = dict(zip(NAMES, MERGED_COUNTS, strict=True))

_VGG16: Final = (
    ((3, 64), (64, 64)),
    ((64, 128), (128, 128)),
    ((128, 256), (256, 256), (256, 256)),
    ((256, 512), (512, 512), (512, 512)),
    ((512, 512), (512, 512), (512, 512)),
)  # channels in and out of each 3x3 convolution, block by block
_DENSE: Final = ((512, 256), (256, 128), (128, 7))
_NORMALIZED: Final = (512, 256, 128)


def parameters(frozen_blocks: int) -> Parameters:
    """Count the parameters of the paper's Table 2 from the shapes of its layers.

    A convolution has 3 x 3 x in x out weights and `out` biases, a dense layer in x out and `out`. A batch
    normalization has four numbers a channel: two are trained, two are moving statistics and never are.

    Args:
        frozen_blocks: VGG16's first blocks that do not train, 0 to 5.
    """
    blocks = [sum(9 * inputs * outputs + outputs for inputs, outputs in block) for block in _VGG16]
    dense = sum(inputs * outputs + outputs for inputs, outputs in _DENSE)
    total = sum(blocks) + dense + 4 * sum(_NORMALIZED)
    fixed = sum(blocks[:frozen_blocks]) + 2 * sum(_NORMALIZED)
    return Parameters(total, total - fixed, fixed)


def binary_accuracy(precision: float, recall: float) -> float:
    """What Keras' BinaryAccuracy gives over seven one-hot outputs, from precision and recall at the same threshold.

    Of n images, n * recall true outputs fire, so n * (1 - recall) are missed; the false alarms are those that fired,
    n * recall / precision, less the right ones. Both kinds of error are counted over 7 n outputs. A network that
    never fires has recall 0 (and any precision); one that fires once an image has precision = recall = its accuracy.
    """
    return 1 - (1 - recall + _false_alarms(precision, recall)) / len(NAMES)


def f1(precision: float, recall: float) -> float:
    """Harmonic mean, 2PR / (P + R): the denominator is the sum of the two."""
    return 2 * precision * recall / (precision + recall)


def accuracy_bounds(precision: float, recall: float) -> Range:
    """Least and greatest accuracy (one of seven) of a softmax with this micro precision and recall at threshold 0.5.

    Outputs sum to 1, so at most one exceeds a half, and it is the highest. A true output that fires is a right
    answer: accuracy >= recall. A false alarm is a wrong answer: accuracy <= 1 - false alarms an image.
    """
    return Range(recall, 1 - _false_alarms(precision, recall))


_BOUNDS: Final = accuracy_bounds(PRECISION, RECALL)
IN_WORDS: Final = {
    "accuracy": f"{_BOUNDS.low:.0%} to {_BOUNDS.high:.0%} (inferred)",
    "binary_accuracy": f"{ACCURACY:.0%}",
    "f1_macro": f"{F1:.0%} (micro)",
}
"""What the paper prints, beside our metrics of these names: its 90% is a binary accuracy (docs/paper.md)."""


def undecided(precision: float, recall: float) -> float:
    """Share of images in which no output of the softmax exceeds a half: only there accuracy is not known."""
    return 1 - recall / precision


def least_accuracy(binary: float) -> float:
    """Least accuracy of a softmax with this binary accuracy: a wrong answer costs at least one output of seven."""
    return max(0.0, 1 - len(NAMES) * (1 - binary))


def accuracy_ceiling(macro_recall: float, counts: dict[str, int]) -> float:
    """Greatest accuracy with this macro recall: the largest classes are all right, the smallest all wrong.

    Args:
        macro_recall: mean of the classes' recalls, in [0, 1].
        counts: images of each class.
    """
    left, right = macro_recall * len(counts), 0.0
    for images in sorted(counts.values(), reverse=True):
        recall = min(left, 1.0)
        right += recall * images
        left -= recall
    return right / sum(counts.values())


def row_sums(table: Table) -> dict[str, int]:
    """Images of each true class."""
    return dict(zip(NAMES, table.sum(axis=1).tolist(), strict=True))


def accuracy(table: Table) -> float:
    """Share of the images on the diagonal."""
    return float(table.trace() / table.sum())


def macro_recall(table: Table) -> float:
    """Mean recall of the classes, by the code that evaluates models."""
    from ferops.model import metrics

    return float(metrics.by_class(*unrolled(table))["recall"].mean())


def kappa(table: Table) -> float:
    """Cohen's kappa: agreement beyond chance, 1 where perfect, about 0 by chance; nan where there is but one class."""
    expected = float(table.sum(axis=1) @ table.sum(axis=0)) / float(table.sum()) ** 2
    return (accuracy(table) - expected) / (1 - expected) if expected < 1 else math.nan


def chance_agreement(accuracy: float, kappa: float) -> float:
    """The accuracy by chance that kappa = (accuracy - chance) / (1 - chance) was computed with."""
    return (accuracy - kappa) / (1 - kappa)


def chi_square(table: Table) -> ChiSquare:
    """Pearson's test that true and predicted classes are independent; empty rows and columns say nothing of it."""
    from scipy.stats import chi2_contingency

    used = table[table.any(axis=1)][:, table.any(axis=0)]
    result = chi2_contingency(used, correction=False)
    return ChiSquare(float(result.statistic), int(result.dof), float(result.pvalue))


def p_value(chi_square: float, degrees: int) -> float:
    """Probability of a statistic at least as great where rows and columns are independent."""
    from scipy.stats import chi2

    return float(chi2.sf(chi_square, degrees))


def chance_range(degrees: int) -> Range:
    """The middle 95% of chi-square where rows and columns are independent."""
    from scipy.stats import chi2

    return Range(*chi2.ppf((0.025, 0.975), degrees).tolist())


def unrolled(table: Table) -> tuple[Labels, Labels]:
    """Labels and predictions, (N,) each, that have this confusion matrix, sorted by class."""
    true, predicted = np.indices(table.shape).reshape(2, -1)
    return np.repeat(true, table.ravel()), np.repeat(predicted, table.ravel())


def shuffled(labels: Labels, predicted: Labels, seed: int) -> Table:
    """Confusion matrix of predictions compared with the labels in another order, as from a shuffled test generator."""
    from ferops.model import metrics

    return metrics.confusion(np.random.default_rng(seed).permutation(labels), predicted)


def by_chance(table: Table, shuffles: int) -> Chance:
    """The figures of a confusion matrix after shuffling its labels, for the seeds 0 to `shuffles` - 1."""
    labels, predicted = unrolled(table)
    tables = [shuffled(labels, predicted, seed) for seed in range(shuffles)]
    return Chance(
        np.array([accuracy(one) for one in tables]),
        np.array([kappa(one) for one in tables]),
        np.array([chi_square(one).statistic for one in tables]),
    )


def checks() -> list[Check]:
    """Every figure of the paper that can be computed, beside what it comes to: a table of docs/paper.md."""
    return [*_network_checks(), *_metric_checks(), *_table_4_checks(), *_data_checks()]


def demonstration(table: Table, shuffles: int) -> list[tuple[str, ...]]:
    """A model's confusion matrix straight and with shuffled labels, beside the paper's: a table of docs/paper.md.

    Args:
        table: the model's counts.
        shuffles: how many to take the range by chance from; the first of them is also shown alone.

    Returns:
        Rows of: figure, the paper's Table 4, straight, shuffled once, middle 95% of the shuffles, share of the shuffles
        below the paper's value.
    """
    once = shuffled(*unrolled(table), seed=0)
    chance = by_chance(table, shuffles)
    of_paper = TABLE_4_TRACE / TABLE_4_TOTAL
    test, test_once = chi_square(table), chi_square(once)
    return [
        ("images", f"{TABLE_4_TOTAL:,}", f"{table.sum():,}", f"{once.sum():,}", "", ""),
        (
            "accuracy",
            *(f"{value:.3f}" for value in (of_paper, accuracy(table), accuracy(once))),
            *_place(chance.accuracy, of_paper, digits=3),
        ),
        ("macro recall", "not at hand", f"{macro_recall(table):.3f}", f"{macro_recall(once):.3f}", "", ""),
        (
            "kappa",
            *(f"{value:.4f}" for value in (TABLE_4_KAPPA, kappa(table), kappa(once))),
            *_place(chance.kappa, TABLE_4_KAPPA, digits=4),
        ),
        (
            "chi-square",
            *(f"{value:,.1f}" for value in (TABLE_4_CHI_SQUARE, test.statistic, test_once.statistic)),
            *_place(chance.chi_square, TABLE_4_CHI_SQUARE, digits=1),
        ),
        (
            "degrees of freedom",
            *(str(degrees) for degrees in (TABLE_4_DEGREES, test.degrees, test_once.degrees)),
            "",
            "",
        ),
        ("p", *(_p(p) for p in (p_value(TABLE_4_CHI_SQUARE, TABLE_4_DEGREES), test.p, test_once.p)), "", ""),
    ]


def _network_checks() -> list[Check]:
    ours = parameters(frozen_blocks=3)
    statistics = parameters(frozen_blocks=0).non_trainable
    fixed = f"{TABLE_2.non_trainable:,}; {TEXT_NON_TRAINABLE:,} in the text"
    return [
        Check("parameters", f"{TABLE_2.total:,}", f"{ours.total:,}"),
        Check("trained, with blocks 1-3 frozen", f"{TABLE_2.trainable:,}", f"{ours.trainable:,}"),
        Check("not trained, with blocks 1-3 frozen", fixed, f"{ours.non_trainable:,}"),
        Check("of these, weights of blocks 1-3", "", f"{ours.non_trainable - statistics:,}"),
        Check("of these, moving statistics of batch norms", "", f"{statistics:,}"),
        Check("trained, if all of VGG16 were frozen", "", f"{parameters(frozen_blocks=5).trainable:,}"),
    ]


def _metric_checks() -> list[Check]:
    # the corners of what precision and recall were rounded from: all that is asked is monotone in each
    ends = (-ROUNDING, ROUNDING)
    rounded = [(PRECISION + one, RECALL + other) for one, other in itertools.product(ends, ends)]
    binary = _between([binary_accuracy(*pair) for pair in rounded], digits=3)
    bounds = _between([bound for pair in rounded for bound in accuracy_bounds(*pair)], digits=3)
    happy = _MERGED["happy"] / sum(MERGED_COUNTS)
    return [
        Check("binary accuracy, from P and R", f"{ACCURACY:.0%}", f"{binary_accuracy(PRECISION, RECALL):.4f}"),
        Check("binary accuracy, whatever P and R were rounded from", "", binary),
        Check("F1, from P and R", f"{F1:.0%}", f"{f1(PRECISION, RECALL):.4f}"),
        Check("accuracy, from P and R", "", _between(accuracy_bounds(PRECISION, RECALL), digits=3)),
        Check("accuracy, whatever P and R were rounded from", "", bounds),
        Check("images with no output above one half", "", f"{undecided(PRECISION, RECALL):.3f}"),
        Check("greatest accuracy, if R were macro", "", f"{accuracy_ceiling(RECALL, _MERGED):.3f}"),
        Check("binary accuracy of a network that never fires", "", f"{binary_accuracy(1, 0):.3f}"),
        Check('accuracy of always "happy"', "", f"{happy:.3f}"),
        Check('binary accuracy of always "happy"', "", f"{binary_accuracy(happy, happy):.3f}"),
        Check(
            "training accuracy, if binary as well",
            f"{TRAIN_ACCURACY:.2%}",
            f"at least {least_accuracy(TRAIN_ACCURACY):.3f}",
        ),
        Check(
            "geometric mean of the true class's probability, training",
            f"loss {TRAIN_LOSS}",
            f"{math.exp(-TRAIN_LOSS):.2f}",
        ),
        Check(
            "geometric mean of the true class's probability, test", f"loss {TEST_LOSS}", f"{math.exp(-TEST_LOSS):.2f}"
        ),
    ]


def _table_4_checks() -> list[Check]:
    agreement = TABLE_4_TRACE / TABLE_4_TOTAL
    chance = chance_agreement(agreement, TABLE_4_KAPPA)
    rest = TABLE_4_TOTAL - sum(TABLE_4_ROWS.values())
    merged_rest = sum(count for name, count in _MERGED.items() if name not in TABLE_4_ROWS)
    return [
        Check("Table 4, accuracy", f"{TABLE_4_TRACE:,} of {TABLE_4_TOTAL:,}", f"{agreement:.3f}"),
        Check("Table 4, accuracy by chance", f"kappa {TABLE_4_KAPPA}", f"{chance:.3f}"),
        Check("Table 4, diagonal by chance", f"{TABLE_4_TRACE:,}", f"{chance * TABLE_4_TOTAL:,.0f}"),
        Check(
            "Table 4, p",
            f"chi-square {TABLE_4_CHI_SQUARE}",
            f"{p_value(TABLE_4_CHI_SQUARE, TABLE_4_DEGREES):.2f}",
        ),
        Check("Table 4, chi-square by chance, 95%", "", _between(chance_range(TABLE_4_DEGREES), digits=1)),
        Check("Table 4, macro recall by chance", "", f"{1 / len(NAMES):.3f}"),
        *(Check(f"Table 4, row {name}", f"{count:,}", f"{_MERGED[name]:,}") for name, count in TABLE_4_ROWS.items()),
        Check("Table 4, the other four rows", f"{rest:,}", f"{merged_rest:,}"),
        Check("Table 4, all rows", f"{TABLE_4_TOTAL:,}", f"{sum(MERGED_COUNTS):,}"),
    ]


def _data_checks() -> list[Check]:
    from ferops.model import metrics

    total = sum(map(sum, OFFICIAL_COUNTS.values()))
    low, high = metrics.wilson(round(0.75 * TEST_IMAGES), TEST_IMAGES)
    return [
        Check("test images, Kaggle's own split", f"{TEST_IMAGES:,}", f"{sum(OFFICIAL_COUNTS['test']):,}"),
        Check("test images, 70/30 split", "30%", f"{round(0.3 * total):,}"),
        Check(
            "95% interval of an accuracy of 0.75, Kaggle's own split", "", f"+/- {100 * (high - low) / 2:.1f} points"
        ),
    ]


def _false_alarms(precision: float, recall: float) -> float:
    return recall * (1 - precision) / precision if recall else 0.0


def _between(values: Iterable[float], digits: int) -> str:
    low, *_, high = sorted(values)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _place(values: NDArray[np.float64], paper: float, digits: int) -> tuple[str, str]:
    """The middle 95% of the values, and the share of them below the paper's."""
    return _between(np.quantile(values, (0.025, 0.975)), digits), f"{(values < paper).mean():.0%}"


def _p(p: float) -> str:
    return f"{p:.2f}" if p >= 0.01 else "< 0.01"
