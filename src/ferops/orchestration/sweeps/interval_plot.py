"""Plot a table that compares networks: the accuracy of each with its interval."""

from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ferops.orchestration.sweeps import comparison_report
from ferops.orchestration.sweeps.comparison_report import Rows
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.paper import TABLE_3

_OURS: Final = "#2a6f97"
_PAPER: Final = "#c1121f"
_GRAY: Final = "#8a8f98"


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
    axes.axvline(share, color=_GRAY, linestyle="--", linewidth=1, label=f'always "{name}"')
    for height, (system, result) in enumerate(rows.items()):
        if result.scores:
            _measured(axes, height, result)
        else:
            axes.annotate("failed", (share, height), (6, 0), textcoords="offset points", va="center", color=_GRAY)
        _printed(axes, height, system)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("accuracy on validation")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    costs = axes.secondary_yaxis("right")
    costs.set_yticks(range(len(rows)), [_cost(result) for result in rows.values()])
    costs.tick_params(axis="y", length=0, colors=_GRAY)
    costs.spines["right"].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    unique: dict[str, Any] = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=len(unique), frameon=False)
    axes.set_title(f"{title}\n", loc="left")
    axes.annotate(
        "parameters, time an image", (1, 1), (6, 4), xycoords="axes fraction", textcoords="offset points",
        color=_GRAY, fontsize=8,
    )  # fmt: skip
    figure.savefig(path, dpi=110)


def _measured(axes: Axes, height: int, result: TrialResult) -> None:
    low, high = (result.scores or {})["accuracy_interval"]
    accuracy = result.accuracy
    axes.errorbar(
        accuracy, height, xerr=[[accuracy - low], [high - accuracy]],
        fmt="o", color=_OURS, capsize=3, label="measured, 95% interval",
    )  # fmt: skip
    axes.annotate(f"{accuracy:.1%}", (accuracy, height), (0, 6), textcoords="offset points", ha="center", fontsize=8)


def _printed(axes: Axes, height: int, system: str) -> None:
    """Mark the figures that the paper prints, and say what they are of."""
    if system not in TABLE_3:
        return
    _, figures, of = TABLE_3[system]
    for figure in figures:
        axes.plot(figure, height, "D", color=_PAPER, fillstyle="none", label="the paper prints")
    axes.annotate(
        of, (max(figures), height), (5, -13), textcoords="offset points", ha="right", fontsize=8, color=_PAPER
    )  # fmt: skip


def _cost(result: TrialResult) -> str:
    parameters = result.training.get("parameters", {}).get("total")
    milliseconds = result.training.get("milliseconds_an_image")
    parts = [
        "" if parameters is None else f"{parameters / 1e6:.3g} M" if parameters >= 1e6 else f"{parameters / 1e3:.3g} k",
        "" if milliseconds is None else f"{milliseconds:.1f} ms",
    ]
    return ", ".join(filter(None, parts))
