"""Drift: the latest scored images held against those that the network knows, by the population stability index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import great_expectations.expectations
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from ferops.labels import NAMES
from ferops.quality.expectations import Suite, _expect, _suite

gxe: Any = great_expectations.expectations

SHARES: Final = "label"
"""The column with the names of the predicted classes."""

CHANCE: Final = 0.001
"""How often chance alone, on images of the same kind, may exceed the bound of one index."""

_BINS: Final = 10


@dataclass(frozen=True)
class Shift:
    """How one column of the latest images differs from the reference.

    Attributes:
        column: its name.
        bins: names of the bins, in order.
        reference, latest: shares of the bins, each summing to 1.
        psi: population stability index of the two.
        limit: what it may be; see `limit`.
    """

    column: str
    bins: tuple[str, ...]
    reference: tuple[float, ...]
    latest: tuple[float, ...]
    psi: float
    limit: float

    @property
    def has_drifted(self) -> bool:
        """Whether the index exceeds its limit."""
        return self.psi > self.limit


def psi(reference: ArrayLike, latest: ArrayLike) -> float:
    """Population stability index of two lists of counts: sum of (p - q) ln(p / q), p and q the shares of a bin.

    It is the symmetric Kullback-Leibler divergence (Jeffreys), as Siddiqi's *Credit Risk Scorecards* (2006) made it
    common. By the rule of thumb there, under 0.1 is no shift, over 0.25 a large one. Half a count is added to every
    bin, so that an empty one gives a large number and not infinity.

    Args:
        reference: counts of the bins, (B,).
        latest: counts of the same bins, (B,).
    """
    p, q = _smoothed(latest), _smoothed(reference)
    return float(((p - q) * np.log(p / q)).sum())


def limit(bound: float, bins: int, reference: int, latest: int) -> float:
    """What an index of so many images may be before it counts as drift.

    Between two samples of one population the index is (1/n + 1/m) times a chi-square variable of B - 1 degrees of
    freedom (Yurdakul and Naranjo, *Statistical properties of the population stability index*, Journal of Risk Model
    Validation, 2020): with ten bins and 100 images about 0.1 by chance alone. So to the bound is added what chance
    gives on average, and the limit is never below what chance exceeds once in 1 / `CHANCE` times.

    Args:
        bound: of the index itself, `monitoring.max_psi`.
        bins: B.
        reference: images of the reference, m.
        latest: images held against it, n.
    """
    scale = 1 / reference + 1 / latest
    return float(max(bound + scale * (bins - 1), scale * chi2.isf(CHANCE, bins - 1)))


def shift(column: str, reference: pd.Series, latest: pd.Series, bound: float) -> Shift:
    """One column held against its reference: numbers by the deciles of the reference, names of classes by class."""
    if column == SHARES:
        bins: tuple[str, ...] = NAMES
        places = [values.map({name: code for code, name in enumerate(NAMES)}) for values in (reference, latest)]
    else:
        edges = np.unique(np.quantile(reference, np.arange(1, _BINS) / _BINS))
        bins = _in_words(edges)
        places = [pd.Series(np.searchsorted(edges, values, side="right")) for values in (reference, latest)]
    known, new = (np.bincount(place, minlength=len(bins)) for place in places)
    return Shift(
        column=column,
        bins=bins,
        reference=tuple((known / len(reference)).tolist()),
        latest=tuple((new / len(latest)).tolist()),
        psi=psi(known, new),
        limit=limit(bound, len(bins), len(reference), len(latest)),
    )


def compare(reference: pd.DataFrame, predicted: pd.Series, latest: pd.DataFrame, bound: float) -> tuple[Shift, ...]:
    """Every pixel statistic, and the shares of the predicted classes.

    Args:
        reference: pixel statistics of the images that the network was trained on, a column each.
        predicted: names of the classes that the network predicts on images that it was not trained on. Predictions are
            held against predictions: a network's errors are lopsided, so even without drift its predictions do not
            have the shares of the labels.
        latest: the scored images, with the same columns and `label`.
        bound: `monitoring.max_psi`.
    """
    statistics = (shift(str(name), reference[name], latest[name], bound) for name in reference)
    return (*statistics, shift(SHARES, predicted, latest[SHARES], bound))


def suites(latest: pd.DataFrame, columns: Sequence[str], shifts: Sequence[Shift]) -> tuple[Suite, ...]:
    """What is expected of the latest scored images: that the table is whole, and that every index is within its limit.

    Args:
        latest: the scored images.
        columns: of the table, in order.
        shifts: of `compare`.
    """
    whole = [
        _expect(gxe.ExpectTableColumnsToMatchOrderedList, "columns", ", ".join(columns), column_list=list(columns)),
        *(
            _expect(gxe.ExpectColumnValuesToNotBeNull, f"no nulls in {name}", "a value in every row", column=name)
            for name in columns
        ),
        _expect(gxe.ExpectColumnValuesToBeUnique, "images unique", "no image twice", column="digest"),
        _expect(
            gxe.ExpectColumnValuesToBeInSet, "known labels", "one of the seven", column=SHARES, value_set=list(NAMES)
        ),
        *(
            _expect(
                gxe.ExpectColumnValuesToBeBetween, f"probability of {name}", "0 to 1", column=name,
                min_value=0, max_value=1,
            )
            for name in NAMES
        ),
    ]  # fmt: skip
    indices = pd.DataFrame({each.column: [each.psi] for each in shifts})
    stable = [
        _expect(
            gxe.ExpectColumnMaxToBeBetween,
            f"stability of {each.column}",
            f"a population stability index of at most {each.limit:.3f}",
            column=each.column,
            max_value=each.limit,
        )
        for each in shifts
    ]
    return (_suite("scored-images", latest, whole), _suite("population-stability", indices, stable))


def as_json(shifts: Sequence[Shift]) -> list[Mapping[str, Any]]:
    """The shifts for a report, each with its bins."""
    return [
        {
            "column": each.column,
            "psi": round(each.psi, 4),
            "limit": round(each.limit, 4),
            "drifted": each.has_drifted,
            "bins": {
                name: {"reference": round(known, 4), "latest": round(new, 4)}
                for name, known, new in zip(each.bins, each.reference, each.latest, strict=True)
            },
        }
        for each in shifts
    ]


def _smoothed(counts: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(counts, np.float64) + 0.5
    return np.asarray(values / values.sum())


def _in_words(edges: NDArray[np.float64]) -> tuple[str, ...]:
    shown = [f"{edge:.1f}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    return (f"below {shown[0]}", *between, f"{shown[-1]} and above")
