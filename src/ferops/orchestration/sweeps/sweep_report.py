"""The results of a sweep: tables, and Optuna's plots of parallel coordinates and of the parameters' importance."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from ferops.orchestration import markdown
from ferops.orchestration.sweeps.experiments import TrialResult
from ferops.orchestration.sweeps.studies import SweepStudy

_ACCURACY: Final = "accuracy\n(validation)"
_FIGURES: Final = {"accuracy": "{accuracy:.4f}", "95% interval": "{low:.3f}-{high:.3f}", "F1 macro": "{f1_macro:.4f}"}


def table(results: Sequence[TrialResult]) -> pd.DataFrame:
    """Return a row for each trial: values, accuracy on validation with its 95% interval, macro F1, images, run."""
    figures = ("accuracy", "low", "high", "f1_macro")
    return pd.DataFrame(
        {
            **result.trial.values, **{key: result.measured.get(key, math.nan) for key in figures},
            "images": result.measured.get("n", 0),
            "experiment": result.trial.name, "run": result.run_id, "reason": result.reason,
        }
        for result in results
    )  # fmt: skip


def cells(results: Sequence[TrialResult]) -> list[list[str]]:
    """Return the same as text, narrow enough for a terminal; the first row has the names of the columns."""
    keys = list(results[0].trial.values)
    last = [key.rpartition(".")[2] for key in keys]
    names = [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]
    rows = []
    for result in results:
        values = [f"{value:g}" if isinstance(value, float) else str(value) for value in result.trial.values.values()]
        row = dict(zip(names, values, strict=True)) | result.figures(_FIGURES)
        rows.append({**row, "experiment": result.trial.name, "reason": result.reason})
    return markdown.filled(rows, optional=["reason"])


def draw(folder: Path, study: SweepStudy) -> list[Path]:
    """Write sweep.png, parallel coordinates, and importance.png, by fANOVA; return those that there is data for.

    Trials that failed or were pruned are left out.
    """
    import matplotlib.pyplot as plt
    from matplotlib import style
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.trial import TrialState
    from optuna.visualization.matplotlib import plot_parallel_coordinate, plot_param_importances

    trials, search = study.study, study.search
    accuracies = {trial.value for trial in trials.get_trials(states=[TrialState.COMPLETE])}
    if not accuracies:
        return []
    with style.context("default"), warnings.catch_warnings():  # Optuna sets a style for all plots to come
        warnings.simplefilter("ignore")
        plt.switch_backend("agg")
        axes = plot_parallel_coordinate(trials, list(search.space), target_name=_ACCURACY)
        axes.set_title(search.name)
        axes.collections[-1].set(cmap="viridis_r", clip_on=False)  # Optuna's colors begin with white
        titles = [_ACCURACY, *search.space]  # whole; Optuna shortens them
        axes.set_xticks(range(len(titles)), [title.replace(".", ".\n", 1) for title in titles], rotation=0)
        for axis in plt.gcf().axes:
            for label in axis.get_yticklabels(which="both"):
                label.set_bbox({"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.75, "linewidth": 0})
        files = [_save(folder / "sweep.png", width=3 + 1.5 * len(titles))]
        if len(accuracies) > 1:
            evaluator = FanovaImportanceEvaluator(seed=search.seed)
            axes = plot_param_importances(trials, evaluator, target_name=_ACCURACY)
            axes.set_title(f"{search.name}: share of the accuracy's variance (fANOVA)", loc="left", fontsize="medium")
            axes.set(xlabel="", ylabel="")
            axes.legend().remove()
            files.append(_save(folder / "importance.png", width=7))
    return files


def _save(file: Path, width: float) -> Path:
    """Save the current figure, wide enough for its labels, and close it; return the file."""
    import matplotlib.pyplot as plt

    figure = plt.gcf()
    figure.set_size_inches(width, 5)
    figure.savefig(file, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return file
