"""Run the suites of a gate through Great Expectations and read its results."""

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import ProgressBarsConfig

from ferops.errors import FeropsError
from ferops.quality import data_docs
from ferops.quality.expectations import CheckResult, Suite

VERSION: str = gx.__version__
"""The release of Great Expectations that judges."""


class GateFailed(FeropsError):
    """The data do not meet the expectations; the message counts the failed checks."""


def run(
    gate: str, suites: Sequence[Suite], docs_folder: Path | None = None, others: Sequence[CheckResult] = ()
) -> list[CheckResult]:
    """Validate every suite, and write the Data Docs where a folder is given.

    Args:
        gate: the gate's name, for titles.
        suites: the expectations; bad data fail their checks, they raise nothing.
        docs_folder: replaced whole by the HTML pages; `index.html` is at its root.
        others: results that were decided elsewhere; the index lists them first.

    Returns:
        The results in the order of the suites and their expectations.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    results = [result for suite in suites for result in _validate(context, gate, suite)]
    if docs_folder:
        shares = [table for suite in suites for table in suite.shares]
        data_docs.write(context, gate, [*others, *results], shares, docs_folder)
    return results


def _validate(context: EphemeralDataContext, gate: str, suite: Suite) -> list[CheckResult]:
    asset = context.data_sources.add_pandas(suite.name).add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe(suite.name)
    expected = context.suites.add(gx.ExpectationSuite(suite.name, expectations=list(suite.expectations)))
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=expected)
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": suite.table}, result_format="SUMMARY", run_id=RunIdentifier(run_name=gate)
    )
    # Great Expectations returns the results in an order of its own. A missing one must not pass for a passed check.
    results: dict[Any, Any] = {result.expectation_config.id: result for result in outcome.results}
    return [_read(results[expectation.id]) for expectation in expected.expectations]


def _read(result: Any) -> CheckResult:
    meta = dict(result.expectation_config.meta)
    return CheckResult(observed=_observed(result, meta.pop("unit")), passed=bool(result.success), **meta)


def _observed(result: Any, unit: str) -> str:
    """Format what was observed in one line; of failed rows their number, the first values and positions."""
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
    # a divergence that is infinite, or of no images, is there as None
    return "as expected" if result.success and "observed_value" not in found else "no value"


def _error(info: Mapping[str, Any]) -> str | None:
    """Return the message of an exception; it comes flat, or once for each metric that could not be computed."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next((str(entry["exception_message"]).strip() for entry in entries if entry["raised_exception"]), None)


def _list(values: Sequence[Any], most: int = 3) -> str:
    shown = ", ".join(_value(value) for value in values[:most])
    return f"{shown}, ..." if len(values) > most else shown


def _value(value: Any, unit: str = "") -> str:
    if isinstance(value, list | tuple):
        items = ", ".join(map(_value, value))
        return items if isinstance(value, list) else f"({items})"
    if not isinstance(value, Real) or isinstance(value, bool):
        return str(value)
    if unit == "%":
        return f"{float(value):.2%}"
    number = float(value)
    return f"{int(number):,}" if number.is_integer() else f"{number:.4g}"
