"""The promotion gate: may a challenger replace the champion? Predictions in, a decision with its reasons out.

Validation alone decides. Both networks are compared image by image, so rows of any other split are never read.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.model import metrics
from ferops.model.metrics import Interval
from ferops.params import Promotion

Right = NDArray[np.bool_]
"""Whether a network named an image's expression, (N,); the images of two networks in the same order."""

SPLIT: Final = "validation"
RESAMPLES: Final = 10_000
SEED: Final = 0
"""Of the bootstrap: the same predictions give the same decision."""

_COLUMNS: Final = ("id", "split", "label", "hash", *NAMES, "duplicate_in_train")
_SUM_ERROR: Final = 1e-3  # float32 softmax is within 1e-6 of 1; half precision within this


class BadPredictions(FeropsError):
    """A predictions.parquet is not what `evaluate` writes."""


class DifferentImages(FeropsError):
    """The two networks were not measured on the same validation images."""


class Rule(NamedTuple):
    """One rule of the gate.

    Fields:
        name: its key below `promotion` in params.yaml.
        needed: what the challenger's figure must be.
        challenger, champion: their figures; None where there is none.
        passed: whether the challenger's is what is needed.
        reason: the same in a sentence.
    """

    name: str
    needed: str
    challenger: float | None
    champion: float | None
    passed: bool
    reason: str


class Comparison(NamedTuple):
    """The challenger's accuracy minus the champion's on the same images.

    Fields:
        difference: of the fractions, in [-1, 1].
        interval: the middle 95% of a paired bootstrap.
        p_value: McNemar's, exact; shown, and decides nothing.
    """

    difference: float
    interval: Interval
    p_value: float


