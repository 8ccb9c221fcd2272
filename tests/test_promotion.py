"""The promotion gate on crafted predictions."""

import hashlib
import json
import math
import typing

import numpy as np
import pandas as pd
import pytest

from ferops import params
from ferops.labels import NAMES, OFFICIAL_COUNTS
from ferops.model import metrics
from ferops.promotion import rules
from ferops.promotion.rules import BadPredictions

N = 700
LABELS = np.tile(np.arange(7), N // 7)
RULES = params.Promotion(
    floors={"accuracy": 0.5, "f1_macro": 0.4}, min_class_recall=0.05, max_calibration_error=0.15, tolerance=0.01
)
BINS = 15


def network(right: float, seed: int = 0, confidence: float | None = None, labels: np.ndarray = LABELS) -> pd.DataFrame:
    """Predictions of a network that is right in this share of the images, and as sure of itself as it should be."""
    wrong = np.random.default_rng(seed).permutation(len(labels)) >= round(right * len(labels))
    return said(np.where(wrong, (labels + 1) % 7, labels), right if confidence is None else confidence, labels)


def said(predicted: np.ndarray, confidence: float = 0.7, labels: np.ndarray = LABELS) -> pd.DataFrame:
    """predictions.parquet with these answers on validation, and as many test images that are all wrong."""
    probabilities = np.full((len(labels), 7), (1 - confidence) / 6, np.float32)
    probabilities[np.arange(len(labels)), predicted] = confidence
    validation = table("validation", labels, probabilities)
    return pd.concat([validation, table("test", labels, np.roll(np.eye(7), 1, axis=1)[labels])], ignore_index=True)


def table(split: str, labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    images = [f"{split}-{number}" for number in range(len(labels))]
    columns = {name: probabilities[:, code].astype(np.float32) for code, name in enumerate(NAMES)}
    hashes = [hashlib.sha256(image.encode()).hexdigest()[:16] for image in images]
    head = {"id": images, "split": split, "label": labels, "hash": hashes}
    return pd.DataFrame({**head, **columns, "duplicate_in_train": np.arange(len(labels)) % 10 == 0})


def promote(challenger: pd.DataFrame, champion: pd.DataFrame | None, **changes: object) -> rules.Decision:
    return rules.decide(challenger, champion, RULES.model_copy(update=changes), bins=BINS)


def not_compared(challenger: pd.DataFrame, champion: pd.DataFrame) -> str:
    """The reason why two networks are not compared, which is why the challenger is refused."""
    decision = promote(challenger, champion)
    assert decision.comparison is None
    assert failed(decision) == ["tolerance"]
    return decision.reasons[0]


def failed(decision: rules.Decision) -> list[str]:
    return [rule.name for rule in decision.rules if not rule.passed]


# who is promoted


def test_a_better_challenger_is_promoted() -> None:
    decision = promote(network(0.75, seed=1), network(0.6, seed=2))

    assert decision.promoted
    assert decision.reasons == ()
    assert decision.n == N
    assert (decision.accuracy, decision.champion_accuracy) == pytest.approx((0.75, 0.6))
    assert decision.comparison.difference == pytest.approx(0.15)
    assert 0 < decision.comparison.interval.low < 0.15 < decision.comparison.interval.high
    assert decision.comparison.p_value < 1e-6


def test_a_worse_challenger_is_refused_for_its_accuracy_alone() -> None:
    decision = promote(network(0.6, seed=1), network(0.75, seed=2))

    assert not decision.promoted
    assert failed(decision) == ["tolerance"]
    low = decision.comparison.interval.low
    assert decision.reasons == (f"the accuracy minus the champion's may be as low as {low:+.4f}, not above -0.01",)


def test_an_equal_challenger_is_promoted_at_any_tolerance_but_zero() -> None:
    same = network(0.7)

    assert promote(same, same).comparison == rules.Comparison(0, metrics.ConfidenceInterval(0, 0), 1)
    assert promote(same, same, tolerance=1e-9).promoted
    assert failed(promote(same, same, tolerance=0.0)) == ["tolerance"]


def test_tolerance_zero_asks_for_more_than_luck() -> None:
    champion = network(0.70, seed=1)

    assert promote(network(0.80, seed=2), champion, tolerance=0.0).promoted
    lucky = promote(network(0.71, seed=2), champion, tolerance=0.0)
    assert lucky.comparison.difference > 0
    assert failed(lucky) == ["tolerance"]


def test_the_lower_end_must_be_above_the_tolerance_not_on_it() -> None:
    challenger, champion = network(0.70, seed=1), network(0.71, seed=2)
    low = promote(challenger, champion).comparison.interval.low

    assert -0.1 < low < 0
    assert not promote(challenger, champion, tolerance=-low).promoted
    assert promote(challenger, champion, tolerance=-low + 1e-9).promoted


def test_with_few_images_a_difference_that_could_be_chance_is_no_reason_to_promote() -> None:
    few = LABELS[:70]

    decision = promote(network(0.7, seed=1, labels=few), network(0.7, seed=2, labels=few))

    assert decision.comparison.difference == 0
    assert failed(decision) == ["tolerance"]


# without a champion


def test_without_a_champion_the_floors_decide() -> None:
    decision = promote(network(0.6), None)

    assert decision.promoted
    assert decision.comparison is None
    assert decision.champion_accuracy is None
    assert [rule.name for rule in decision.rules] == [
        "floors.accuracy", "floors.f1_macro", "min_class_recall", "max_calibration_error",
    ]  # fmt: skip


def test_without_a_champion_the_floors_still_refuse() -> None:
    decision = promote(network(0.48), None)

    assert failed(decision) == ["floors.accuracy"]
    assert decision.reasons == ("accuracy 0.4800 is below 0.5",)


def test_a_figure_on_its_floor_passes() -> None:
    assert promote(network(0.5), None, floors={"accuracy": 0.5}).promoted


# floors


def test_a_network_that_never_says_disgust_is_refused_however_good_it_is_otherwise() -> None:
    champion = network(0.6, seed=1)
    disgust = NAMES.index("disgust")
    blind = said(np.where(disgust == LABELS, NAMES.index("angry"), LABELS), confidence=0.86)

    decision = promote(blind, champion)

    assert decision.comparison.difference > 0.2
    assert failed(decision) == ["min_class_recall"]
    assert decision.reasons == ("the recall of disgust 0.0000 is below 0.05",)


def test_a_network_that_is_too_sure_of_itself_is_refused() -> None:
    decision = promote(network(0.7, confidence=0.99), network(0.6, seed=1))

    assert failed(decision) == ["max_calibration_error"]
    assert decision.reasons == ("the calibration error 0.2900 is above 0.15",)


def test_every_broken_rule_is_told() -> None:
    decision = promote(network(0.2, confidence=0.99), network(0.6, seed=1), min_class_recall=0.9)

    assert failed(decision) == [rule.name for rule in decision.rules]
    assert len(decision.reasons) == 5
    assert all(name in decision.reasons[2] for name in NAMES)


@pytest.mark.parametrize("name", typing.get_args(params.Floor))
def test_every_floor_can_be_computed_from_predictions_alone(name: str) -> None:
    predictions = network(0.7)
    rows = predictions[predictions["split"] == "validation"]
    probabilities = rows[list(NAMES)].to_numpy()
    expected = metrics.evaluate(
        rows["label"].to_numpy(), probabilities, tta=probabilities, bins=BINS,
        duplicate_in_train=rows["duplicate_in_train"].to_numpy(),
    )[name]  # fmt: skip

    floor = promote(predictions, None, floors={name: 0.01}).rules[0]

    assert floor.passed
    assert floor.challenger == pytest.approx(expected)
    assert failed(promote(predictions, None, floors={name: 1.0})) == [f"floors.{name}"]


def test_a_floor_that_cannot_be_measured_is_not_met() -> None:
    decision = promote(network(0.7).assign(duplicate_in_train=True), None, floors={"accuracy_deduplicated": 0.5})

    assert decision.reasons == (
        "there is no accuracy_deduplicated: every validation image has a duplicate in training",
    )


# which images


def test_rows_of_the_test_split_change_nothing() -> None:
    challenger, champion = network(0.75, seed=1), network(0.6, seed=2)
    closed = challenger[challenger["split"] == "validation"]
    spoilt = challenger.copy()
    spoilt.loc[spoilt["split"] == "test", [*NAMES, "label", "hash"]] = None

    decisions = [promote(one, champion).as_json() for one in (challenger, closed, spoilt)]

    assert decisions[0] == decisions[1] == decisions[2]
    assert promote(challenger, champion[champion["split"] == "validation"]).as_json() == decisions[0]


def test_the_order_of_the_images_changes_nothing() -> None:
    challenger, champion = network(0.75, seed=1), network(0.74, seed=2)

    shuffled = promote(challenger.sample(frac=1, random_state=0), champion.sample(frac=1, random_state=1))

    assert shuffled == promote(challenger, champion)


def test_ids_may_differ_where_the_images_are_the_same() -> None:
    challenger, champion = network(0.75, seed=1), network(0.6, seed=2)

    renamed = promote(challenger.assign(id=[f"x{number}" for number in range(2 * N)]), champion)

    assert renamed == promote(challenger, champion)


def test_the_type_that_labels_were_stored_in_changes_nothing() -> None:
    challenger, champion = network(0.75, seed=1), network(0.6, seed=2)

    assert promote(challenger, champion.astype({"label": np.int8})) == promote(challenger, champion)


def test_an_image_that_validation_holds_twice_is_compared_twice() -> None:
    challenger, champion = network(0.75, seed=1), network(0.6, seed=2)
    twice = [pd.concat([one, one.iloc[:100]], ignore_index=True) for one in (challenger, champion)]

    assert promote(*twice).n == N + 100
    assert "800 and 700, 700 in common" in not_compared(twice[0], champion)


def test_other_images_are_refused_with_the_counts() -> None:
    challenger, champion = network(0.75), network(0.6)

    reason = not_compared(challenger, champion.iloc[50:])

    assert "700 and 650, 650 in common" in reason
    assert "\n" not in reason


def test_as_many_other_images_are_other_images() -> None:
    champion = network(0.6)
    champion.loc[:9, "hash"] = [f"other-{number}" for number in range(10)]

    assert "700 and 700, 690 in common" in not_compared(network(0.75), champion)


def test_the_same_images_with_other_labels_are_other_images() -> None:
    relabelled = network(0.6)
    relabelled.loc[:4, "label"] = (relabelled.loc[:4, "label"] + 1) % 7

    assert "700 and 700, 695 in common" in not_compared(network(0.75), relabelled)


# predictions that are none


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda frame: frame.drop(columns=["hash", "fear"]), "no column hash, fear"),
        (lambda frame: frame[frame["split"] == "test"], "no image of the validation split"),
        (
            lambda frame: frame.assign(happy=np.float32("nan")),
            "image validation-0 has probabilities that are not seven fractions",
        ),
        (
            lambda frame: frame.assign(happy=frame["happy"] + 0.01),
            "image validation-0 has probabilities that are not seven fractions",
        ),
        (lambda frame: frame.assign(sad=frame["sad"] - 2, fear=frame["fear"] + 2), "not seven fractions"),
        (lambda frame: frame.assign(happy="sure"), "not seven fractions"),
        (lambda frame: frame.assign(label=7), "has the label 7, expected 0 to 6"),
        (lambda frame: frame.assign(label="happy"), "has the label happy, expected 0 to 6"),
        (lambda frame: frame.assign(hash=None), "image validation-0 has no hash"),
    ],
)
def test_what_evaluate_does_not_write_is_one_line_that_names_whose_it_is(spoil, says: str) -> None:
    good = network(0.7)

    for whose, pair in (("challenger", (spoil(good), good)), ("champion", (good, spoil(good)))):
        with pytest.raises(BadPredictions, match=says) as error:
            promote(*pair)
        assert str(error.value).startswith(f"the {whose}'s predictions.parquet")
        assert "\n" not in str(error.value)


