"""Plot a table that compares networks: the accuracy of each with its interval."""

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ferops.model.plots import GRAY
from ferops.orchestration.sweeps import comparison_report
from ferops.orchestration.sweeps.comparison_report import Rows
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.paper import TABLE_3

_OURS: Final = "#2a6f97"
_PAPER: Final = "#c1121f"


def draw(path: Path, rows: Rows, title: str) -> None:
    """Write the plot as PNG, the first row on top; rows that failed are named, without a figure.

    Args:
        path: of the PNG.
        rows: of the table; at least one succeeded.
        title: of the plot.
    """
    figure = Figure(figsize=(10, 1.9 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    name, share = comparison_report.majority(rows)
    axes.axvline(share, color=GRAY, linestyle="--", linewidth=1, label=f'always "{name}"')
    measured = [
        (height, result.accuracy, *result.scores["accuracy_interval"])
        for height, result in enumerate(rows.values())
        if result.scores
    ]
    heights, accuracies, low, high = np.array(measured).T
    axes.errorbar(
        accuracies, heights, xerr=[accuracies - low, high - accuracies],
        fmt="o", color=_OURS, capsize=3, label="measured, 95% interval",
    )  # fmt: skip
    printed = [(value, height) for height, row in enumerate(rows) if row in TABLE_3 for value in TABLE_3[row].figures]
    if printed:
        axes.plot(*np.array(printed).T, "D", color=_PAPER, fillstyle="none", label="the paper prints")
    for height, (row, result) in enumerate(rows.items()):
        at, text = (result.accuracy, f"{result.accuracy:.1%}") if result.scores else (0.04, "failed")
        axes.annotate(text, (at, height), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        if row in TABLE_3:
            axes.annotate(
                TABLE_3[row].of, (max(TABLE_3[row].figures), height), (5, -13), textcoords="offset points",
                ha="right", fontsize=8, color=_PAPER,
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("accuracy on validation")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    costs = axes.secondary_yaxis("right")
    costs.set_yticks(range(len(rows)), [_cost(result) for result in rows.values()])
    costs.tick_params(axis="y", length=0, colors=GRAY)
    costs.spines["right"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    axes.set_title(f"{title}\n", loc="left")
    axes.annotate(
        "parameters, time an image", (1, 1), (6, 4), xycoords="axes fraction", textcoords="offset points",
        color=GRAY, fontsize=8,
    )  # fmt: skip
    figure.savefig(path, dpi=110)


def _cost(result: TrialResult) -> str:
    parameters = result.training.get("parameters", {}).get("total")
    milliseconds = result.training.get("milliseconds_an_image")
    parts = [
        "" if parameters is None else f"{parameters / 1e6:.3g} M" if parameters >= 1e6 else f"{parameters / 1e3:.3g} k",
        "" if milliseconds is None else f"{milliseconds:.1f} ms",
    ]
    return ", ".join(filter(None, parts))
