"""Compare the latest scored images with what the network was trained on, and write the drift report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ferops import params
from ferops.data.statistics import STATISTICS
from ferops.errors import FeropsError
from ferops.model.plots import BLUE, ORANGE, OWN_STYLE
from ferops.orchestration import markdown
from ferops.orchestration.monitoring import drift, reference, scored_table
from ferops.orchestration.monitoring.drift import LABEL, Shift
from ferops.quality import expectations, validation
from ferops.quality.expectations import CheckResult
from ferops.tracking import store
from ferops.tracking.record import WEIGHTS
from ferops.tracking.registry import versions

REPORTS: Final = Path("reports/monitoring")
"""Folder of the latest report, below the clone's root; each report replaces the one before."""

PICTURE: Final = "histograms.png"


class TooFew(FeropsError):
    """Too few images were scored to compare them."""


@dataclass(frozen=True)
class Finding:
    """The result of a comparison.

    Attributes:
        model: the network, as in `fer-vgg16/3`.
        images: number of scored images. runs: number of scoring runs that they come from.
        training: number of training images, the reference of the pixel statistics.
        validation: number of validation images, the reference of the predicted classes.
        shifts: every column with its index.
        failures: the columns that drifted, then the checks of the table that failed in Great Expectations.
    """

    model: str
    images: int
    runs: int
    training: int
    validation: int
    shifts: tuple[Shift, ...]
    failures: tuple[CheckResult, ...]

    @property
    def verdict(self) -> str:
        """The failures in one line."""
        failed = [f"{check.name} ({check.observed}, expected {check.expected})" for check in self.failures]
        return f"{'; '.join(failed) or 'no drift'} in {self.images:,} images scored by {self.model}"


def examine(folder: Path, model: str, settings: params.Monitoring) -> Finding:
    """Compare the latest scored images with the network's reference, and write the report into `REPORTS`.

    Args:
        folder: of the scored images.
        model: as `versions.resolve` takes it; images that other networks have scored are left out.
        settings: `monitoring` of params.yaml.

    Raises:
        TooFew: fewer than `monitoring.min_images` were scored.
        UnknownVersion, MissingArtifact: there is no such network, or it has lost its predictions.
        NoReference: its training data cannot be found.
        BadScoredTable: a part of the table cannot be read.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    with store.session() as opened:
        version = versions.resolve(opened, model)
        name = f"{version.name}/{version.version}"
        least = settings.min_images
        latest = scored_table.latest(folder, str(version.tags.get(WEIGHTS)), least)
        if len(latest) < least:
            raise TooFew(f"{len(latest)} images in {folder} were scored by {name}; monitoring.min_images is {least}")
        predicted, training = reference.predicted(opened, name), reference.statistics(opened, name)
    shifts = drift.compare(training, predicted, latest, settings.max_psi)
    failures = tuple(result for result in check(latest, shifts, REPORTS / "docs") if not result.passed)
    finding = Finding(
        model=name, images=len(latest), runs=latest["run"].nunique(), training=len(training),
        validation=len(predicted), shifts=shifts, failures=failures,
    )  # fmt: skip
    time = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"time": time, "passed": not failures, "verdict": finding.verdict, **asdict(finding)}
    # two narrow bins may have one name: only one of them is in the file
    text = json.dumps(report, indent=2, default=lambda bins: bins[~bins.index.duplicated()].to_dict("index"))
    (REPORTS / "report.json").write_text(f"{text}\n", encoding="utf-8")
    (REPORTS / "report.md").write_text(f"{page(finding)}\n", encoding="utf-8")
    histograms(REPORTS / PICTURE, shifts)
    return finding


def check(latest: pd.DataFrame, shifts: Sequence[Shift], docs_folder: Path) -> list[CheckResult]:
    """Check the table with Great Expectations, and write its Data Docs, which list every shift too.

    Args:
        latest: the scored images.
        shifts: of `drift.compare`.
        docs_folder: replaced whole by the pages.

    Returns:
        A result for each shift, then those of the table.
    """
    drifts = [
        CheckResult(
            name=f"drift of {shift.column}", subject=shift.column, split=None, passed=not shift.has_drifted,
            expected=f"a PSI of at most {shift.limit:.3f}", observed=f"{shift.psi:.3f}",
        )
        for shift in shifts
    ]  # fmt: skip
    return drifts + validation.run("monitoring", expectations.scored(latest), docs_folder, drifts)


def page(finding: Finding) -> str:
    """Return the report in Markdown: the verdict, and every column with its index."""
    return markdown.render("drift.md.jinja", finding=finding, statistics=STATISTICS)


@OWN_STYLE
def histograms(path: Path, shifts: Sequence[Shift]) -> None:
    """Plot a panel a column: the shares of its bins, reference and latest; the title of one that drifted is orange.

    Args:
        path: a PNG; the folders above it are made.
        shifts: of `drift.compare`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = -(-len(shifts) // 2)
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, shift in zip(panels, shifts, strict=False):
        places, width = np.arange(len(shift.bins)), 0.4
        for offset, name, color in ((-0.5, "reference", BLUE), (0.5, "latest", ORANGE)):
            axes.bar(places + offset * width, shift.bins[name], width * 0.94, color=color, label=name)
        axes.set_xticks(places, shift.bins.index.str.replace(", ", ",\n"))
        axes.tick_params(axis="x", length=0, labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("predicted expression" if shift.column == LABEL else "gray levels", fontsize=8)
        verdict, color = ("drift", ORANGE) if shift.has_drifted else ("ok", "black")
        title = f"{shift.column}: PSI {shift.psi:.3f}, limit {shift.limit:.3f}: {verdict}"
        axes.set_title(title, fontsize=10, color=color)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(shifts) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)
