"""The rules of the promotion gate: compare a challenger's predictions with the champion's, and decide.

Validation alone decides. The two networks are compared image by image; rows of any other split are never read.
"""

import json
import operator
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.model import metrics
from ferops.model.metrics import ConfidenceInterval
from ferops.params import Promotion

SPLIT: Final = "validation"
RESAMPLES: Final = 10_000
SEED: Final = 0  # of the bootstrap: the same predictions give the same decision

_COMPARE: Final = {">=": operator.ge, "<=": operator.le, ">": operator.gt}
_COLUMNS: Final = ("id", "split", "label", "hash", *NAMES, "duplicate_in_train")
_SUM_ERROR: Final = 1e-3  # float32 softmax is within 1e-6 of 1; half precision within this


class BadPredictions(FeropsError):
    """A predictions.parquet is not what `evaluate` writes."""


class Rule(NamedTuple):
    """A checked rule of the gate.

    Fields:
        name: its key below `promotion` in params.yaml.
        needed: comparison and bound, as `>= 0.5`.
        challenger, champion: the figures of the two; None where there is none.
        passed: whether the challenger's figure meets the bound.
        reason: a sentence that says why it does not; empty where it does.
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
        p_value: of McNemar's exact test; shown, but no rule uses it.
    """

    difference: float
    interval: ConfidenceInterval
    p_value: float


class Decision(NamedTuple):
    """The result of the gate, with its reasons.

    Fields:
        rules: all that were checked.
        n: number of validation images.
        accuracy: of the challenger. champion_accuracy: None where there is no champion.
        comparison: None where there is no champion, or where the two were evaluated on different images.
    """

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
        """A sentence for each rule that is not met."""
        return tuple(rule.reason for rule in self.rules if not rule.passed)

    def as_json(self) -> dict[str, Any]:
        """Return plain values for a line of JSON, numbers to six digits."""
        difference, interval, p_value = self.comparison or (None, None, None)
        shown = ("needed", "challenger", "champion", "passed")
        written = json.dumps(
            {
                "promoted": self.promoted,
                "n": self.n,
                "accuracy": self.accuracy,
                "champion_accuracy": self.champion_accuracy,
                "difference": difference,
                "interval": interval,
                "mcnemar_p": p_value,
                "rules": {rule.name: {key: getattr(rule, key) for key in shown} for rule in self.rules},
                "reasons": self.reasons,
            }
        )
        return dict(json.loads(written, parse_float=lambda number: float(f"{float(number):.6g}")))


def decide(challenger: pd.DataFrame, champion: pd.DataFrame | None, rules: Promotion, *, bins: int) -> Decision:
    """Check a challenger's predictions against the rules, and compare them with the champion's.

    Networks that were not evaluated on the same images with the same labels are not compared: `tolerance` is not met.

    Args:
        challenger: predictions.parquet of the network to promote.
        champion: that of the champion; without one only the floors, the recall of each class and calibration count.
        rules: section `promotion` of params.yaml.
        bins: of the calibration error.

    Raises:
        BadPredictions: a table lacks columns or images, or has invalid labels or probabilities.
    """
    new, correct = _evaluate(challenger, "challenger", bins)
    if champion is None:
        return Decision(tuple(_check_metrics(new, {}, rules)), len(correct), new["accuracy"], None, None)
    old, champion_correct = _evaluate(champion, "champion", bins)
    comparison, low, least = None, None, 0 - rules.tolerance  # 0 - 0 has no sign to show
    if not (reason := _different_images(correct.index, champion_correct.index)):
        comparison = compare(correct.to_numpy(), champion_correct.to_numpy())
        low = comparison.interval.low
        reason = f"the accuracy minus the champion's may be as low as {low:+.4f}, not above {least:g}"
    # at tolerance 0 the challenger must be better by more than chance: the whole interval lies above 0
    checked = (*_check_metrics(new, old, rules), _rule("tolerance", ">", least, low, None, reason))
    return Decision(checked, len(correct), new["accuracy"], old["accuracy"], comparison)


def compare(challenger: NDArray[np.bool_], champion: NDArray[np.bool_]) -> Comparison:
    """Compare two networks on the same images: difference in accuracy, paired bootstrap interval, McNemar's p-value.

    Given is for each image, in the same order, whether a network classified it correctly.

    The bootstrap (Efron 1979) draws as many images as there are, with replacement, and takes the difference again each
    time. It only depends on how many images of three kinds were drawn (won, lost, equal), and those counts are one
    multinomial draw.
    """
    n = len(challenger)
    won, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    draws = np.random.default_rng(SEED).multinomial(n, [won / n, lost / n, (n - won - lost) / n], RESAMPLES)
    low, high = np.quantile(draws[:, 0] - draws[:, 1], (0.025, 0.975)) / n
    return Comparison((won - lost) / n, ConfidenceInterval(float(low), float(high)), mcnemar(won, lost))


