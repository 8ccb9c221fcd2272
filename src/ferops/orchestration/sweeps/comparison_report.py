"""What a table that compares networks says: its cells, its page in Markdown, its plot."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from ferops.model.plots import GRAY, OWN_STYLE
from ferops.orchestration import markdown
from ferops.orchestration.sweeps.comparison_tables import BASE, MINI, ComparisonRequest, Name
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.paper import TABLE_3
from ferops.tracking.outputs import dataset_description

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
_OURS: Final = "#2a6f97"
_PAPER: Final = "#c1121f"
_MEASURED: Final = "measured, 95% interval"
_PRINTED: Final = "printed in the paper"
_BRIEF: Final = ("accuracy (95%)", "parameters", "ms an image")


def cells(rows: Rows, *, is_brief: bool = False) -> list[list[str]]:
    """Return the table's cells, the names of its columns first.

    Args:
        rows: of the table.
        is_brief: only the columns that fit into a terminal.
    """
    templates = {name: _FIGURES[name] for name in _BRIEF} if is_brief else _FIGURES
    found = [
        {
            "": title,
            _PRINTED: "" if is_brief else _printed(title),
            **result.figures(templates),
            "failed": result.reason,
        }
        for title, result in rows.items()
    ]
    return markdown.filled(found, optional=[_PRINTED, "failed"])


def page(table: Name, request: ComparisonRequest, dataset: str, rows: Rows) -> str:
    """Return a table with what one has to know to read it.

    Args:
        table: which.
        request: budget, data and initial weights of its trainings.
        dataset: `data.dataset` of all.
        rows: of the table.
    """
    limits = {"epoch": request.epochs, "minute": request.minutes}
    trainings = [result.training for result in rows.values() if result.training]
    days = sorted({f"{datetime.fromtimestamp(training['ended'], UTC):%Y-%m-%d}" for training in trainings})
    return markdown.render(
        "comparison.md.jinja", title=TITLES[table], name=table, request=request, dataset=dataset, base=BASE,
        printed=TABLE_3, where=where(request, dataset), cells=markdown.table(*cells(rows)),
        majority=majority(rows) if any(result.scores for result in rows.values()) else None,
        budget=" and ".join(f"at most {most:g} {unit}{'s' * (most != 1)}" for unit, most in limits.items() if most),
        days=dict.fromkeys([*days[:1], *days[-1:]]),
        machines=sorted({training["hardware"] for training in trainings}),
    )  # fmt: skip


def where(request: ComparisonRequest, dataset: str) -> str:
    """Return a description of the data that the figures are measured on."""
    return f"a small part of FER2013 ({MINI})" if request.subset == "mini" else dataset_description(dataset)


def majority(rows: Rows) -> tuple[str, float]:
    """Return the most frequent class of the validation images, and the accuracy of always predicting it."""
    scores = next(result.scores for result in rows.values() if result.scores)
    counts = {name: measures["support"] for name, measures in scores["per_class"].items()}
    name = max(counts, key=lambda name: counts[name])
    return name, counts[name] / scores["n"]


@OWN_STYLE
def draw(path: Path, rows: Rows, title: str) -> None:
    """Write the plot as PNG, the first row on top; rows that failed are named, without a figure.

    Args:
        path: of the PNG.
        rows: of the table; at least one succeeded.
        title: of the plot.
    """
    figure = Figure(figsize=(10, 1.9 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    name, share = majority(rows)
    axes.axvline(share, color=GRAY, linestyle="--", linewidth=1, label=f'always "{name}"')
    label: dict[str, Any] = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 8}
    for height, (row, result) in enumerate(rows.items()):
        if result.scores:
            errors = np.abs(np.array([result.scores["accuracy_interval"]]).T - result.accuracy)
            axes.errorbar(result.accuracy, height, xerr=errors, fmt="o", color=_OURS, capsize=3, label=_MEASURED)
            axes.annotate(f"{result.accuracy:.1%}", (result.accuracy, height), **label)
        else:
            axes.annotate("failed", (0.04, height), **label)
        if row in TABLE_3:
            figures = [figure.value for figure in TABLE_3[row].figures]
            axes.plot(figures, [height] * len(figures), "D", color=_PAPER, fillstyle="none", label=_PRINTED)
            where = "; ".join(figure.where for figure in TABLE_3[row].figures)
            axes.annotate(
                where, (max(figures), height), **{**label, "xytext": (5, -13), "ha": "right", "color": _PAPER}
            )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy on validation")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left")
    costs = axes.secondary_yaxis("right")
    costs.set_yticks(range(len(rows)), [_cost(result) for result in rows.values()])
    costs.tick_params(axis="y", length=0, colors=GRAY)
    costs.spines["right"].set_visible(False)
    costs.set_ylabel("parameters, time an image", color=GRAY)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))  # every row has its own
    figure.legend(once.values(), once, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def _printed(title: str) -> str:
    if title not in TABLE_3:
        return "-"
    return ", ".join(f"{100 * figure.value:.4g}% ({figure.where})" for figure in TABLE_3[title].figures)


def _cost(result: TrialResult) -> str:
    if not (training := result.training):
        return ""
    return f"{EngFormatter(places=1)(training['parameters']['total'])}, {training['milliseconds_an_image']:.1f} ms"
