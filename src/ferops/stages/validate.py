"""Stage `validate`: Great Expectations passes or fails what was prepared, or what was augmented.

What trains depends on data/gates/ alone, which holds no time: validating again retrains nothing.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ferops import params
from ferops.errors import FeropsError

if TYPE_CHECKING:
    from ferops.quality.checkpoint import CheckResult, GateResult

GATES = ("prepared", "augmented")


class BadManifest(FeropsError):
    """A manifest is missing or is not a parquet file."""


def main(*arguments: str) -> None:
    """Judge one gate; write reports/validate/GATE and, only where it passed, data/gates/GATE.json."""
    if len(arguments) != 1 or arguments[0] not in GATES:
        print(f"validate: expected one argument, {' or '.join(GATES)}; found {list(arguments)}", file=sys.stderr)
        sys.exit(2)
    validate(arguments[0])


def validate(what: str) -> None:
    """Judge the data of `what`: "prepared" or "augmented".

    Raises:
        GateFailed: at least one check failed; they were printed, and the reports are written.
        BadManifest, BadReport: the data cannot be read.
    """
    # Great Expectations takes seconds to import: a wrong argument is told at once.
    from ferops.quality import checkpoint, expectations
    from ferops.quality.reports import AugmentedReport, PreparedReport

    gate = Path("data/gates", f"{what}.json")
    gate.unlink(missing_ok=True)
    reports = Path("reports/validate", what)
    shutil.rmtree(reports, ignore_errors=True)

    bounds = params.load().validate_
    prepared = _read_manifest("prepared")
    manifest, report = prepared, Path("data", what, "report.json")
    if what == "prepared":
        suites = expectations.prepared(manifest, PreparedReport.load(report), bounds)
    else:
        manifest = _read_manifest("augmented")
        suites = expectations.augmented(manifest, prepared, AugmentedReport.load(report), bounds)

    result = checkpoint.run(what, suites, reports / "docs")
    digest = _digest(manifest)
    _write_json(reports / "validation.json", _record(what, result, digest, checkpoint.VERSION))
    if not result.passed:
        print(_table(result.failures), file=sys.stderr)
        raise checkpoint.GateFailed(
            f"{what}: {len(result.failures)} of {len(result.results)} checks failed; see {reports / 'docs/index.html'}"
        )
    _write_json(gate, {"gate": what, "passed": True, "digest": digest})
    print(f"{what}: all {len(result.results)} checks passed on {len(manifest):,} images")


def _read_manifest(what: str) -> pd.DataFrame:
    path = Path("data", what, "manifest.parquet")
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise BadManifest(f"{path} is missing; `dvc repro` writes it") from None
    except (OSError, ValueError) as error:
        raise BadManifest(f"{path} is not a parquet file: {str(error).splitlines()[0]}") from None


def _digest(manifest: pd.DataFrame) -> str:
    """SHA-256 of the manifest's content as CSV: parquet's bytes name the release that wrote them."""
    return hashlib.sha256(manifest.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def _record(what: str, result: "GateResult", digest: str, version: str) -> dict[str, object]:
    return {
        "gate": what,
        "passed": result.passed,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "great_expectations": version,
        "digest": digest,
        "failed": len(result.failures),
        "checks": [asdict(check) for check in result.results],
    }


def _table(failures: Sequence["CheckResult"]) -> str:
    """The failed checks as aligned columns; what was observed comes last, for it may be long."""
    rows = [("failed check", "split", "expected", "observed")]
    rows += [(check.name, check.split or "-", check.expected, check.observed) for check in failures]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    )


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
