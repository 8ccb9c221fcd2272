"""Detect drift: compare the latest scored images with the reference by the population stability index."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import chi2, entropy

from ferops.labels import NAMES

LABEL: Final = "label"
"""The column with the names of the predicted classes."""

CHANCE: Final = 0.001
"""Probability that chance alone, on images of the same kind, exceeds the limit of one index."""

_BINS: Final = 10


@dataclass(frozen=True, eq=False)
class Shift:
    """Difference of one column between the latest images and the reference.

    Attributes:
        column: its name.
        bins: share of the images in each bin, a row a bin by its name: float64 `reference` and `latest`.
        psi: population stability index of the two.
        limit: the largest index that is not drift; see `limit`.
        has_drifted: whether the index exceeds its limit.
    """

    column: str
    bins: pd.DataFrame
    psi: float
    limit: float
    has_drifted: bool


def psi(reference: ArrayLike, latest: ArrayLike) -> float:
    """Compute the population stability index of two histograms: sum of (p - q) ln(p / q), p and q the shares of a bin.

    It is the symmetric Kullback-Leibler divergence (Jeffreys), as Siddiqi's *Credit Risk Scorecards* (2006) made it
    common. By the rule of thumb there, under 0.1 is no shift, over 0.25 a large one. Great Expectations has the
    divergence in one direction only. Half a count is added to every bin, so that an empty one gives a large number and
    not infinity.

    Args:
        reference: counts of the bins, (B,).
        latest: counts of the same bins, (B,).
    """
    p, q = np.asarray(latest) + 0.5, np.asarray(reference) + 0.5
    return float(entropy(p, q) + entropy(q, p))


def limit(bound: float, bins: int, reference: int, latest: int) -> float:
    """Compute the largest index that is not drift, for this many images.

    Between two samples of one population the index is (1/n + 1/m) times a chi-square variable of B - 1 degrees of
    freedom (Yurdakul and Naranjo, *Statistical properties of the population stability index*, Journal of Risk Model
    Validation, 2020): with ten bins and 100 images about 0.1 by chance alone. So the mean of that variable is added to
    the bound, and the limit is at least its (1 - `CHANCE`) quantile.

    Args:
        bound: of the index itself, `monitoring.max_psi`.
        bins: B.
        reference: number of reference images, m.
        latest: number of images compared with them, n.
    """
    scale = 1 / reference + 1 / latest
    return float(max(bound + scale * (bins - 1), scale * chi2.isf(CHANCE, bins - 1)))


def shift(column: str, reference: pd.Series, latest: pd.Series, bound: float) -> Shift:
    """Compare one column with its reference: a statistic by the deciles of the reference, predicted labels by class."""
    if column == LABEL:
        names = list(NAMES)
        counts = [values.value_counts().reindex(NAMES, fill_value=0).to_numpy() for values in (reference, latest)]
    else:
        edges = [-np.inf, *np.unique(np.quantile(reference, np.arange(1, _BINS) / _BINS)), np.inf]
        names = [f"[{low:.1f}, {high:.1f})" for low, high in pairwise(edges)]
        counts = [np.histogram(values, edges)[0] for values in (reference, latest)]
    known, new = counts
    bins = pd.DataFrame({"reference": known / len(reference), "latest": new / len(latest)}, index=names)
    index, largest = psi(known, new), limit(bound, len(names), len(reference), len(latest))
    return Shift(column, bins, index, largest, has_drifted=index > largest)


def compare(reference: pd.DataFrame, predicted: pd.Series, latest: pd.DataFrame, bound: float) -> tuple[Shift, ...]:
    """Compare every pixel statistic, and the shares of the predicted classes.

    Args:
        reference: pixel statistics of the images that the network was trained on, a column each.
        predicted: names of the classes that the network predicts on images that it was not trained on. Predictions are
            compared with predictions: a network's errors are lopsided, so even without drift its predictions do not
            have the shares of the labels.
        latest: the scored images, with the same columns and `label`.
        bound: `monitoring.max_psi`.
    """
    statistics = (shift(str(name), reference[name], latest[name], bound) for name in reference)
    return (*statistics, shift(LABEL, predicted, latest[LABEL], bound))
