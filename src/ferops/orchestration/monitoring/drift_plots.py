"""The histograms of a drift report: the bins of every column, reference beside latest."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ferops.model.plots import BLUE, ORANGE
from ferops.orchestration.monitoring.drift import LABEL, Shift


def histograms(path: Path, shifts: Sequence[Shift]) -> None:
    """Plot a panel a column: the shares of its bins, reference and latest; the title of one that drifted is orange.

    Args:
        path: a PNG; the folders above it are made.
        shifts: of `drift.compare`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = 2
    rows = -(-len(shifts) // columns)
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, shift in zip(panels, shifts, strict=False):
        places, width = np.arange(len(shift.bins)), 0.4
        for offset, name, color in ((-0.5, "reference", BLUE), (0.5, "latest", ORANGE)):
            axes.bar(places + offset * width, shift.bins[name], width * 0.94, color=color, label=name)
        axes.set_xticks(places, shift.bins.index.str.replace(", ", ",\n"))
        axes.tick_params(axis="x", length=0, labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("predicted expression" if shift.column == LABEL else "gray levels", fontsize=8)
        axes.set_title(
            f"{shift.column}: PSI {shift.psi:.3f}, limit {shift.limit:.3f}: {'drift' if shift.has_drifted else 'ok'}",
            fontsize=10,
            color=ORANGE if shift.has_drifted else "black",
        )
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(shifts) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
