"""The page of a table that compares networks, in Markdown, and its cells."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

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
_FIGURES: Final = {
    "accuracy (95%)": "{accuracy:.1%} ({low:.1%}-{high:.1%})",
    "without duplicates": "{accuracy_deduplicated:.1%}",
    "binary accuracy": "{binary_accuracy:.1%}",
    "n": "{n:,}",
    "parameters": "{parameters[total]:,}",
    "seconds": "{seconds:,.0f}",
    "ms an image": "{milliseconds_an_image:.1f}",
}
_BRIEF: Final = ("accuracy (95%)", "parameters", "ms an image")


def cells(rows: Rows, *, is_brief: bool = False) -> list[list[str]]:
    """Return the table's cells, the names of its columns first.

    Args:
        rows: of the table.
        is_brief: only the columns that fit into a terminal.
    """
    templates = {name: _FIGURES[name] for name in _BRIEF} if is_brief else _FIGURES
    return markdown.filled(
        {
            "": title,
            "the paper prints": "-" if is_brief else _printed(title),
            **result.figures(templates),
            "failed": result.reason,
        }
        for title, result in rows.items()
    )


def page(table: Name, request: ComparisonRequest, dataset: str, rows: Rows) -> str:
    """Return a table with what one has to know to read it.

    Args:
        table: which.
        request: budget, data and initial weights of its trainings.
        dataset: `data.dataset` of all.
        rows: of the table.
    """
    header, *lines = cells(rows)
    limits = {"epoch": request.epochs, "minute": request.minutes}
    trainings = [result.training for result in rows.values() if result.training]
    days = sorted({f"{datetime.fromtimestamp(training['ended'], UTC):%Y-%m-%d}" for training in trainings})
    return markdown.render(
        "comparison.md.jinja",
        title=TITLES[table],
        name=table,
        dataset=dataset,
        where=where(request, dataset),
        cells=markdown.table(header, lines),
        printed=TABLE_3,
        request=request,
        base=BASE,
        majority=majority(rows) if any(result.scores for result in rows.values()) else None,
        budget=" and ".join(f"at most {most:g} {unit}{'s' * (most != 1)}" for unit, most in limits.items() if most),
        days=dict.fromkeys([*days[:1], *days[-1:]]),
        machines=sorted({training["hardware"] for training in trainings}),
    )


def where(request: ComparisonRequest, dataset: str) -> str:
    """Return a description of the data that the figures are measured on."""
    return f"a small part of FER2013 ({MINI})" if request.subset == "mini" else record.dataset_description(dataset)


def majority(rows: Rows) -> tuple[str, float]:
    """Return the most frequent class of the validation images, and the accuracy of always predicting it."""
    scores = next(result.scores for result in rows.values() if result.scores)
    counts = {name: measures["support"] for name, measures in scores["per_class"].items()}
    name = max(counts, key=lambda name: counts[name])
    return name, counts[name] / scores["n"]


def _printed(title: str) -> str:
    if title not in TABLE_3:
        return "-"
    _, figures, of = TABLE_3[title]
    return f"{' and '.join(f'{100 * figure:.4g}%' for figure in figures)} ({of})"