def mcnemar(won: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947): of the images that differ, either wins half.

    Args:
        won: images that only the one network got right.
        lost: images that only the other got right.
    """
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def _evaluate(predictions: pd.DataFrame, whose: str, bins: int) -> "tuple[dict[str, Any], pd.Series[bool]]":
    """Return the metrics of a network on validation, as in val.json, and whether it classified each image correctly.

    The images are sorted by hash and label, which are the index. The recalls of the classes are there on their own too.
    """
    rows = _validated(predictions, f"the {whose}'s predictions.parquet").sort_values(["hash", "label"], kind="stable")
    labels, probabilities = rows["label"].to_numpy(np.int64), rows[list(NAMES)].to_numpy(np.float32)
    computed = metrics.evaluate(
        labels,
        probabilities,
        duplicate_in_train=rows["duplicate_in_train"].to_numpy(bool),
        tta=probabilities,  # not in the table: accuracy_tta means nothing here, and no rule may use it
        bins=bins,
    )
    computed["recalls"] = {name: figures["recall"] for name, figures in computed["per_class"].items()}
    images = pd.MultiIndex.from_arrays([rows["hash"].astype(str), labels])
    return computed, pd.Series(probabilities.argmax(axis=1) == labels, images)


def _validated(predictions: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the validation rows, if they are what `evaluate` writes."""
    way_out = "evaluate and publish it again: `dvc repro` in its commit"
    if missing := [name for name in _COLUMNS if name not in predictions]:
        raise BadPredictions(f"{where} has no column {', '.join(missing)}; {way_out}")
    rows = predictions.loc[predictions["split"] == SPLIT, list(_COLUMNS)]
    if rows.empty:
        raise BadPredictions(f"{where} has no image of the {SPLIT} split; {way_out}")
    probabilities = rows[list(NAMES)].apply(pd.to_numeric, errors="coerce")
    is_one = (probabilities.sum(axis=1) - 1).abs() <= _SUM_ERROR
    problems = {
        **{f"has no {name}": rows[name].isna() for name in ("hash", "label", "duplicate_in_train")},
        "has the label {label}, expected 0 to 6": ~rows["label"].isin(range(len(NAMES))),
        # a comparison with NaN is false
        "has probabilities that are not seven fractions with the sum 1": ~(is_one & (probabilities >= 0).all(axis=1)),
    }
    for problem, found in problems.items():
        if found.any():
            image = rows[found].iloc[0]
            raise BadPredictions(f"{where}: image {image['id']} {problem.format(label=image['label'])}; {way_out}")
    return rows


def _different_images(challenger: pd.Index, champion: pd.Index) -> str:
    """Return a sentence with the counts where two networks were evaluated on different images; else nothing."""
    if challenger.equals(champion):
        return ""
    counts, others = challenger.value_counts(), champion.value_counts()
    common = int(np.minimum(*counts.align(others, join="inner")).sum())
    return (
        f"measured on different validation images: {len(challenger):,} and {len(champion):,}, {common:,} in common "
        "(same pixels, same label); only networks measured on the same images are compared"
    )


def _check_metrics(new: Mapping[str, Any], old: Mapping[str, Any], rules: Promotion) -> Iterator[Rule]:
    """Check the rules that need no comparison: floors, the recall of each class, calibration."""
    for name, floor in rules.floors.items():
        reason = f"there is no {name}: every validation image has a duplicate in training"
        if (value := new[name]) is not None:
            reason = f"{name} {value:.4f} is below {floor:g}"
        yield _rule(f"floors.{name}", ">=", floor, value, old.get(name), reason)
    recalls, least = new["recalls"], rules.min_class_recall
    low = ", ".join(f"{name} {recall:.4f}" for name, recall in recalls.items() if recall < least)
    lowest = min(old["recalls"].values()) if old else None
    reason = f"the recall of {low} is below {least:g}"
    yield _rule("min_class_recall", ">=", least, min(recalls.values()), lowest, reason)
    error, most = new["ece"], rules.max_calibration_error
    reason = f"the calibration error {error:.4f} is above {most:g}"
    yield _rule("max_calibration_error", "<=", most, error, old.get("ece"), reason)


def _rule(name: str, sign: str, bound: float, new: float | None, old: float | None, reason: str) -> Rule:
    passed = new is not None and _COMPARE[sign](new, bound)
    return Rule(name, f"{sign} {bound:g}", new, old, passed, "" if passed else reason)
