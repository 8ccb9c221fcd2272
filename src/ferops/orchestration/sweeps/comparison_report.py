"""The page of a table that compares networks, in Markdown, and its cells."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ferops.orchestration import markdown
from ferops.orchestration.sweeps.comparison_tables import BASE, MINI, ComparisonRequest, Name
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.paper import TABLE_3
from ferops.tracking import record

Rows = Mapping[str, TrialResult]
"""Title of a row -> the result of its trial, the best on validation first."""

TITLES: Final[dict[Name, str]] = {
    "table3": "Table 3 of the paper, measured",
    "ablations": "The paper's choices, one by one",
}
_PRINTED: Final = (
    "The paper's lines: "
    + ", ".join(f"`{system}` {line.work}" for system, line in TABLE_3.items())
    + "; a dash: what it prints is not known here, its full text was not at hand."
)
_NONE: Final = "-"
_BRIEF: Final = ("", "accuracy (95%)", "parameters", "ms an image", "failed")


def cells(rows: Rows) -> list[list[str]]:
    """Return the table's cells, the names of its columns first; columns of the paper and of failures only if filled."""
    lines = [
        {"": title, "the paper prints": _printed(title), **_figures(result), "failed": result.reason}
        for title, result in rows.items()
    ]
    empty = {"the paper prints": {_NONE}, "failed": {""}}
    columns = [name for name in lines[0] if {line[name] for line in lines} != empty.get(name)]
    return [columns, *([line[name] for name in columns] for line in lines)]


def brief(rows: Rows) -> list[list[str]]:
    """Return the columns that fit into a terminal."""
    header, *lines = cells(rows)
    columns = [number for number, name in enumerate(header) if name in _BRIEF]
    return [[line[number] for number in columns] for line in (header, *lines)]


def page(table: Name, request: ComparisonRequest, dataset: str, rows: Rows) -> str:
    """Return a table with what one has to know to read it.

    Args:
        table: which.
        request: budget, data and initial weights of its trainings.
        dataset: `data.dataset` of all.
        rows: of the table.
    """
    warning = f"**Measured on {where(request, dataset)}. None of these figures may be taken for FER2013's.**"
    header, *lines = cells(rows)
    facts = "\n".join(f"- {fact}" for fact in _facts(table, request, dataset, rows))
    parts = ["" if dataset == "fer2013" else warning, markdown.table(header, lines), facts]
    return "\n\n".join(filter(None, [f"# {TITLES[table]}", *parts]))


def where(request: ComparisonRequest, dataset: str) -> str:
    """Return a description of the data that the figures are measured on."""
    return f"a small part of FER2013 ({MINI})" if request.subset == "mini" else record.dataset_description(dataset)


def majority(rows: Rows) -> tuple[str, float]:
    """Return the most frequent class of the validation images, and the accuracy of always predicting it."""
    scores = next(result.scores for result in rows.values() if result.scores)
    counts = {name: measures["support"] for name, measures in scores["per_class"].items()}
    name = max(counts, key=lambda name: counts[name])
    return name, counts[name] / scores["n"]


def _figures(result: TrialResult) -> dict[str, str]:
    scores, training = result.scores or {}, result.training
    low, high = scores.get("accuracy_interval", (0, 0))
    return {
        "accuracy (95%)": _cell(f"{{:.1%}} ({100 * low:.1f}-{100 * high:.1f})", scores.get("accuracy")),
        "without duplicates": _cell("{:.1%}", scores.get("accuracy_deduplicated")),
        "binary accuracy": _cell("{:.1%}", scores.get("binary_accuracy")),
        "n": _cell("{:,}", scores.get("n")),
        "parameters": _cell("{:,}", training.get("parameters", {}).get("total")),
        "seconds": _cell("{:,.0f}", training.get("seconds")),
        "ms an image": _cell("{:.1f}", training.get("milliseconds_an_image")),
    }


def _cell(template: str, value: Any) -> str:
    return _NONE if value is None else template.format(value)


def _printed(title: str) -> str:
    if title not in TABLE_3:
        return _NONE
    _, figures, of = TABLE_3[title]
    return f"{' and '.join(f'{100 * figure:.4g}%' for figure in figures)} ({of})"


def _facts(table: Name, request: ComparisonRequest, dataset: str, rows: Rows) -> Iterable[str]:
    yield (
        "Accuracy is the share of validation images (PublicTest, where the split is official) whose expression is "
        "named right, with its 95% interval. A table that compares is a choice, so the test split stayed closed."
    )
    yield "Without duplicates: the same without the images that have a duplicate among the training images."
    if table == "table3":
        yield _PRINTED
    else:
        yield "Another split has other validation images: its accuracy is not comparable with those of the other rows."
    if table == "ablations" and request.weights == BASE and dataset != "sample":
        yield f"`{BASE}` was trained on FER2013's Training, from which other splits take validation images: too high."
    if any(result.scores for result in rows.values()):
        name, share = majority(rows)
        yield f'Always "{name}": {share:.1%}.'
    limits = {"epoch": request.epochs, "minute": request.minutes}
    budget = " and ".join(f"at most {most:g} {unit}{'s' * (most != 1)}" for unit, most in limits.items() if most)
    yield f"Budget of each training: {budget or 'what its recipe says'}."
    yield f"Systems that start from VGG16's weights started from `{request.weights}`."
    if trainings := [result.training for result in rows.values() if result.training]:
        days = sorted({f"{datetime.fromtimestamp(training['ended'], UTC):%Y-%m-%d}" for training in trainings})
        machines = sorted({training["hardware"] for training in trainings})
        yield (
            f"Measured {' to '.join(dict.fromkeys([days[0], days[-1]]))} on {'; '.join(machines)}: seconds of the "
            "training, milliseconds of a prediction for one face (median)."
        )
