"""Derive the tables that the expectations are about from the manifests, with pandas alone.

They never fail on bad data: a column that is missing, of a wrong type or holds an unknown value becomes nulls here, and
is named by the expectations on the manifest as it was read.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ferops.labels import NAMES, SPLITS
from ferops.quality.reports import AugmentedReport, PreparedReport

ABSENT = "absent"
"""The split of an origin that is not in the prepared manifest."""


def by_split(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the images of the three known splits, with the columns that are checked split by split.

    Returns:
        split str; expression: name or null; mean, std float64: gray levels; duplicate_earlier float64: 1 where the
        image is a duplicate of one in an earlier split (train, validation, test in this order), else 0, so its mean is
        a share.
    """
    order = _column(manifest, "split").map({split: place for place, split in enumerate(SPLITS)})
    group = _numbers(manifest, "duplicate_of")
    first = order.groupby(group).transform("min")
    frame = pd.DataFrame(
        {
            "split": _column(manifest, "split"),
            "expression": _expressions(manifest),
            "mean": _numbers(manifest, "mean"),
            "std": _numbers(manifest, "std"),
            "duplicate_earlier": (first < order).astype("float64"),
        }
    )
    return frame[order.notna()].reset_index(drop=True)


def image_counts(report: PreparedReport) -> pd.DataFrame:
    """Return one row a split: images read, kept and the difference of the two, by the report."""
    read, kept = ([sum(counts.get(split, ())) for split in SPLITS] for counts in (report.read, report.kept))
    return pd.DataFrame({"split": SPLITS, "read": read, "kept": kept, "gone": np.subtract(read, kept)})


def with_origins(added: pd.DataFrame, prepared: pd.DataFrame) -> pd.DataFrame:
    """Join the added images with the prepared images that they were made from.

    Returns:
        expression, origin_expression: name or null; origin_split: its split, or `ABSENT`; mean, std float64.
    """
    known = pd.DataFrame({"split": _column(prepared, "split"), "expression": _expressions(prepared)})
    known = known.set_index(_numbers(prepared, "id"))
    known = known[known.index.notna() & ~known.index.duplicated()]
    origin = _numbers(added, "origin")
    return pd.DataFrame(
        {
            "expression": _expressions(added),
            "origin_expression": origin.map(known["expression"]),
            "origin_split": origin.map(known["split"]).astype(object).fillna(ABSENT),
            "mean": _numbers(added, "mean"),
            "std": _numbers(added, "std"),
        }
    )


def training_set(added: pd.DataFrame, prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the one-hot labels of the augmented training set: one row an image, one column an expression.

    The mean of a column (float64) is the share of its class.
    """
    shown = pd.concat([_expressions(prepared[_in_train(prepared)]), _expressions(added)], ignore_index=True)
    return pd.DataFrame({name: shown.eq(name).astype("float64") for name in NAMES})


def class_counts(added: pd.DataFrame, prepared: pd.DataFrame, report: AugmentedReport) -> pd.DataFrame:
    """Return one row an expression: training images before and after, counted and as reported; and those added."""
    before, new = count(_expressions(prepared[_in_train(prepared)])), count(_expressions(added))
    counted = pd.DataFrame({"expression": NAMES, "before": before, "added": new, "after": before + new})
    return counted.assign(reported_before=report.before, reported_after=report.after)


def counts_by_split(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row an expression, one column a split: the images counted in a table of `by_split`."""
    return pd.DataFrame(
        {split: count(table.loc[table["split"] == split, "expression"]) for split in SPLITS}, index=list(NAMES)
    )


def shares(of: str, counts: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return the share of each class (row) in its column, from 0 to 1; zeros where a column counts no image.

    On the page a table is a chart: a bar for the first column, a paler one for the second, a mark for the third.
    """
    table = pd.DataFrame(counts).rename_axis(columns=of)
    return table / table.sum().clip(lower=1)


def count(expressions: pd.Series) -> NDArray[np.int64]:
    """Count the images of each class, (7,), in code order."""
    return np.asarray(expressions.value_counts().reindex(list(NAMES), fill_value=0), np.int64)


def _column(manifest: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of the manifest, or nulls where it has none of that name."""
    return manifest[name] if name in manifest else pd.Series(pd.NA, index=manifest.index, dtype=object)


def _numbers(manifest: pd.DataFrame, name: str) -> pd.Series:
    return pd.to_numeric(_column(manifest, name), errors="coerce").astype("float64")


def _expressions(manifest: pd.DataFrame) -> pd.Series:
    return _numbers(manifest, "label").map(dict(enumerate(NAMES))).astype(object)


def _in_train(manifest: pd.DataFrame) -> pd.Series:
    return _column(manifest, "split").eq("train").fillna(False).astype(bool)