# the comparison


def test_the_interval_is_that_of_a_naive_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    challenger, champion = rng.random(400) < 0.7, rng.random(400) < 0.66
    difference = challenger.astype(float) - champion

    naive = [difference[rng.integers(0, 400, 400)].mean() for _ in range(10_000)]

    interval = rules.compare(challenger, champion).interval
    # an end moves by about 0.0009 from one bootstrap of 10,000 to another; the interval is 0.13 wide
    assert interval == pytest.approx(np.quantile(naive, (0.025, 0.975)), abs=0.005)


def test_the_images_are_compared_in_pairs() -> None:
    """Two networks that differ in few images are told apart where two independent samples would not be."""
    champion = np.arange(1000) < 700
    challenger = np.arange(1000) < 715

    low, high = rules.compare(challenger, champion).interval

    assert 0 < low < 0.015 < high < 0.03
    assert metrics.wilson(715, 1000).low < 0.70


def test_the_same_predictions_give_the_same_interval() -> None:
    rng = np.random.default_rng(4)
    challenger, champion = rng.random(3589) < 0.6, rng.random(3589) < 0.6

    assert rules.compare(challenger, champion) == rules.compare(challenger, champion)


@pytest.mark.parametrize(
    ("won", "lost", "p_value"),
    [
        (0, 0, 1),
        (5, 5, 1),
        (0, 5, 2 / 2**5),
        (6, 0, 2 / 2**6),
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
        (59, 21, 2 * sum(math.comb(80, k) for k in range(22)) / 2**80),
    ],
)
def test_mcnemars_p_value_is_the_exact_binomial_one(won: int, lost: int, p_value: float) -> None:
    assert rules.mcnemar(won, lost) == pytest.approx(p_value)
    assert rules.mcnemar(lost, won) == pytest.approx(p_value)


