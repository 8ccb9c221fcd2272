"""The paper's printed figures, and the functions by which docs/paper.md audits them.

The paper: L. A. Al Hak, W. A. Ali, S. J. Saba, "Facial Expression Recognition Using Data Augmentation and Transfer
Learning", Ingenierie des Systemes d'Information 29(3), 2024, 1219-1225, doi 10.18280/isi.290338.

scipy is imported where it is used: `ferops results` reads only the constants.
"""

import math
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.labels import NAMES

Table = NDArray[np.int64]  # a confusion matrix (7, 7): rows are true classes, columns predicted ones, in code order
Labels = NDArray[np.int64]  # codes 0-6, (N,)


class Parameters(NamedTuple):
    """Parameter counts of a network, as in Keras' summary and the paper's Table 2."""

    total: int
    trainable: int
    non_trainable: int


class Chance(NamedTuple):
    """Figures of many confusion matrices with shuffled labels, each of shape (shuffles,)."""

    accuracy: NDArray[np.float64]
    kappa: NDArray[np.float64]
    chi_square: NDArray[np.float64]


class PrintedResult(NamedTuple):
    """A line of its Table 3: the authors, the figures (fractions), and the metric or data set that they are of."""

    work: str
    figures: tuple[float, ...]
    of: str


TABLE_2: Final = Parameters(14_883_399, 13_146_119, 1_737_280)
TEXT_NON_TRAINABLE: Final = 1_737_200  # the last of the three in its text

# its abstract and results on the test set; by its precision and recall "accuracy" is Keras' BinaryAccuracy
ACCURACY: Final = 0.90
PRECISION: Final = 0.66
RECALL: Final = 0.60
F1: Final = 0.63
ROUNDING: Final = 0.005  # half a unit of the last digit that precision and recall are printed with

TEST_IMAGES: Final = 3_589  # of one of the two splits that it names, Kaggle's own; the other is 70/30

TRAIN_ACCURACY: Final = 0.9641
TRAIN_LOSS: Final = 0.48
TEST_LOSS: Final = 1.3794

# sums of its Table 4, the confusion matrix: diagonal, all cells, and three of the rows
TABLE_4_TRACE: Final = 1_172
TABLE_4_TOTAL: Final = 6_900
TABLE_4_ROWS: Final = {"surprise": 831, "sad": 1_243, "disgust": 109}
# computed from the cells of its Table 4 when the paper was read; the cells are not at hand here: these are quoted
TABLE_4_KAPPA: Final = -0.0003
TABLE_4_CHI_SQUARE: Final = 36.5
TABLE_4_DEGREES: Final = 36

TABLE_3: Final = {
    "vgg16_transfer": PrintedResult("its own", (0.90,), "binary accuracy"),
    "cnn": PrintedResult("Singh and Nasoz", (0.752,), "61.7% in its section 2.1"),
    "cnn_lbp_orb": PrintedResult("Debnath et al.", (0.9813, 0.9205), "CK+ and JAFFE"),
}
"""What is known here of its Table 3, by the system's `model.name`; its other lines were not at hand."""

# channels that go into a block, then those that come out of each of its 3x3 convolutions
_VGG16: Final = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
_HEAD: Final = (512, 256, 128, 7)  # features, then the units of each dense layer; all but the last are normalized


def parameters(frozen_blocks: int) -> Parameters:
    """Count the parameters of the paper's Table 2 from the shapes of its layers.

    A convolution has 3 x 3 x in x out weights and `out` biases, a dense layer in x out and `out`. A batch
    normalization has four numbers a channel: two are trained, two are moving statistics and never are.

    Args:
        frozen_blocks: VGG16's first blocks that do not train, 0 to 5.
    """
    blocks = [sum(9 * inputs * outputs + outputs for inputs, outputs in pairwise(block)) for block in _VGG16]
    dense = sum(inputs * outputs + outputs for inputs, outputs in pairwise(_HEAD))
    total = sum(blocks) + dense + 4 * sum(_HEAD[:-1])
    fixed = sum(blocks[:frozen_blocks]) + 2 * sum(_HEAD[:-1])
    return Parameters(total, total - fixed, fixed)


def binary_accuracy(precision: float, recall: float) -> float:
    """Compute Keras' BinaryAccuracy over seven one-hot outputs from precision and recall at the same threshold.

    Of n images, n * recall true outputs fire, so n * (1 - recall) are missed; the false alarms are those that fired,
    n * recall / precision, less the right ones. Both kinds of error are counted over 7 n outputs. A network that
    never fires has recall 0 (and any precision); one that fires once an image has precision = recall = its accuracy.
    """
    return 1 - (1 - recall + _false_alarms(precision, recall)) / len(NAMES)


