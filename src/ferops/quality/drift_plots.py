"""The picture of drift: the bins of every column, reference beside latest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ferops.quality.drift import SHARES, Shift

BLUE: Final = "#2563a8"
ORANGE: Final = "#d9730d"

_UNITS: Final = {SHARES: "predicted expression"}


def histograms(path: Path, shifts: Sequence[Shift]) -> None:
    """A panel a column: the shares of its bins, reference and latest; the title of one that drifted is orange.

    Args:
        path: a PNG; the folders above it are made.
        shifts: of `drift.compare`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = 2
    rows = -(-len(shifts) // columns)
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, shift in zip(panels, shifts, strict=False):
        places, width = np.arange(len(shift.bins)), 0.4
        axes.bar(places - width / 2, shift.reference, width * 0.94, color=BLUE, label="reference")
        axes.bar(places + width / 2, shift.latest, width * 0.94, color=ORANGE, label="latest")
        axes.set_xticks(
            places,
            [
                name.replace(" to ", " to\n").replace("below ", "below\n").replace(" and", "\nand")
                for name in shift.bins
            ],
        )
        axes.tick_params(axis="x", length=0, labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel(_UNITS.get(shift.column, "grey levels"), fontsize=8)
        verdict = "drift" if shift.has_drifted else "ok"
        axes.set_title(
            f"{shift.column}: index {shift.psi:.3f}, limit {shift.limit:.3f}: {verdict}",
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
