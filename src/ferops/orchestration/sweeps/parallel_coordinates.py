"""Plot a sweep in parallel coordinates: a line for each trial, an axis for each parameter and for the accuracy."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ferops.model.plots import GRAY
from ferops.orchestration.sweeps.experiments import TrialResult

_TICKS: Final = 5
_LOG: Final = 20.0  # an axis whose numbers span this factor or more is logarithmic


class Axis(NamedTuple):
    """A vertical axis: its title, the height of each trial on it in [0, 1], ticks as height and text."""

    title: str
    heights: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def axis(title: str, values: Sequence[Any]) -> Axis:
    """Place values on an axis: numbers linearly, or logarithmically where they span decades, others by their names."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _of_numbers(title, [float(value) for value in values])
    names = sorted({str(value) for value in values})
    places = {name: _share(number, 0, len(names) - 1) for number, name in enumerate(names)}
    return Axis(title, tuple(places[str(value)] for value in values), tuple((places[name], name) for name in names))


def draw(path: Path, results: Sequence[TrialResult], name: str) -> None:
    """Write the plot of a sweep as PNG; trials that failed have no accuracy, and no line.

    Args:
        path: of the PNG.
        results: of all trials; at least one succeeded.
        name: of the sweep.
    """
    done = sorted((result for result in results if result.scores), key=lambda result: result.accuracy)
    accuracies = [result.accuracy for result in done]
    values = {key.replace(".", ".\n", 1): [one.trial.values[key] for one in done] for key in done[0].trial.values}
    axes_of = [axis(title, column) for title, column in {**values, "accuracy\n(validation)": accuracies}.items()]

    figure = Figure(figsize=(2.6 + 1.9 * len(axes_of), 5), layout="constrained")
    axes, colors = figure.subplots(), matplotlib.colormaps["viridis"]
    for number, accuracy in enumerate(accuracies):  # the best is drawn last, over the others
        width = 2.8 if accuracy == accuracies[-1] else 1.4
        _line(axes, [each.heights[number] for each in axes_of], colors(0.9 * axes_of[-1].heights[number]), width)
    for number, each in enumerate(axes_of):
        axes.axvline(number, color=GRAY, linewidth=1)
        for height, text in each.ticks:
            axes.annotate(
                text, (number, height), (5, 0), textcoords="offset points", va="center", fontsize=9,
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
            )  # fmt: skip
    axes.set_xlim(-0.1, len(axes_of) - 1 + 0.35)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([])
    axes.set_xticks(range(len(axes_of)), [each.title for each in axes_of])
    axes.tick_params(axis="x", length=0)
    axes.spines[:].set_visible(False)
    failed = len(results) - len(done)
    axes.set_title(f"{name}: {len(done)} of {len(results)} trials" + (f"; {failed} failed" if failed else ""))
    figure.savefig(path, dpi=110)


def _line(axes: Axes, heights: Sequence[float], color: Any, width: float) -> None:
    """Draw a line from axis to axis, level at each, so that lines that meet on an axis can be told apart."""
    t = np.linspace(0, 1, 40)
    bend = t * t * (3 - 2 * t)
    for number, (left, right) in enumerate(itertools.pairwise(heights)):
        axes.plot(number + t, left + (right - left) * bend, color=color, linewidth=width, alpha=0.85)


def _of_numbers(title: str, numbers: Sequence[float]) -> Axis:
    different = sorted(set(numbers))
    low, high = different[0], different[-1]
    is_log = low > 0 and high / low >= _LOG
    scale, spread = (math.log10, np.geomspace) if is_log else (float, np.linspace)
    shown, digits = (different, 4) if len(different) <= _TICKS else (spread(low, high, _TICKS).tolist(), 3)
    ticks = tuple((_share(scale(number), scale(low), scale(high)), f"{number:.{digits}g}") for number in shown)
    heights = tuple(_share(scale(number), scale(low), scale(high)) for number in numbers)
    return Axis(f"{title} (log)" if is_log else title, heights, ticks)


def _share(number: float, low: float, high: float) -> float:
    """Return the relative position of a number between two; the middle where they are equal."""
    return (number - low) / (high - low) if high > low else 0.5