def f1(precision: float, recall: float) -> float:
    """Compute the harmonic mean, 2PR / (P + R): the denominator is the sum of the two."""
    return 2 * precision * recall / (precision + recall)


def accuracy_bounds(precision: float, recall: float) -> tuple[float, float]:
    """Bound the accuracy (one of seven) of a softmax with this micro precision and recall at threshold 0.5.

    Outputs sum to 1, so at most one exceeds a half, and it is the highest. A true output that fires is a right
    answer: accuracy >= recall. A false alarm is a wrong answer: accuracy <= 1 - false alarms an image.
    """
    return recall, 1 - _false_alarms(precision, recall)


def undecided(precision: float, recall: float) -> float:
    """Compute the share of images in which no softmax output exceeds a half: only there accuracy is not known."""
    return 1 - recall / precision


def least_accuracy(binary: float) -> float:
    """Return the least accuracy of a softmax with this binary accuracy: an error costs one output of seven or more."""
    return max(0.0, 1 - len(NAMES) * (1 - binary))


def accuracy_ceiling(macro_recall: float, counts: dict[str, int]) -> float:
    """Bound the accuracy from above by macro recall: the largest classes are all right, the smallest all wrong.

    Args:
        macro_recall: mean of the classes' recalls, in [0, 1].
        counts: images of each class.
    """
    images = np.array(sorted(counts.values(), reverse=True))
    recalls = np.clip(macro_recall * len(images) - np.arange(len(images)), 0, 1)
    return float(recalls @ images / images.sum())


def accuracy(table: Table) -> float:
    """Compute the share of the images on the diagonal."""
    return float(table.trace() / table.sum())


def macro_recall(table: Table) -> float:
    """Compute the mean recall of the classes; that of a class without images is 0."""
    return float((table.diagonal() / np.maximum(table.sum(axis=1), 1)).mean())


def kappa(table: Table) -> float:
    """Compute Cohen's kappa: agreement beyond chance, 1 if perfect, about 0 by chance; nan with one class only."""
    expected = float(table.sum(axis=1) @ table.sum(axis=0)) / float(table.sum()) ** 2
    return (accuracy(table) - expected) / (1 - expected) if expected < 1 else math.nan


def chance_agreement(accuracy: float, kappa: float) -> float:
    """Solve kappa = (accuracy - chance) / (1 - chance) for the accuracy by chance."""
    return (accuracy - kappa) / (1 - kappa)


def chi_square(table: Table) -> Any:
    """Test that true and predicted classes are independent (Pearson); empty rows and columns are left out.

    Returns:
        scipy's result: `statistic`, `dof` and `pvalue`.
    """
    from scipy.stats import chi2_contingency

    return chi2_contingency(table[table.any(axis=1)][:, table.any(axis=0)], correction=False)


def unrolled(table: Table) -> tuple[Labels, Labels]:
    """Return labels and predictions, (N,) each, that have this confusion matrix, sorted by class."""
    true, predicted = np.indices(table.shape).reshape(2, -1)
    return np.repeat(true, table.ravel()), np.repeat(predicted, table.ravel())


def shuffled(labels: Labels, predicted: Labels, seed: int) -> Table:
    """Return the confusion matrix of predictions and permuted labels, as from a shuffled test generator."""
    from ferops.model import metrics

    return metrics.confusion(np.random.default_rng(seed).permutation(labels), predicted)


def by_chance(table: Table, shuffles: int) -> Chance:
    """Compute the figures of a confusion matrix after shuffling its labels, for the seeds 0 to `shuffles` - 1."""
    labels, predicted = unrolled(table)
    tables = (shuffled(labels, predicted, seed) for seed in range(shuffles))
    return Chance(*np.array([(accuracy(one), kappa(one), chi_square(one).statistic) for one in tables]).T)


def _false_alarms(precision: float, recall: float) -> float:
    """Return the false alarms per image."""
    return recall * (1 - precision) / precision if recall else 0.0


_LOW, _HIGH = accuracy_bounds(PRECISION, RECALL)
PRINTED: Final = {
    "accuracy": f"{_LOW:.0%} to {_HIGH:.0%} (inferred)",
    "binary_accuracy": f"{ACCURACY:.0%}",
    "f1_macro": f"{F1:.0%} (micro)",
}
"""The figures of the paper by the names of our metrics: its 90% is a binary accuracy (docs/paper.md)."""