class Decision(NamedTuple):
    """What the gate says, and why; `champion_accuracy` and `comparison` are None where there is no champion."""

    rules: tuple[Rule, ...]
    n: int
    accuracy: float
    champion_accuracy: float | None
    comparison: Comparison | None

    @property
    def promoted(self) -> bool:
        """Whether every rule is met."""
        return all(rule.passed for rule in self.rules)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not: a sentence for each rule that is not met."""
        return tuple(rule.reason for rule in self.rules if not rule.passed)

    def as_json(self) -> dict[str, Any]:
        """Plain values for a line of JSON, numbers to six digits."""
        against = self.comparison
        return {
            "promoted": self.promoted,
            "n": self.n,
            "accuracy": _short(self.accuracy),
            "champion_accuracy": _short(self.champion_accuracy),
            "difference": _short(against.difference) if against else None,
            "interval": [_short(end) for end in against.interval] if against else None,
            "mcnemar_p": _short(against.p_value) if against else None,
            "rules": {
                rule.name: {
                    "needed": rule.needed,
                    "challenger": _short(rule.challenger),
                    "champion": _short(rule.champion),
                    "passed": rule.passed,
                }
                for rule in self.rules
            },
            "reasons": list(self.reasons),
        }


class _Measured(NamedTuple):
    """A network on validation: its images sorted by hash and label, (N,), and the figures of metrics/val.json."""

    images: pd.MultiIndex
    right: Right
    figures: dict[str, Any]


def decide(challenger: pd.DataFrame, champion: pd.DataFrame | None, rules: Promotion, *, bins: int) -> Decision:
    """Hold a challenger's predictions against the rules, and against the champion's.

    Args:
        challenger: predictions.parquet of the network that would be champion.
        champion: that of the champion; without one only the floors count, the recall of each class and calibration.
        rules: section `promotion` of params.yaml.
        bins: of the calibration error.

    Raises:
        BadPredictions: a table lacks columns or images, or holds what are no labels or probabilities.
        DifferentImages: the two were not measured on the same images with the same labels.
    """
    new = _measure(challenger, "challenger", bins)
    old = None if champion is None else _measure(champion, "champion", bins)
    asked = [*_floors(new, old, rules), _class_recall(new, old, rules), _calibration(new, old, rules)]
    comparison = None
    if old is not None:
        _same_images(new.images, old.images)
        comparison = compare(new.right, old.right)
        asked.append(_tolerance(comparison, rules))
    return Decision(
        rules=tuple(asked),
        n=len(new.right),
        accuracy=new.figures["accuracy"],
        champion_accuracy=None if old is None else old.figures["accuracy"],
        comparison=comparison,
    )


def compare(challenger: Right, champion: Right) -> Comparison:
    """Two networks on the same images: difference in accuracy, its paired bootstrap interval, McNemar's p-value.

    The images are drawn anew, with replacement, as many as there are, and the difference is taken again each time
    (Efron 1979). It only depends on how many images of three kinds were drawn (won, lost, alike), and those counts
    are one multinomial draw.
    """
    n = len(challenger)
    won, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    draws = np.random.default_rng(SEED).multinomial(n, [won / n, lost / n, (n - won - lost) / n], RESAMPLES)
    low, high = np.quantile(draws[:, 0] - draws[:, 1], (0.025, 0.975)) / n
    return Comparison((won - lost) / n, Interval(float(low), float(high)), mcnemar(won, lost))


def mcnemar(won: int, lost: int) -> float:
    """Two-sided p-value of McNemar's test (1947), exact: of the images where two networks differ, either wins half.

    Args:
        won: images that only the one network got right.
        lost: images that only the other got right.
    """
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def _measure(predictions: pd.DataFrame, whose: str, bins: int) -> _Measured:
    rows = _checked(predictions, whose).sort_values(["hash", "label"], kind="stable")
    labels, probabilities = rows["label"].to_numpy(np.int64), rows[list(NAMES)].to_numpy(np.float32)
    figures = metrics.evaluate(
        labels,
        probabilities,
        duplicate_in_train=rows["duplicate_in_train"].to_numpy(bool),
        tta=probabilities,  # not in the table: accuracy_tta means nothing here, and no rule may ask for it
        bins=bins,
    )
    images = pd.MultiIndex.from_arrays([rows["hash"].astype(str), labels])
    return _Measured(images, probabilities.argmax(axis=1) == labels, figures)


def _checked(predictions: pd.DataFrame, whose: str) -> pd.DataFrame:
    """The validation rows, if they are what `evaluate` writes."""
    where = f"the {whose}'s predictions.parquet"
    way_out = "evaluate and publish it again: `dvc repro` in its commit"
    if missing := [name for name in _COLUMNS if name not in predictions]:
        raise BadPredictions(f"{where} has no column {', '.join(missing)}; {way_out}")
    rows = predictions.loc[predictions["split"] == SPLIT, list(_COLUMNS)]
    if rows.empty:
        raise BadPredictions(f"{where} has no image of the {SPLIT} split; {way_out}")
    for name in ("hash", "label", "duplicate_in_train"):
        if (empty := rows[name].isna()).any():
            raise BadPredictions(f"{where}: image {rows.loc[empty, 'id'].iloc[0]} has no {name}; {way_out}")
    if (unknown := ~rows["label"].isin(range(len(NAMES)))).any():
        image, label = rows.loc[unknown, ["id", "label"]].iloc[0]
        raise BadPredictions(f"{where}: image {image} has the label {label}, expected 0 to 6; {way_out}")
    probabilities = rows[list(NAMES)].apply(pd.to_numeric, errors="coerce")
    sums = probabilities.sum(axis=1, skipna=False)
    good = (probabilities >= 0).all(axis=1) & ((sums - 1).abs() <= _SUM_ERROR)  # false where one is NaN
    if not good.all():
        image = rows.loc[~good, "id"].iloc[0]
        raise BadPredictions(
            f"{where}: the probabilities of image {image} are not seven fractions that sum to 1; {way_out}"
        )
    return rows


def _same_images(challenger: pd.MultiIndex, champion: pd.MultiIndex) -> None:
    if challenger.equals(champion):
        return
    counts, others = challenger.value_counts(), champion.value_counts()
    common = int(np.minimum(*counts.align(others, join="inner")).sum())
    raise DifferentImages(
        f"measured on different validation images: {len(challenger):,} and {len(champion):,}, {common:,} in common "
        "(same pixels, same label); only networks measured on the same ones are compared"
    )


def _floors(new: _Measured, old: _Measured | None, rules: Promotion) -> list[Rule]:
    return [
        _floor(name, least, new.figures[name], old.figures[name] if old else None)
        for name, least in rules.floors.items()
    ]


def _floor(name: str, least: float, new: float | None, old: float | None) -> Rule:
    passed = new is not None and new >= least
    return Rule(
        name=f"floors.{name}",
        needed=f">= {least:g}",
        challenger=new,
        champion=old,
        passed=passed,
        reason=f"there is no {name}: every validation image has a duplicate in training"
        if new is None
        else f"{name} {new:.4f} is {'at least' if passed else 'below'} {least:g}",
    )


def _class_recall(new: _Measured, old: _Measured | None, rules: Promotion) -> Rule:
    least = rules.min_class_recall
    recalls = _recalls(new)
    missed = {name: recall for name, recall in recalls.items() if recall < least}
    told = ", ".join(f"{name} {recall:.4f}" for name, recall in missed.items())
    return Rule(
        name="min_class_recall",
        needed=f">= {least:g}",
        challenger=min(recalls.values()),
        champion=min(_recalls(old).values()) if old else None,
        passed=not missed,
        reason=f"the recall of {told} is below {least:g}" if missed else f"every recall is at least {least:g}",
    )


def _recalls(one: _Measured) -> dict[str, float]:
    return {name: one.figures["per_class"][name]["recall"] for name in NAMES}


def _calibration(new: _Measured, old: _Measured | None, rules: Promotion) -> Rule:
    most = rules.max_calibration_error
    error = new.figures["ece"]
    return Rule(
        name="max_calibration_error",
        needed=f"<= {most:g}",
        challenger=error,
        champion=old.figures["ece"] if old else None,
        passed=error <= most,
        reason=f"the calibration error {error:.4f} is {'at most' if error <= most else 'above'} {most:g}",
    )


def _tolerance(against: Comparison, rules: Promotion) -> Rule:
    """At tolerance 0 the challenger must be better by more than chance: the whole interval lies above 0."""
    low, least = against.interval.low, 0 - rules.tolerance  # 0 - 0 has no sign to show
    passed = low > least
    return Rule(
        name="tolerance",
        needed=f"> {least:g}",
        challenger=low,
        champion=None,
        passed=passed,
        reason=f"the accuracy minus the champion's may be as low as {low:+.4f}, "
        f"{'' if passed else 'not '}above {least:g}",
    )


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")
