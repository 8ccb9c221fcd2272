"""The model card of the figures that are in this repository, and of fewer files."""

import json
import shutil
from pathlib import Path

import pytest
from support import ROOT

from ferops import params
from ferops.model.metrics import wilson
from ferops.predict.networks import SHIPPED, load
from ferops.tracking.outputs import read_outputs
from ferops.tracking.pages import report


@pytest.fixture
def card(pipeline):
    """Make the card of the folder's files."""
    return lambda: report.card(read_outputs(params.flatten(params.load())))


@pytest.fixture
def measured(pipeline) -> dict:
    """Figures that were measured: those of this repository."""
    shutil.copytree(ROOT / "metrics", "metrics", dirs_exist_ok=True)
    shutil.copytree(ROOT / "reports/evaluate", "reports/evaluate", dirs_exist_ok=True)
    return json.loads(Path("metrics/test.json").read_text())


def test_intervals_are_those_of_the_metrics(measured, card) -> None:
    text = card()
    low, high = measured["accuracy_interval"]
    assert f"{measured['accuracy']:.3f} ({low:.3f}-{high:.3f}) |\n" in text
    for name, row in measured["per_class"].items():
        low, high = wilson(round(row["recall"] * row["support"]), row["support"])
        figures = f"{row['precision']:.3f} | {row['f1']:.3f} | {row['support']}"
        assert f"| {name} | {row['recall']:.3f} ({low:.3f}-{high:.3f}) | {figures} |\n" in text


def test_the_mistakes_are_those_of_the_confusion_matrix(measured, card) -> None:
    rows = Path("reports/evaluate/confusion.csv").read_text().splitlines()
    (line,) = [line for line in card().splitlines() if line.startswith("Most frequent mistakes: ")]
    pairs = [mistake.split() for mistake in line.removeprefix("Most frequent mistakes: ").rstrip(".").split("; ")]
    assert len(pairs) == 5
    assert all(rows.count(f"{actual},{predicted}") == int(count) for actual, _, predicted, count, _ in pairs)


def test_calibration_is_on_the_card_where_it_was_measured(pipeline, card) -> None:
    assert "## Calibration" not in card()
    split = {"ece": 0.03, "ece_calibrated": 0.01, "coverage": 0.62, "accuracy_certain": 0.802}
    calibration = {"temperature": 1.25, "uncertain_below": 0.55, "validation": split, "test": split}
    Path("metrics/calibration.json").write_text(json.dumps(calibration))
    text = card()
    assert "divides its logits by 1.250" in text
    assert "On test 62% of the answers are not, and 80% of these are right." in text


def test_a_closed_test_split_is_not_on_the_card(pipeline, card) -> None:
    Path("metrics/test.json").write_text("{}")
    text = card()
    assert "on the validation split" in text
    assert "| | validation |\n" in text
    assert "## Each expression, validation" in text


def test_only_fer2013s_card_speaks_of_its_labels_and_only_the_samples_of_drawn_faces(pipeline, card) -> None:
    texts = {}
    for dataset in ("sample", "fer2013", "other"):
        path = Path("data/prepared/report.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": dataset}))
        texts[dataset] = card()
    assert [name for name, text in texts.items() if "mean nothing for real faces" in text] == ["sample"]
    assert [name for name, text in texts.items() if "about 65%" in text] == ["fer2013"]
    assert [name for name, text in texts.items() if "license: other" in text] == ["other"]


def test_the_page_of_a_run_is_the_card_with_tables_and_figures(measured) -> None:
    page = report.page(read_outputs(params.flatten(params.load())))
    assert "library_name" not in page
    assert "<blockquote>" in page
    assert page.count("<table>") == 3
    assert page.count("data:image/png") == 3


def test_the_shipped_card_is_of_the_shipped_network() -> None:
    text, network = SHIPPED.with_suffix(".md").read_text(), load().card
    assert f"- weights: `{network.weights}`" in text
    assert f"| images | {network.n:,} |" in text
    assert f"divides its logits by {network.temperature:.3f}," in text
    assert f"| **accuracy**, of seven | {network.accuracy:.3f} (" in text
