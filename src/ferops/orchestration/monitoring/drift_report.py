"""Monitoring: the latest scored images held against what the network knows, and the report of it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from ferops import params
from ferops.data import scored
from ferops.data.statistics import STATISTICS
from ferops.errors import FeropsError
from ferops.orchestration.monitoring import reference
from ferops.quality import checkpoint, drift, drift_plots
from ferops.quality.checkpoint import GateResult
from ferops.quality.drift import Shift
from ferops.tracking import store
from ferops.tracking.registry import versions
from ferops.tracking.store import MODEL
from ferops.tracking.tags import WEIGHTS_DIGEST

REPORTS: Final = Path("reports/monitoring")
"""The latest report, below the clone's root: each replaces the one before."""

PICTURE: Final = "histograms.png"

_ABOUT: Final = {**STATISTICS, drift.SHARES: "shares of the predicted expressions"}


class TooFew(FeropsError):
    """Too few images were scored to say anything of them."""


class Finding(NamedTuple):
    """What was seen.

    Fields:
        version: of the network.
        images: how many were looked at. runs: of scoring, that they came in.
        known: training images that they were held against; predicted: validation images, for the classes.
        shifts: every column with its index.
        result: what Great Expectations says.
    """

    version: int
    images: int
    runs: int
    known: int
    predicted: int
    shifts: tuple[Shift, ...]
    result: GateResult

    @property
    def verdict(self) -> str:
        """In one line: what drifted, and what else does not hold."""
        where = f"{self.images:,} images scored by {MODEL} version {self.version}"
        if self.result.passed:
            return f"no drift in {where}"
        drifted = [
            f"{each.column} ({each.psi:.2f}, limit {each.limit:.2f})" for each in self.shifts if each.has_drifted
        ]
        others = [f"{check.name} ({check.observed})" for check in self.result.failures if check.name not in _stability]
        parts = [f"drift of {', '.join(drifted)}"] if drifted else []
        return f"{'; '.join([*parts, *others])} in {where}"


_stability: Final = {f"stability of {name}" for name in _ABOUT}


def examine(folder: Path, model: str, settings: params.Monitoring, root: Path = Path()) -> Finding:
    """Hold the latest scored images against what the network knows, and write the report into `REPORTS`.

    Args:
        folder: of the scored images.
        model: `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER`; what other networks have scored is left out.
        settings: `monitoring` of params.yaml.
        root: the clone.

    Raises:
        TooFew: fewer than `monitoring.min_images` were scored.
        UnknownVersion, MissingArtifact: there is no such network, or it has lost its predictions.
        NoReference: the data that it was trained on are not to be had.
        BadScored: a part of the table cannot be read.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    with store.session() as opened:
        version = versions.resolve(opened, model)
        latest = scored.latest(folder, str(version.tags.get(WEIGHTS_DIGEST)), settings.min_images)
        if len(latest) < settings.min_images:
            raise TooFew(
                f"{len(latest)} images in {folder} were scored by {MODEL} version {version.version}; "
                f"monitoring.min_images is {settings.min_images}"
            )
        name = f"{MODEL}/{version.version}"
        predicted, known = reference.predicted(opened, name), reference.statistics(opened, name, root)
    shifts = drift.compare(known, predicted, latest, settings.max_psi)
    suites = drift.suites(latest, list(scored.COLUMNS), shifts)
    result = checkpoint.run("monitoring", suites, root / REPORTS / "docs")
    finding = Finding(
        int(version.version), len(latest), latest["run"].nunique(), len(known), len(predicted), shifts, result
    )
    (root / REPORTS / "report.json").write_text(json.dumps(_as_json(finding), indent=2) + "\n", encoding="utf-8")
    (root / REPORTS / "report.md").write_text("\n".join(markdown(finding)), encoding="utf-8")
    drift_plots.histograms(root / REPORTS / PICTURE, shifts)
    return finding


def markdown(finding: Finding) -> Iterator[str]:
    """Lines of a page: the verdict, every index, and what else does not hold."""
    yield f"# {'No drift' if finding.result.passed else 'Drift'}"
    yield ""
    yield f"{finding.verdict}."
    yield ""
    yield f"Held against {finding.known:,} training images, and the classes against what the same network predicts of "
    yield f"{finding.predicted:,} validation images. Runs of scoring: {finding.runs}."
    yield ""
    yield "| column | | index | limit | |"
    yield "| --- | --- | ---: | ---: | --- |"
    for each in finding.shifts:
        verdict = "**drift**" if each.has_drifted else "ok"
        yield f"| {each.column} | {_ABOUT[each.column]} | {each.psi:.3f} | {each.limit:.3f} | {verdict} |"
    yield ""
    for check in finding.result.failures:
        if check.name not in _stability:
            yield f"- {check.name}: {check.observed}, expected {check.expected}"


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": f"{MODEL}/{finding.version}",
        "passed": finding.result.passed,
        "verdict": finding.verdict,
        "images": {"scored": finding.images, "training": finding.known, "validation": finding.predicted},
        "shifts": drift.as_json(finding.shifts),
        "failed": [
            {"check": check.name, "expected": check.expected, "observed": check.observed}
            for check in finding.result.failures
        ],
    }
