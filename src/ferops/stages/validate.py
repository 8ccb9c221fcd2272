"""Stage `validate`: Great Expectations passes or fails the prepared data, or the augmented data.

The later stages depend on data/gates/ alone, which holds no time: validating again retrains nothing.
"""

import hashlib
import json
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ferops import params
from ferops.errors import FeropsError

GATES = ("prepared", "augmented")
_ROWS = 10_000
"""Rows of a manifest that are text at once."""


class BadManifest(FeropsError):
    """A manifest is missing or is not a parquet file."""


def main(*arguments: str) -> None:
    """Validate one gate; write reports/validate/GATE and, only where it passed, data/gates/GATE.json."""
    if len(arguments) != 1 or arguments[0] not in GATES:
        print(f"validate: expected one argument, {' or '.join(GATES)}; found {list(arguments)}", file=sys.stderr)
        sys.exit(2)
    validate(arguments[0])


def validate(what: str) -> None:
    """Validate the data of a gate, "prepared" or "augmented", and write its reports.

    Raises:
        GateFailed: at least one check failed; each was printed, and the reports are written.
        BadManifest, BadReport: the data cannot be read.
    """
    # Great Expectations takes seconds to import: a wrong argument is reported at once.
    from ferops.quality import expectations, validation
    from ferops.quality.reports import AugmentedReport, PreparedReport

    gate = Path("data/gates", f"{what}.json")
    gate.unlink(missing_ok=True)
    reports = Path("reports/validate", what)
    shutil.rmtree(reports, ignore_errors=True)

    bounds = params.load().validate_
    manifest, report = _read_manifest(what), Path("data", what, "report.json")
    if what == "prepared":
        suites = expectations.prepared(manifest, PreparedReport.load(report), bounds)
    else:
        suites = expectations.augmented(manifest, _read_manifest("prepared"), AugmentedReport.load(report), bounds)

    results = validation.run(what, suites, reports / "docs")
    failures = [check for check in results if not check.passed]
    digest = _digest(manifest)
    record = {
        "gate": what,
        "passed": not failures,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "great_expectations": validation.VERSION,
        "digest": digest,
        "failed": len(failures),
        "checks": [asdict(check) for check in results],
    }
    _write_json(reports / "validation.json", record)
    if failures:
        print(*failures, sep="\n", file=sys.stderr)
        raise validation.GateFailed(
            f"{what}: {len(failures)} of {len(results)} checks failed; see {reports / 'docs/index.html'}"
        )
    _write_json(gate, {"gate": what, "passed": True, "digest": digest})
    print(f"{what}: all {len(results)} checks passed on {len(manifest):,} images")


def _read_manifest(what: str) -> pd.DataFrame:
    path = Path("data", what, "manifest.parquet")
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise BadManifest(f"{path} is missing; `dvc repro` writes it") from None
    except (OSError, ValueError) as error:
        raise BadManifest(f"{path} is not a parquet file: {str(error).splitlines()[0]}") from None


def _digest(manifest: pd.DataFrame) -> str:
    """Compute the SHA-256 of the manifest as CSV: parquet's bytes contain the release that wrote them."""
    digest = hashlib.sha256()
    for start in range(0, max(len(manifest), 1), _ROWS):
        rows = manifest[start : start + _ROWS]
        digest.update(rows.to_csv(index=False, header=not start, lineterminator="\n").encode())
    return digest.hexdigest()


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
