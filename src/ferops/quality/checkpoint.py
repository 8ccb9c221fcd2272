"""Runs a gate's suites through Great Expectations and reads the verdict."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig

from ferops.errors import FeropsError
from ferops.quality import data_docs
from ferops.quality.expectations import Suite

VERSION: str = gx.__version__
"""The release of Great Expectations that judges."""


class GateFailed(FeropsError):
    """The data do not meet what is expected of them; the message counts the failed checks."""


@dataclass(frozen=True)
class CheckResult:
    """One expectation, judged: what was looked at, what was expected and what was there."""

    name: str
    subject: str
    split: str | None
    passed: bool
    expected: str
    observed: str


@dataclass(frozen=True)
class GateResult:
    """The verdict on a gate, and its checks in the order of the suites."""

    passed: bool
    results: tuple[CheckResult, ...]

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if not result.passed)


def run(gate: str, suites: Sequence[Suite], docs_folder: Path | None = None) -> GateResult:
    """Judge every suite, and write the Data Docs where a folder is given.

    Args:
        gate: the gate's name, for titles.
        suites: what is expected; bad data fail their checks, they raise nothing.
        docs_folder: replaced whole by the HTML pages; `index.html` is at its root.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    results = tuple(result for suite in suites for result in _judge(context, gate, suite))
    if docs_folder:
        _document(context, gate, suites, results, docs_folder)
    complete = len(results) == sum(len(suite.expectations) for suite in suites)
    return GateResult(complete and all(result.passed for result in results), results)


def _judge(context: EphemeralDataContext, gate: str, suite: Suite) -> list[CheckResult]:
    batch = (
        context.data_sources.add_pandas(suite.name)
        .add_dataframe_asset(suite.name)
        .add_batch_definition_whole_dataframe(suite.name)
    )
    expected = context.suites.add(gx.ExpectationSuite(suite.name, expectations=list(suite.expectations)))
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=suite.name, data=batch, suite=expected)
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(name=suite.name, validation_definitions=[definition], result_format={"result_format": "SUMMARY"})
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": suite.table}, run_id=RunIdentifier(run_name=gate))
    (validation,) = outcome.run_results.values()
    # Great Expectations returns the results in an order of its own.
    order = [expectation.meta for expectation in suite.expectations]
    return [_read(result) for result in sorted(validation.results, key=lambda result: order.index(_meta(result)))]


def _document(
    context: EphemeralDataContext, gate: str, suites: Sequence[Suite], results: Sequence[CheckResult], folder: Path
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch) / "docs"
        context.add_data_docs_site(
            site_name=gate,
            site_config={
                "class_name": "SiteBuilder",
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
        # Unnamed, the context's own site would be built too and left behind in a temporary folder.
        context.build_data_docs(site_names=[gate])
        data_docs.finish(site, gate, [suite.name for suite in suites], [asdict(result) for result in results])
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(site, folder)


def _meta(result: ExpectationValidationResult) -> dict[str, Any]:
    return dict((result.expectation_config and result.expectation_config.meta) or {})


def _read(result: ExpectationValidationResult) -> CheckResult:
    meta = _meta(result)
    return CheckResult(
        name=meta["check"],
        subject=meta["subject"],
        split=meta["split"],
        passed=bool(result.success),
        expected=meta["expected"],
        observed=_observed(result, meta["unit"]),
    )


def _observed(result: ExpectationValidationResult, unit: str) -> str:
    """What was found, in one line; for rules on rows how many broke it, with the first values and rows."""
    error = _error(result.exception_info or {})
    if error:
        return f"could not be checked: {error}"
    found = result.result
    if found.get("partial_missing_list"):
        return f"without {_list(found['partial_missing_list'])}"
    if found.get("unexpected_count"):
        rows = found.get("partial_unexpected_index_list") or ()
        where = f" (row {_list(rows)})" if rows else ""
        values = found.get("partial_unexpected_list") or ()
        return f"{found['unexpected_count']:,} of {found.get('element_count', 0):,} rows: {_list(values)}{where}"
    if found.get("observed_value") is not None:
        return _value(found["observed_value"], unit)
    return "as expected" if result.success else "no value"


def _error(info: Mapping[str, Any]) -> str | None:
    """The message of an exception; it comes flat, or once for each metric that could not be computed."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next((str(entry["exception_message"]).strip() for entry in entries if entry["raised_exception"]), None)


def _list(values: Sequence[Any], most: int = 3) -> str:
    shown = ", ".join(_value(value) for value in values[:most])
    return f"{shown}, ..." if len(values) > most else shown


def _value(value: Any, unit: str = "") -> str:
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, tuple):
        return f"({', '.join(_value(item) for item in value)})"
    if not isinstance(value, Real) or isinstance(value, bool):
        return str(value)
    if unit == "%":
        return f"{float(value):.2%}"
    number = float(value)
    return f"{int(number):,}" if number.is_integer() else f"{number:.4g}"
