"""How the rows of a table that compares networks came out, for people: the page in Markdown, and its cells."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ferops.orchestration import markdown
from ferops.orchestration.sweeps.comparison_tables import BASE, MINI, ComparisonRequest, Name, Row
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.paper import TABLE_3
from ferops.tracking.runs import describe

TITLES: Final[dict[Name, str]] = {
    "table3": "Table 3 of the paper, measured",
    "ablations": "The paper's choices, one by one",
}
_PRINTED: Final = (
    "The paper's lines: "
    + ", ".join(f"`{system}` {line.work}" for system, line in TABLE_3.items())
    + "; a dash: what it prints is not known here, its full text was not at hand."
)
_SPLITS: Final = (
    "Another split has other validation images: its accuracy is not comparable with those of the other rows."
)
_SEEN: Final = f"`{BASE}` was trained on FER2013's Training, from which other splits take validation images: too high."
_NONE: Final = "-"
_BRIEF: Final = ("", "accuracy (95%)", "parameters", "ms an image", "failed")
_COLUMNS: Final = (
    "accuracy (95%)",
    "without duplicates",
    "binary accuracy",
    "n",
    "parameters",
    "seconds",
    "ms an image",
)


class ComparisonRow(NamedTuple):
    """A row of a table, how its trial ended, and models/training.json where the trial has one."""

    row: Row
    ended: TrialResult
    training: Mapping[str, Any]


def ranked(rows: Iterable[ComparisonRow]) -> list[ComparisonRow]:
    """The best on validation first, those that failed last."""
    return sorted(rows, key=lambda one: one.ended.rank)


def shown(rows: Sequence[ComparisonRow]) -> list[list[str]]:
    """The table's cells, the names of its columns first; a column that no row fills is left out."""
    printed = [_printed(one.row.title) for one in rows]
    reasons = [one.ended.reason for one in rows]
    header = ["", *(["the paper prints"] if any(printed) else []), *_COLUMNS, *(["failed"] if any(reasons) else [])]
    lines = [
        [
            one.row.title,
            *([figures or _NONE] if any(printed) else []),
            *_figures(one),
            *([reason] if any(reasons) else []),
        ]
        for one, figures, reason in zip(rows, printed, reasons, strict=True)
    ]
    return [header, *lines]


def brief(rows: Sequence[ComparisonRow]) -> list[list[str]]:
    """The same, narrow enough for a terminal."""
    header, *lines = shown(rows)
    kept = [number for number, title in enumerate(header) if title in _BRIEF]
    return [[line[number] for number in kept] for line in (header, *lines)]


def page(table: Name, asked: ComparisonRequest, dataset: str, rows: Sequence[ComparisonRow]) -> str:
    """A table with what one has to know of it.

    Args:
        table: which.
        asked: budget, data and base weights of its trainings.
        dataset: `data.dataset` of all.
        rows: in their order.
    """
    header, *lines = shown(rows)
    facts = "\n".join(f"- {fact}" for fact in _facts(table, asked, dataset, rows))
    parts = [f"# {TITLES[table]}", _warning(asked, dataset), markdown.table(header, lines), facts]
    return "\n\n".join(part for part in parts if part)


def where(asked: ComparisonRequest, dataset: str) -> str:
    """What the figures are measured on, in words."""
    return f"a small part of FER2013 ({MINI})" if asked.subset == "mini" else describe.dataset_description(dataset)


def majority(rows: Iterable[ComparisonRow]) -> tuple[str, float]:
    """The most frequent expression of the validation images, and the accuracy of a network that always names it."""
    scores = next(one.ended.scores for one in rows if one.ended.scores)
    counts = {name: measures["support"] for name, measures in scores["per_class"].items()}
    name = max(counts, key=lambda name: counts[name])
    return name, counts[name] / scores["n"]


def _warning(asked: ComparisonRequest, dataset: str) -> str:
    if dataset == "fer2013":
        return ""
    return f"**Measured on {where(asked, dataset)}. None of these figures may be taken for FER2013's.**"


def _figures(one: ComparisonRow) -> list[str]:
    scores, training = one.ended.scores, one.training
    if not scores:
        return [_NONE] * len(_COLUMNS)
    low, high = scores["accuracy_interval"]
    return [
        f"{scores['accuracy']:.1%} ({100 * low:.1f}-{100 * high:.1f})",
        _cell(scores.get("accuracy_deduplicated"), "{:.1%}".format),
        f"{scores['binary_accuracy']:.1%}",
        f"{scores['n']:,}",
        _cell(training.get("parameters", {}).get("total"), "{:,}".format),
        _cell(training.get("seconds"), "{:,.0f}".format),
        _cell(training.get("milliseconds_an_image"), "{:.1f}".format),
    ]


def _cell(value: Any, words: Callable[[Any], str]) -> str:
    return _NONE if value is None else words(value)


def _printed(title: str) -> str:
    if title not in TABLE_3:
        return ""
    _, figures, of = TABLE_3[title]
    return f"{' and '.join(f'{100 * figure:.4g}%' for figure in figures)} ({of})"


def _facts(table: Name, asked: ComparisonRequest, dataset: str, rows: Sequence[ComparisonRow]) -> list[str]:
    facts = [
        "Accuracy is the share of validation images (PublicTest, where the split is official) whose expression is "
        "named right, with its 95% interval. A table that compares is a choice, so the test split stayed closed.",
        "Without duplicates: the same without the images that have a repeat among the training images.",
        _PRINTED if table == "table3" else _SPLITS,
    ]
    if table == "ablations" and asked.weights == BASE and dataset != "sample":
        facts.append(_SEEN)
    if any(one.ended.scores for one in rows):
        name, share = majority(rows)
        facts += [f'Always "{name}": {share:.1%}.']
    return [*facts, *_conditions(asked, [one.training for one in rows if one.training])]


def _conditions(asked: ComparisonRequest, trainings: Sequence[Mapping[str, Any]]) -> list[str]:
    given = {"epoch": asked.epochs, "minute": asked.minutes}
    budget = " and ".join(f"at most {most:g} {unit}{'s' * (most != 1)}" for unit, most in given.items() if most)
    conditions = [
        f"Budget of each training: {budget or 'what its recipe says'}.",
        f"Systems that start from VGG16's weights started from `{asked.weights}`.",
    ]
    if trainings:
        days = sorted({f"{datetime.fromtimestamp(training['ended'], UTC):%Y-%m-%d}" for training in trainings})
        machines = sorted({training["hardware"] for training in trainings})
        conditions += [
            f"Measured {' to '.join(dict.fromkeys([days[0], days[-1]]))} on {'; '.join(machines)}: seconds of the "
            "training, milliseconds of a prediction for one face (median).",
        ]
    return conditions
