"""The audit of the paper: its functions on cases worked by hand, and the page against the functions."""

import math
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, chi2_contingency
from sklearn.metrics import cohen_kappa_score
from support import ROOT, benchmark

from ferops import paper, params
from ferops.labels import MERGED_COUNTS, NAMES, OFFICIAL_COUNTS
from ferops.model import metrics

audit = benchmark("paper_audit")

PAGE = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
MERGED = dict(zip(NAMES, MERGED_COUNTS, strict=True))
PERFECT = np.diag(list(MERGED_COUNTS))


def page_table(first: str) -> list[tuple[str, ...]]:
    """Rows below the header of docs/paper.md that begins with these cells."""
    lines = PAGE.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"| {first} |")]
    assert len(starts) == 1, f"docs/paper.md has {len(starts)} tables that begin with {first}"
    rows = []
    for line in lines[starts[0] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


@pytest.fixture(scope="module")
def ours() -> paper.Table:
    """Our network's confusion matrix as the page prints it."""
    rows = page_table("true / predicted | angry")
    assert [row[0] for row in rows] == list(NAMES)
    return np.array([[int(cell) for cell in row[1:]] for row in rows])


def network_like(seed: int, images: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Labels and softmax outputs of a network that is often right, and sure only now and then."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, images, p=np.array(OFFICIAL_COUNTS["test"]) / 3589)
    logits = rng.normal(0, 1, (images, 7)) + rng.uniform(0, 4, (images, 1)) * np.eye(7)[labels]
    outputs = np.exp(logits)
    return labels, (outputs / outputs.sum(axis=1, keepdims=True)).astype(np.float32)


# the network


def test_the_papers_three_counts_follow_from_its_layers_with_three_blocks_frozen() -> None:
    assert paper.parameters(3) == paper.TABLE_2
    assert paper.parameters(3).non_trainable != paper.TEXT_NON_TRAINABLE


def test_with_all_blocks_frozen_as_the_text_says_only_the_head_would_train() -> None:
    assert paper.parameters(5).trainable == 166_919


@pytest.mark.parametrize("frozen_blocks", range(6))
def test_the_counts_are_those_of_the_network_that_keras_builds(frozen_blocks: int) -> None:
    from ferops.model.networks import systems, vgg16_transfer

    settings = params.load(ROOT / "params.yaml").model.model_copy(update={"frozen_blocks": frozen_blocks})
    assert paper.parameters(frozen_blocks)._asdict() == systems.counts(vgg16_transfer.build(settings))


# precision, recall and what follows from them


def test_the_papers_precision_and_recall_give_its_90_and_its_63_percent() -> None:
    # 100 images: 60 right outputs fire, 40 are missed, 60 x 34 / 66 = 30.9 others fire; 70.9 errors in 700 outputs
    assert paper.binary_accuracy(paper.PRECISION, paper.RECALL) == pytest.approx(1 - 70.909 / 700, abs=1e-5)
    assert round(paper.binary_accuracy(paper.PRECISION, paper.RECALL), 2) == paper.ACCURACY
    assert round(paper.f1(paper.PRECISION, paper.RECALL), 2) == paper.F1


def test_f1_is_twice_the_hits_over_what_fired_and_what_should_have() -> None:
    # 3 hits, 4 fired, 5 should have
    assert paper.f1(3 / 4, 3 / 5) == pytest.approx(2 * 3 / (4 + 5))


def test_a_perfect_network_a_silent_one_and_one_that_is_always_wrong() -> None:
    assert paper.binary_accuracy(1, 1) == 1
    assert paper.binary_accuracy(1, 0) == pytest.approx(6 / 7)
    assert paper.accuracy_bounds(1, 1) == (1, 1)
    assert paper.least_accuracy(1) == 1
    assert paper.least_accuracy(5 / 7) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_formulas_hold_for_the_measured_figures_of_any_softmax(seed: int) -> None:
    labels, outputs = network_like(seed)
    duplicates = np.zeros(len(labels), dtype=bool)
    measured = metrics.evaluate(labels, outputs, duplicate_in_train=duplicates, tta=outputs, bins=15)
    precision, recall = measured["precision_micro"], measured["recall_micro"]
    assert 0.2 < recall < precision < 0.95, "a case that says something"
    assert paper.binary_accuracy(precision, recall) == pytest.approx(measured["binary_accuracy"])
    assert paper.undecided(precision, recall) == pytest.approx((outputs.max(axis=1) <= 0.5).mean())
    low, high = paper.accuracy_bounds(precision, recall)
    assert low < measured["accuracy"] < high
    assert paper.least_accuracy(measured["binary_accuracy"]) <= measured["accuracy"]
    assert measured["accuracy"] <= paper.accuracy_ceiling(measured["recall_macro"], class_sizes(labels)) + 1e-9


def class_sizes(labels: np.ndarray) -> dict[str, int]:
    return dict(zip(NAMES, np.bincount(labels, minlength=7).tolist(), strict=True))


def test_the_bounds_of_accuracy_are_reached() -> None:
    # 3 of 10 fire right, 2 fire wrong, 5 stay below one half: these five may all be wrong or all be right
    low, high = paper.accuracy_bounds(precision=3 / 5, recall=3 / 10)
    assert (low, high) == (pytest.approx(0.3), pytest.approx(0.8))


def test_no_reading_of_its_recall_lets_ninety_percent_of_the_images_be_right() -> None:
    assert paper.accuracy_bounds(paper.PRECISION + paper.ROUNDING, paper.RECALL - paper.ROUNDING)[1] < 0.71
    assert paper.accuracy_ceiling(paper.RECALL + paper.ROUNDING, MERGED) < 0.78


def test_the_accuracy_ceiling_fills_the_largest_classes_first() -> None:
    # mean recall 0.5 of two classes: all of the 8 and none of the 2; at 0.75 also half of the 2
    assert paper.accuracy_ceiling(0.5, {"small": 2, "large": 8}) == pytest.approx(0.8)
    assert paper.accuracy_ceiling(0.75, {"small": 2, "large": 8}) == pytest.approx(0.9)


# confusion matrices


def test_figures_of_a_small_matrix_worked_by_hand() -> None:
    table = np.zeros((7, 7), dtype=np.int64)
    table[0, 0], table[0, 1], table[1, 0], table[1, 1] = 20, 5, 10, 15
    assert paper.accuracy(table) == 0.7
    assert paper.kappa(table) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert paper.macro_recall(table) == pytest.approx((20 / 25 + 15 / 25) / 7), "classes without images count as 0"
    # expected 15, 10, 15, 10: 25/15 + 25/10 + 25/15 + 25/10
    test = paper.chi_square(table)
    assert (test.statistic, test.dof) == (pytest.approx(25 / 3), 1)
    assert test.pvalue == pytest.approx(math.erfc(math.sqrt(25 / 6)))


@pytest.mark.parametrize("seed", range(5))
def test_kappa_and_chi_square_agree_with_scikit_learn_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, 500)
    predicted = np.where(rng.random(500) < seed / 5, labels, rng.integers(0, 7, 500))
    table = metrics.confusion(labels, predicted)
    assert paper.kappa(table) == pytest.approx(cohen_kappa_score(labels, predicted))
    by_scipy = chi2_contingency(pd.crosstab(labels, predicted))
    assert paper.chi_square(table)[:3] == pytest.approx(by_scipy[:3])
    assert paper.macro_recall(table) == pytest.approx((table.diagonal() / table.sum(axis=1)).mean())


def test_a_perfect_matrix_has_every_figure_at_its_greatest() -> None:
    assert paper.accuracy(PERFECT) == paper.kappa(PERFECT) == paper.macro_recall(PERFECT) == 1
    test = paper.chi_square(PERFECT)
    assert (test.statistic, test.dof, test.pvalue) == (pytest.approx(6 * 7178), 36, 0)


def test_a_class_that_is_never_predicted_is_no_hindrance() -> None:
    always_happy = np.zeros((7, 7), dtype=np.int64)
    always_happy[:, NAMES.index("happy")] = list(MERGED_COUNTS)
    assert paper.kappa(always_happy) == 0
    test = paper.chi_square(always_happy)
    assert (test.statistic, test.dof, test.pvalue) == (0, 0, 1)
    assert math.isnan(paper.kappa(np.diag([5, 0, 0, 0, 0, 0, 0])))


def test_a_matrix_unrolls_into_labels_and_predictions_that_have_it() -> None:
    table = np.random.default_rng(0).integers(0, 9, (7, 7))
    assert np.array_equal(metrics.confusion(*paper.unrolled(table)), table)


def test_shuffled_labels_are_chance_and_the_straight_ones_are_not() -> None:
    labels, outputs = network_like(seed=0)
    predicted = outputs.argmax(axis=1)
    straight, shuffled = metrics.confusion(labels, predicted), paper.shuffled(labels, predicted, seed=0)
    assert np.array_equal(shuffled.sum(axis=1), straight.sum(axis=1))
    assert paper.chi_square(straight).pvalue < 1e-100
    assert paper.chi_square(shuffled).pvalue > 0.001
    assert abs(paper.kappa(shuffled)) < 0.05 < 0.4 < paper.kappa(straight)
    assert np.array_equal(shuffled, paper.shuffled(labels, predicted, seed=0)), "a seed gives one matrix"
    assert not np.array_equal(shuffled, paper.shuffled(labels, predicted, seed=1))


def test_many_shuffles_follow_the_chi_square_distribution() -> None:
    chance = paper.by_chance(PERFECT, 200)
    low, high = chi2.ppf((0.025, 0.975), 36)
    assert 0.85 < ((low < chance.chi_square) & (chance.chi_square < high)).mean() <= 1
    assert abs(chance.kappa.mean()) < 0.002
    assert chance.accuracy.mean() == pytest.approx(((PERFECT.sum(axis=1) / PERFECT.sum()) ** 2).sum(), abs=0.002)


def test_the_papers_table_4_is_no_better_than_chance() -> None:
    assert (paper.TABLE_4.trace(), paper.TABLE_4.sum()) == (1172, 6900)
    test = paper.chi_square(paper.TABLE_4)
    assert (round(test.statistic, 1), test.dof, round(test.pvalue, 2)) == (36.5, 36, 0.45)
    assert round(paper.kappa(paper.TABLE_4), 4) == -0.0003
    assert abs(paper.accuracy_by_chance(paper.TABLE_4) * 6900 - 1172) < 3


def test_table_4_is_in_the_order_of_our_codes() -> None:
    # printed: of 831 surprised faces 206 are named happy, of 1,203 neutral ones 178 sad
    surprise, happy, neutral, sad = (NAMES.index(name) for name in ("surprise", "happy", "neutral", "sad"))
    assert (paper.TABLE_4[surprise].sum(), paper.TABLE_4[surprise, happy]) == (831, 206)
    assert (paper.TABLE_4[neutral].sum(), paper.TABLE_4[neutral, sad]) == (1203, 178)


def test_the_rows_of_table_4_point_to_public_and_private_test_together() -> None:
    rows = dict(zip(NAMES, paper.TABLE_4.sum(axis=1).tolist(), strict=True))
    assert sum(MERGED_COUNTS) == 7178
    assert MERGED["surprise"] == 415 + 416 == rows["surprise"]
    for name, images in rows.items():
        assert images <= MERGED[name]
        assert images > max(OFFICIAL_COUNTS[split][NAMES.index(name)] for split in ("validation", "test"))


def test_all_seven_systems_that_the_paper_names_have_their_figures() -> None:
    assert len(paper.TABLE_3) == 7
    assert set(paper.TABLE_3) <= set(get_args(params.SystemName))
    assert {round(figure.value, 4) for result in paper.TABLE_3.values() for figure in result.figures} == {
        0.9, 0.752, 0.617, 0.9813, 0.9205, 0.6597, 0.7445, 0.8931, 0.728,
    }  # fmt: skip


# the page


def test_the_page_states_what_the_functions_give() -> None:
    stated = [row[:3] for row in page_table("figure | the paper | computed")]
    assert stated == [tuple(check) for check in audit.checks()]


def test_the_page_shows_table_4_cell_by_cell() -> None:
    assert page_table("Table 4 | angry") == audit.table_4()


def test_the_page_shows_our_matrix_straight_and_shuffled_as_it_comes_out(ours: paper.Table) -> None:
    shuffles = 1_000
    rows = page_table("figure | the paper's Table 4 | ours | ours, shuffled")
    assert f"{shuffles:,} shuffles, 95%" in PAGE
    assert rows == audit.demonstration(ours, shuffles)


def test_the_pages_figures_of_our_network_agree_with_each_other(ours: paper.Table) -> None:
    rows = {figure: (measured, formula) for figure, measured, formula in page_table("figure | measured")}
    precision, recall = (float(rows[f"{name}, micro at one half"][0]) for name in "PR")
    assert rows["images"][0] == f"{ours.sum():,}"
    assert rows["accuracy"][0] == f"{paper.accuracy(ours):.3f}"
    assert float(rows["binary accuracy"][0]) == pytest.approx(paper.binary_accuracy(precision, recall), abs=2e-4)
    undecided, right = float(rows["images with no output above one half"][0]), float(rows["of these, right"][0])
    assert undecided == pytest.approx(paper.undecided(precision, recall), abs=2e-3)
    assert recall + undecided * right == pytest.approx(paper.accuracy(ours), abs=2e-3)


FIGURE = re.compile(r"\b(?:0\.\d{3,}|\d{1,3}(?:,\d{3})+)\b")
OF_THE_TRAINING_RATE = {"0.0001", "0.249", "0.250"}
"""Measured in docs/results.md, quoted in the page."""


def test_the_pages_sentences_use_the_figures_of_its_tables() -> None:
    sentences = PAGE.partition("## Every figure")[0] + PAGE.partition("## The derivations")[2].partition("\n## ")[0]
    known = set(FIGURE.findall(" ".join(map(" ".join, [*audit.checks(), *page_table("figure | measured")]))))
    half_right = paper.RECALL + paper.undecided(paper.PRECISION, paper.RECALL) / 2
    as_often_right_as_ours = paper.RECALL + paper.undecided(paper.PRECISION, paper.RECALL) * 0.398
    false_alarms = 1 - paper.accuracy_bounds(paper.PRECISION, paper.RECALL)[1]
    known |= {f"{value:.3f}" for value in (half_right, as_often_right_as_ours, false_alarms, 1 - paper.RECALL)}
    known |= {f"{sum(images):,}" for images in OFFICIAL_COUNTS.values()} | {
        f"{sum(map(sum, OFFICIAL_COUNTS.values())):,}"
    }
    used = set(FIGURE.findall(sentences))
    assert {"0.8987", "0.6286", "0.857", "13,146,119"} <= used
    assert used - known == OF_THE_TRAINING_RATE


def test_our_images_are_public_and_private_test_without_one_blank(ours: paper.Table) -> None:
    missing = (np.array(MERGED_COUNTS) - ours.sum(axis=1)).tolist()
    assert min(missing) == 0
    assert sum(missing) == 1


# benchmarks/paper_audit.py


def test_the_benchmark_prints_the_tables_and_writes_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, outputs = network_like(seed=0, images=400)
    columns = {"id": range(400), "split": ["validation", "test"] * 200, "label": labels, "duplicate_in_train": False}
    predictions = pd.DataFrame(columns).join(pd.DataFrame(outputs, columns=list(NAMES)))
    predictions.to_parquet(tmp_path / "predictions.parquet")
    picture = tmp_path / "picture.png"
    monkeypatch.setattr(audit, "SHUFFLES", 20)
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / "predictions.parquet"), "--picture", str(picture)])
    audit.main()
    shown = capsys.readouterr().out
    assert "| trained, with blocks 1-3 frozen | 13,146,119 | 13,146,119 |" in shown
    assert f"{(outputs.argmax(axis=1) == labels).mean():.3f}" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("given", ["nowhere.parquet", "text.parquet", "other.parquet", "closed.parquet"])
def test_the_benchmark_says_in_one_line_what_is_wrong_with_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (tmp_path / "text.parquet").write_text("not a table")
    pd.DataFrame({"label": [0]}).to_parquet(tmp_path / "other.parquet")
    closed = {"id": [0], "split": ["validation"], "label": [0], "duplicate_in_train": [False]}
    pd.DataFrame(closed | {name: [0.1] for name in NAMES}).to_parquet(tmp_path / "closed.parquet")
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / given)])
    with pytest.raises(SystemExit) as ended:
        audit.main()
    message = str(ended.value)
    assert given in message
    assert "\n" not in message
