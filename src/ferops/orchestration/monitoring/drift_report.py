"""Compare the latest scored images with what the network was trained on, and write the drift report."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd

from ferops import params
from ferops.data import scored_table
from ferops.data.statistics import STATISTICS
from ferops.errors import FeropsError
from ferops.orchestration import markdown
from ferops.orchestration.monitoring import drift, drift_plots, reference
from ferops.orchestration.monitoring.drift import Shift
from ferops.quality import expectations, validation
from ferops.quality.validation import CheckResult
from ferops.tracking import store, versions
from ferops.tracking.record import WEIGHTS

REPORTS: Final = Path("reports/monitoring")
"""Folder of the latest report, below the clone's root; each report replaces the one before."""

PICTURE: Final = "histograms.png"


class TooFew(FeropsError):
    """Too few images were scored to compare them."""


class Finding(NamedTuple):
    """The result of a comparison.

    Fields:
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


def examine(folder: Path, model: str, settings: params.Monitoring, root: Path = Path()) -> Finding:
    """Compare the latest scored images with the network's reference, and write the report into `REPORTS`.

    Args:
        folder: of the scored images.
        model: as `versions.resolve` takes it; images that other networks have scored are left out.
        settings: `monitoring` of params.yaml.
        root: the clone.

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
        latest = scored_table.latest(folder, str(version.tags.get(WEIGHTS)), settings.min_images)
        if len(latest) < settings.min_images:
            raise TooFew(
                f"{len(latest)} images in {folder} were scored by {name}; "
                f"monitoring.min_images is {settings.min_images}"
            )
        predicted, training = reference.predicted(opened, name), reference.statistics(opened, name, root)
    shifts = drift.compare(training, predicted, latest, settings.max_psi)
    checks = check(latest, shifts, root / REPORTS / "docs")
    finding = Finding(
        model=name,
        images=len(latest),
        runs=latest["run"].nunique(),
        training=len(training),
        validation=len(predicted),
        shifts=shifts,
        failures=tuple(result for result in checks if not result.passed),
    )
    (root / REPORTS / "report.json").write_text(json.dumps(_as_json(finding), indent=2) + "\n", encoding="utf-8")
    (root / REPORTS / "report.md").write_text(page(finding), encoding="utf-8")
    drift_plots.histograms(root / REPORTS / PICTURE, shifts)
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
            name=f"drift of {shift.column}",
            subject=shift.column,
            split=None,
            passed=not shift.has_drifted,
            expected=f"a PSI of at most {shift.limit:.3f}",
            observed=f"{shift.psi:.3f}",
        )
        for shift in shifts
    ]
    return drifts + validation.run("monitoring", expectations.scored(latest), docs_folder, drifts)


def page(finding: Finding) -> str:
    """Return the report in Markdown: the verdict, and every column with its index."""
    return markdown.render("drift.md.jinja", finding=finding, statistics=STATISTICS)


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": finding.model,
        "passed": not finding.failures,
        "verdict": finding.verdict,
        "images": {"scored": finding.images, "training": finding.training, "validation": finding.validation},
        "shifts": [
            {
                "column": shift.column,
                "psi": round(shift.psi, 4),
                "limit": round(shift.limit, 4),
                "drifted": shift.has_drifted,
                "bins": dict(zip(shift.bins.index, shift.bins.round(4).to_dict("records"), strict=True)),
            }
            for shift in finding.shifts
        ],
        "failed": [asdict(check) for check in finding.failures],
    }
