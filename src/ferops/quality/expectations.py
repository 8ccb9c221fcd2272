"""What is expected of the data, as lists to be read; Great Expectations judges them.

A gate is a few suites, each of expectations on one table: the manifest as it was read, and tables derived from it (see
`frames`). Every expectation has a name, says in plain words what is expected, and where it matters of which split.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import great_expectations.expectations
import pandas as pd
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column

from ferops.labels import NAMES, OFFICIAL_COUNTS, SPLITS
from ferops.params import Interval, Validate
from ferops.quality import frames
from ferops.quality.reports import AugmentedReport, PreparedReport

# Great Expectations re-exports its classes implicitly, which a strict type checker does not follow.
gxe: Any = great_expectations.expectations

PREPARED_TYPES = {
    "id": "int64",
    "split": "str",
    "label": "int64",
    "mean": "float64",
    "std": "float64",
    "hash": "str",
    "duplicate_of": "Int64",
}
"""Columns of data/prepared/manifest.parquet in order, and their pandas types."""

AUGMENTED_TYPES = {
    "id": "int64",
    "origin": "int64",
    "split": "str",
    "label": "int64",
    "mean": "float64",
    "std": "float64",
}
"""Columns of data/augmented/manifest.parquet in order, and their pandas types."""


@dataclass(frozen=True)
class Suite:
    """Expectations on one table."""

    name: str
    table: pd.DataFrame
    expectations: tuple[Expectation, ...]


def prepared(manifest: pd.DataFrame, report: PreparedReport, bounds: Validate) -> tuple[Suite, ...]:
    """The suites of the prepared data.

    Args:
        manifest: data/prepared/manifest.parquet as it was read, good or bad.
        report: what `preprocess` says it read, kept and dropped.
        bounds: `validate` of params.yaml.
    """
    images = [
        *_schema(PREPARED_TYPES, nullable=("duplicate_of",)),
        _expect(
            gxe.ExpectColumnValuesToBeInSet,
            "known splits",
            "train, validation or test",
            column="split",
            value_set=list(SPLITS),
        ),
        _expect(gxe.ExpectColumnValuesToMatchRegex, "hashes", "16 hex digits", column="hash", regex="^[0-9a-f]{16}$"),
        _expect(
            gxe.ExpectColumnValuesToBeBetween,
            "no blank image",
            f"a standard deviation of at least {bounds.min_image_std:g} grey levels",
            column="std",
            min_value=bounds.min_image_std,
        ),
    ]
    table = frames.by_split(manifest)
    splits = [
        *(_every_class(split) for split in SPLITS),
        *(_shares_near("FER2013's", _official_shares(), split, bounds) for split in SPLITS),
        *(_shares_near("the other splits'", _shares(table, without=split), split, bounds) for split in SPLITS),
        *_sizes(report, bounds.count_tolerance),
        *(_as_reported(split, sum(report.kept.get(split, ()))) for split in SPLITS),
        *(_few_repeats(split, bounds.max_cross_split_duplicates) for split in SPLITS[1:]),
        *(_mean_between("brightness", "mean", bounds.pixel_mean, split) for split in SPLITS),
        *(_mean_between("contrast", "std", bounds.pixel_std, split) for split in SPLITS),
    ]
    dropped = report.dropped.blank + report.dropped.duplicates
    accounts = [
        _expect(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB,
            "no image from nowhere",
            "no split with more images kept than read",
            column_A="read",
            column_B="kept",
            or_equal=True,
        ),
        _expect(
            gxe.ExpectColumnSumToBeBetween,
            "no image lost",
            f"read less kept is the {dropped:,} dropped",
            column="gone",
            min_value=dropped,
            max_value=dropped,
        ),
    ]
    return (
        _suite("prepared-images", manifest, images),
        _suite("prepared-splits", table, splits),
        _suite("prepared-report", frames.ledger(report), accounts),
    )


def augmented(
    added: pd.DataFrame, manifest: pd.DataFrame, report: AugmentedReport, bounds: Validate
) -> tuple[Suite, ...]:
    """The suites of the augmented data.

    Args:
        added: data/augmented/manifest.parquet as it was read, good or bad: the added images only.
        manifest: data/prepared/manifest.parquet, which the origins point into.
        report: what `augment` says it was asked for and did.
        bounds: `validate` of params.yaml.
    """
    images = [
        *_schema(AUGMENTED_TYPES),
        _expect(gxe.ExpectColumnValuesToBeInSet, "training images only", "train", column="split", value_set=["train"]),
    ]
    origins = [
        _expect(
            gxe.ExpectColumnValuesToNotBeInSet,
            "origins exist",
            "an image of the prepared data",
            column="origin_split",
            value_set=[frames.ABSENT],
        ),
        _expect(
            gxe.ExpectColumnValuesToBeInSet,
            "no copy from validation or test",
            "an origin in train",
            column="origin_split",
            value_set=["train", frames.ABSENT],
        ),
        _expect(
            gxe.ExpectColumnPairValuesToBeEqual,
            "labels as their origins'",
            "the label of its origin",
            column_A="expression",
            column_B="origin_expression",
            ignore_row_if="either_value_is_missing",
        ),
    ]
    # Where nothing had to be added there are no pixels to judge.
    if len(added):
        origins += [
            _mean_between("brightness", "mean", bounds.pixel_mean),
            _mean_between("contrast", "std", bounds.pixel_std),
        ]
    counts = frames.class_counts(added, manifest, report)
    total, raised = int(counts["after"].sum()), counts.loc[counts["added"] > 0, "expression"]
    shares = [_share_reached(name, report.min_share, total, name in set(raised)) for name in NAMES]
    reported = [
        _expect(
            gxe.ExpectColumnPairValuesToBeEqual,
            f"counts {when} as reported",
            "(counted, in report.json) equal for each class",
            column_A=when,
            column_B=f"reported_{when}",
        )
        for when in ("before", "after")
    ]
    return (
        _suite("augmented-images", added, images),
        _suite("augmented-origins", frames.with_origins(added, manifest), origins),
        _suite("augmented-shares", frames.training_set(added, manifest), shares),
        _suite("augmented-report", counts, reported),
    )


def _suite(name: str, table: pd.DataFrame, expectations: Sequence[Expectation]) -> Suite:
    """The expectations on columns that the table has: one that it lacks is named by the check of its columns."""
    subjects = {"rows", *table.columns}
    return Suite(name, table, tuple(each for each in expectations if (each.meta or {})["subject"] in subjects))


def _expect(
    kind: Callable[..., Expectation],
    check: str,
    expected: str,
    *,
    split: str | tuple[str, ...] | None = None,
    unit: str = "",
    **arguments: Any,
) -> Expectation:
    """One expectation of Great Expectations, with its name and plain words, where asked for on the rows of a split."""
    splits = (split,) if isinstance(split, str) else split
    if splits:
        arguments["row_condition"] = Column("split") == splits[0] if len(splits) == 1 else Column("split").is_in(splits)
    where = " and ".join(splits or ())
    subject = arguments.get("column") or arguments.get("column_A") or "rows"
    return kind(
        description=f"{where}: {check}: {expected}" if where else f"{check}: {expected}",
        meta={"check": check, "subject": subject, "split": where or None, "expected": expected, "unit": unit},
        **arguments,
    )


def _schema(types: dict[str, str], nullable: Sequence[str] = ()) -> list[Expectation]:
    """Columns in order, their types, no nulls, ids unique, labels known."""
    return [
        _expect(gxe.ExpectTableColumnsToMatchOrderedList, "columns", ", ".join(types), column_list=list(types)),
        *(
            _expect(gxe.ExpectColumnTypeToBe, f"type of {name}", types[name], column=name, type_=types[name])
            for name in types
        ),
        *(
            _expect(gxe.ExpectColumnValuesToNotBeNull, f"no nulls in {name}", "a value in every row", column=name)
            for name in types
            if name not in nullable
        ),
        _expect(gxe.ExpectColumnValuesToBeUnique, "ids unique", "no id twice", column="id"),
        _expect(
            gxe.ExpectColumnValuesToBeInSet,
            "known labels",
            "a code from 0 to 6",
            column="label",
            value_set=list(range(len(NAMES))),
        ),
    ]


def _every_class(split: str) -> Expectation:
    return _expect(
        gxe.ExpectColumnDistinctValuesToEqualSet,
        "every class",
        "all seven expressions",
        split=split,
        column="expression",
        value_set=list(NAMES),
    )


def _shares_near(whose: str, shares: list[float], split: str, bounds: Validate) -> Expectation:
    return _expect(
        gxe.ExpectColumnKLDivergenceToBeLessThan,
        f"class shares near {whose}",
        f"a KL divergence of at most {bounds.max_kl_divergence:g}",
        split=split,
        column="expression",
        partition_object={"values": list(NAMES), "weights": shares},
        threshold=bounds.max_kl_divergence,
    )


def _sizes(report: PreparedReport, tolerance: float) -> list[Expectation]:
    """Bounds of the number of images of each split.

    FER2013 is held to its official sizes (in folders train and validation together; random: 70/30, 10% of the 70 for
    validation), anything else to what was read. Cleaning only takes away, so an expected size is also the upper bound;
    a random cut that keeps duplicates together may miss its size either way.
    """
    official = {split: sum(OFFICIAL_COUNTS[split]) for split in SPLITS}
    total = sum(official.values())
    excess = 0.0
    sizes: dict[tuple[str, ...], float]
    if report.dataset != "fer2013":
        sizes = {(split,): sum(report.read.get(split, ())) for split in SPLITS}
    elif report.split == "folders":
        sizes = {("train", "validation"): official["train"], ("test",): official["validation"] + official["test"]}
    elif report.split == "random":
        sizes = {("train",): 0.63 * total, ("validation",): 0.07 * total, ("test",): 0.3 * total}
        excess = tolerance
    else:
        sizes = {(split,): official[split] for split in SPLITS}
    return [
        _expect(
            gxe.ExpectTableRowCountToBeBetween,
            "number of images",
            f"from {low:,} to {high:,}",
            split=splits,
            min_value=low,
            max_value=high,
        )
        for splits, size in sizes.items()
        for low, high in [(math.floor(size * (1 - tolerance)), math.ceil(size * (1 + excess)))]
    ]


def _as_reported(split: str, kept: int) -> Expectation:
    return _expect(gxe.ExpectTableRowCountToEqual, "images as reported", f"the {kept:,} kept", split=split, value=kept)


def _few_repeats(split: str, most: float) -> Expectation:
    return _expect(
        gxe.ExpectColumnMeanToBeBetween,
        "duplicates of an earlier split",
        f"at most {most:.2%} of the images",
        split=split,
        unit="%",
        column="duplicate_earlier",
        max_value=most,
    )


def _mean_between(check: str, column: str, bounds: Interval, split: str | None = None) -> Expectation:
    return _expect(
        gxe.ExpectColumnMeanToBeBetween,
        check,
        f"{column} of {bounds.min:g} to {bounds.max:g} grey levels on average",
        split=split,
        column=column,
        min_value=bounds.min,
        max_value=bounds.max,
    )


def _share_reached(name: str, least: float, total: int, raised: bool) -> Expectation:
    """The share of a class in the augmented training set; a class that got copies is raised no further than asked.

    Two images of slack: the class's own count is rounded, and so is the total.
    """
    slack = 2 / max(total, 1)
    return _expect(
        gxe.ExpectColumnMeanToBeBetween,
        f"share of {name}",
        f"{least:.2%}, raised to it" if raised else f"at least {least:.2%}",
        split=None,
        unit="%",
        column=name,
        min_value=least - slack,
        max_value=least + slack if raised else 1,
    )


def _official_shares() -> list[float]:
    counts = [sum(OFFICIAL_COUNTS[split][code] for split in SPLITS) for code in range(len(NAMES))]
    return [count / sum(counts) for count in counts]


def _shares(table: pd.DataFrame, without: str) -> list[float]:
    """Class shares of the two other splits together; even shares where they are empty, which other checks report."""
    counts = table.loc[table["split"] != without, "expression"].value_counts().reindex(list(NAMES), fill_value=0)
    total = float(counts.sum())
    return [float(count) / total if total else 1 / len(NAMES) for count in counts]
