"""Plots as PNG: those of `dvc plots show` need a CDN, these are there offline too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ferops.labels import NAMES

BLUE, ORANGE, GRAY = "#2563a8", "#d9730d", "#8a8f98"
OWN_STYLE = style.context("default")
"""Decorator of a plot: Matplotlib's own style, not that of the user's matplotlibrc."""

CURVES = ("loss", "accuracy", "binary_accuracy", "precision", "recall", "f1")


@OWN_STYLE
def curves(path: Path, history: Sequence[dict[str, float]], best_epoch: int) -> None:
    """Plot each metric against the epoch, training and validation (the paper's Figure 6, with both accuracies).

    Of a network that was trained elsewhere there are none: the axes stay empty.
    """
    figure = Figure(figsize=(11, 6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(2, 3).flat, CURVES, strict=True):
        for split, colour in (("train", BLUE), ("val", ORANGE)):
            axes.plot(epochs, [row[f"{split}/{name}"] for row in history], color=colour, marker=".", label=split)
        if history:
            axes.axvline(best_epoch, color=GRAY, linewidth=1, linestyle=":")
        axes.set(title=name.replace("_", " "), xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    if history:
        figure.axes[0].legend(["training", "validation", f"best epoch ({best_epoch})"])
    else:
        figure.suptitle("no epoch was trained: the network is that of model.weights")
    figure.savefig(path, dpi=110)


@OWN_STYLE
def confusion(path: Path, counts: NDArray[np.int64], *, normalised: bool) -> None:
    """Plot the confusion matrix, rows true and columns predicted, as counts or as shares of the row."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    confusion_axes(axes, counts, normalised=normalised)
    axes.set_title(f"{'shares of the true class' if normalised else 'images'}, n = {counts.sum():,}")
    figure.savefig(path, dpi=110)


def confusion_axes(axes: Axes, counts: NDArray[np.int64], *, normalised: bool) -> None:
    """Draw the confusion matrix into the axes of a figure."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.2f}" if normalised else f"{counts[row, column]:,}"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    axes.set_xticks(range(len(NAMES)), NAMES, rotation=45, ha="right")
    axes.set_yticks(range(len(NAMES)), NAMES)
    axes.set(xlabel="predicted", ylabel="true")


@OWN_STYLE
def reliability(path: Path, curve: pd.DataFrame, ece: float) -> None:
    """Plot accuracy against confidence, with the diagonal of a calibrated model and the images in each bin."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GRAY, linestyle=":", label="calibrated")
    upper.plot(curve["confidence"], curve["accuracy"], color=BLUE, marker="o", label=f"model, ECE {ece:.3f}")
    upper.set(ylabel="accuracy", ylim=(0, 1))
    upper.legend()
    lower.bar(curve["confidence"], curve["n"], width=0.04, color=BLUE)
    lower.set(ylabel="images", xlabel="confidence (highest probability)", xlim=(0, 1))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
