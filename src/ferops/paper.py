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


class PrintedAccuracy(NamedTuple):
    """An accuracy as a fraction, and where the paper prints it, of what if not of FER2013's seven classes."""

    value: float
    where: str


class PrintedResult(NamedTuple):
    """What the paper prints of a system: whose work it is, and its figures."""

    work: str
    figures: tuple[PrintedAccuracy, ...]


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

_TABLE_4_ORDER: Final = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
_TABLE_4_CELLS: Final = (
    (125, 15, 135, 212, 199, 126, 126),
    (16, 3, 15, 26, 25, 7, 17),
    (106, 20, 148, 213, 204, 155, 132),
    (202, 25, 213, 400, 301, 241, 216),
    (145, 26, 170, 301, 211, 178, 172),
    (141, 18, 175, 317, 264, 185, 143),
    (97, 9, 122, 206, 173, 124, 100),
)
_IN_CODE_ORDER: Final = [_TABLE_4_ORDER.index(name) for name in NAMES]
TABLE_4: Final[Table] = np.array(_TABLE_4_CELLS)[np.ix_(_IN_CODE_ORDER, _IN_CODE_ORDER)]
"""Its confusion matrix, cell by cell."""

TABLE_3: Final = {
    "vgg16_transfer": PrintedResult("its own", (PrintedAccuracy(0.90, "Table 3; a binary accuracy"),)),
    "cnn": PrintedResult("Singh and Nasoz", (PrintedAccuracy(0.752, "Table 3"), PrintedAccuracy(0.617, "section 2.1"))),
    "cnn_lbp_orb": PrintedResult(
        "Debnath et al.", (PrintedAccuracy(0.9813, "its text, of CK+"), PrintedAccuracy(0.9205, "its text, of JAFFE"))
    ),
    "cnn_realtime": PrintedResult("Zahra et al.", (PrintedAccuracy(0.6597, "Table 3"),)),
    "vgg_spinal": PrintedResult(
        "Khan", (PrintedAccuracy(0.7445, "Table 3 and section 5, as Saleh et al.; section 2.1, as Khan"),)
    ),
    "vgg16_features_mlp": PrintedResult("Al-Asbaily and Bozed", (PrintedAccuracy(0.8931, "its text"),)),
    "gan_augmented": PrintedResult("Wang", (PrintedAccuracy(0.728, "Table 3"),)),
}
"""What it prints of its own and of the six other systems that it names, by our `model.name`: Table 3, or its text."""

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
    expected = accuracy_by_chance(table)
    return (accuracy(table) - expected) / (1 - expected) if expected < 1 else math.nan


def accuracy_by_chance(table: Table) -> float:
    """Compute the accuracy that independent labels and predictions of the same class shares have."""
    return float(table.sum(axis=1) @ table.sum(axis=0)) / float(table.sum()) ** 2


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