def test_mcnemar_decides_nothing() -> None:
    """Worse in 15 images of 700, better in none: that is no chance, and still within a tolerance of 0.05."""
    base = np.where(np.arange(N) < 490, LABELS, (LABELS + 1) % 7)
    worse = np.where(np.arange(N) < 475, LABELS, (LABELS + 1) % 7)

    decision = promote(said(worse), said(base), tolerance=0.05)

    assert decision.comparison.p_value < 0.001
    assert decision.promoted


# what is recorded


def test_a_decision_is_plain_json_with_short_numbers() -> None:
    decision = promote(network(0.6, seed=1), network(0.75, seed=2))

    written = json.loads(json.dumps(decision.as_json()))

    assert written == decision.as_json()
    assert written["promoted"] is False
    assert written["n"] == N
    assert written["accuracy"] == 0.6
    assert written["champion_accuracy"] == 0.75
    assert written["difference"] == -0.15
    assert written["interval"] == [float(f"{end:.6g}") for end in decision.comparison.interval]
    assert written["mcnemar_p"] == pytest.approx(decision.comparison.p_value, rel=1e-5)
    assert written["mcnemar_p"] > 0
    assert written["rules"]["floors.accuracy"] == {
        "needed": ">= 0.5", "challenger": 0.6, "champion": 0.75, "passed": True,
    }  # fmt: skip
    assert written["reasons"] == list(decision.reasons)


def test_a_decision_without_a_champion_has_no_comparison() -> None:
    written = promote(network(0.6), None).as_json()

    for key in ("champion_accuracy", "difference", "interval", "mcnemar_p"):
        assert written[key] is None


def test_a_decision_with_every_rule_broken_fits_a_tag() -> None:
    """A tag of a model version holds 5,000 characters, and the event around the decision needs some of them."""
    floors = dict.fromkeys(typing.get_args(params.Floor), 1.0)

    decision = promote(network(0.2, confidence=0.99), network(0.7), floors=floors, min_class_recall=1.0)

    assert len(decision.reasons) == len(floors) + 3
    assert len(json.dumps(decision.as_json())) < 3500


def test_figures_on_the_whole_validation_split_take_no_time_and_no_memory_worth_naming() -> None:
    import tracemalloc

    labels = np.repeat(np.arange(7), OFFICIAL_COUNTS["validation"])
    challenger, champion = network(0.65, seed=1, labels=labels), network(0.64, seed=2, labels=labels)
    tracemalloc.start()

    decision = promote(challenger, champion)

    assert decision.n == 3589
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
