from typing import Any

import pytest
from orchestration.rows import TRAINING, failed, measured

from ferops.orchestration.sweeps import comparison_report, experiments
from ferops.orchestration.sweeps.comparison_report import Rows
from ferops.orchestration.sweeps.comparison_tables import ComparisonRequest

MINI = ComparisonRequest(epochs=1, subset="mini")
ROWS = measured("lean_cnn", 0.6) | measured("cnn_lbp_orb", 0.512) | failed("cnn", "its gate failed")


def cells(rows: Rows) -> dict[str, dict[str, str]]:
    """Row -> column -> cell."""
    header, *lines = comparison_report.cells(rows)
    return {line[0]: dict(zip(header[1:], line[1:], strict=True)) for line in lines}


def page(request: ComparisonRequest = MINI, dataset: str = "other", **given: Any) -> str:
    return comparison_report.page(given.get("table", "table3"), request, dataset, given.get("rows", ROWS))


def test_a_row_has_what_the_paper_prints_and_what_was_measured() -> None:
    shown = cells(ROWS)
    assert list(shown) == ["lean_cnn", "cnn_lbp_orb", "cnn"]
    assert shown["cnn_lbp_orb"] == {
        "the paper prints": "98.13% and 92.05% (CK+ and JAFFE)", "accuracy (95%)": "51.2% (46.2-56.2)",
        "without duplicates": "50.2%", "binary accuracy": "90.0%", "n": "350", "parameters": "1,234,567",
        "seconds": "95", "ms an image": "7.2", "failed": "",
    }  # fmt: skip
    assert shown["lean_cnn"]["the paper prints"] == "-"


def test_a_row_that_failed_has_the_reason_and_what_the_paper_prints_and_nothing_else() -> None:
    row = cells(ROWS)["cnn"]
    assert row.pop("failed") == "its gate failed"
    assert row.pop("the paper prints") == "75.2% (61.7% in its section 2.1)"
    assert set(row.values()) == {"-"}


def test_a_figure_that_is_not_there_is_a_dash() -> None:
    lost = measured("lean_cnn", 0.6, training={})
    assert [cells(lost)["lean_cnn"][column] for column in ("parameters", "seconds", "ms an image")] == ["-"] * 3


def test_columns_that_no_row_fills_are_left_out() -> None:
    assert not {"failed", "the paper prints"} & cells(measured("no median filter", 0.5))["no median filter"].keys()


def test_a_terminal_shows_the_few_columns_that_it_has_room_for() -> None:
    assert comparison_report.brief({title: ROWS[title] for title in ("cnn_lbp_orb", "cnn")}) == [
        ["", "accuracy (95%)", "parameters", "ms an image", "failed"],
        ["cnn_lbp_orb", "51.2% (46.2-56.2)", "1,234,567", "7.2", ""],
        ["cnn", "-", "-", "-", "its gate failed"],
    ]


def test_the_best_comes_first_and_what_failed_last() -> None:
    rows = failed("a", "x") | measured("b", 0.4) | measured("c", 0.5)
    assert [result.trial.name for result in experiments.ranked(rows.values())] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("given", "dataset", "said"),
    [
        (MINI, "other", "**Measured on a small part of FER2013 (FER2013_MINI). None of these figures"),
        (
            ComparisonRequest(subset="sample"),
            "sample",
            "**Measured on the synthetic sample (faces drawn by code, not FER2013).",
        ),
        (ComparisonRequest(), "other", "**Measured on a data set of your own."),
    ],
)
def test_a_page_that_is_not_of_fer2013_says_so_before_the_table(
    given: ComparisonRequest, dataset: str, said: str
) -> None:
    _, warning, _ = page(given, dataset).split("\n\n", 2)
    assert warning.startswith(said)


def test_a_page_of_fer2013_has_no_warning() -> None:
    assert page(ComparisonRequest(), "fer2013").split("\n\n")[1].startswith("|")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ComparisonRequest(epochs=1), "at most 1 epoch."),
        (ComparisonRequest(epochs=3, minutes=0.5), "at most 3 epochs and at most 0.5 minutes."),
        (ComparisonRequest(), "what its recipe says."),
    ],
)
def test_the_page_says_on_which_budget(given: ComparisonRequest, said: str) -> None:
    assert f"- Budget of each training: {said}" in page(given)


def test_the_page_says_what_one_has_to_know() -> None:
    rows = measured("lean_cnn", 0.6) | measured("cnn", 0.5, {**TRAINING, "ended": 1_700_100_000})
    said = page(MINI._replace(weights="imagenet"), rows=rows)
    assert "the test split stayed closed" in said
    assert "PublicTest" in said
    assert "`cnn` Singh and Nasoz" in said
    assert 'Always "happy": 24.9%.' in said
    assert "started from `imagenet`" in said
    assert "Measured 2023-11-14 to 2023-11-16 on a processor, 2 CPU cores:" in said


def test_the_page_of_the_choices_says_that_splits_are_not_comparable() -> None:
    said = page(table="ablations", rows=measured("split random", 0.5))
    assert "Another split has other validation images" in said
    assert "Singh" not in said


@pytest.mark.parametrize(
    ("given", "dataset", "is_said"),
    [
        (ComparisonRequest(), "fer2013", True),
        (ComparisonRequest(), "sample", False),
        (ComparisonRequest(weights="imagenet"), "fer2013", False),
    ],
)
def test_the_page_of_the_choices_says_that_the_base_has_seen_the_other_splits(
    given: ComparisonRequest, dataset: str, is_said: bool
) -> None:
    said = page(given, dataset, table="ablations", rows=measured("split random", 0.5))
    assert ("was trained on FER2013's Training" in said) == is_said


def test_a_page_without_a_row_that_succeeded_has_the_reasons() -> None:
    said = page(rows=failed("cnn", "its gate failed"))
    assert "its gate failed" in said
    assert "Always" not in said
