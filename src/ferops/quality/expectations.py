"""Define the expectations on the data as plain lists; Great Expectations judges them.

A gate is a few suites, each of expectations on one table: the manifest as it was read, and tables derived from it (see
`frames`). Every expectation has a name, states what is expected in plain terms, and of which split where that matters.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """Return the suites of the prepared data.

    Args:
        manifest: data/prepared/manifest.parquet as it was read, good or bad.
        report: numbers of images that `preprocess` read, kept and dropped.
        bounds: `validate` of params.yaml.
    """
    images = [
        *_schema(PREPARED_TYPES, nullable=("duplicate_of",)),
        _in_set("known splits", "train, validation or test", "split", SPLITS),
        _expect(gxe.ExpectColumnValuesToMatchRegex, "hash format", "16 hex digits", "hash", regex="^[0-9a-f]{16}$"),
        _not_blank(bounds.min_image_std),
    ]
    table = frames.by_split(manifest)
    splits = [
        *(_every_class(split) for split in SPLITS),
        *(_shares_close_to("FER2013", _official_shares(), split, bounds) for split in SPLITS),
        *(_shares_close_to("the other splits", _shares(table, without=split), split, bounds) for split in SPLITS),
        *_sizes(report, bounds.count_tolerance),
        *(_as_reported(split, sum(report.kept.get(split, ()))) for split in SPLITS),
        *(_few_duplicates(split, bounds.max_cross_split_duplicates) for split in SPLITS[1:]),
        *(_brightness(bounds.pixel_mean, split) for split in SPLITS),
        *(_contrast(bounds.pixel_std, split) for split in SPLITS),
    ]
    dropped = report.dropped.blank + report.dropped.duplicates
    counts = [
        _expect(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB,
            "no more images kept than read",
            "read >= kept in every split",
            column_A="read",
            column_B="kept",
            or_equal=True,
        ),
        _expect(
            gxe.ExpectColumnSumToBeBetween,
            "dropped images add up",
            f"read - kept = {dropped:,} dropped",
            "gone",
            min_value=dropped,
            max_value=dropped,
        ),
    ]
    return (
        _suite("prepared-images", manifest, images),
        _suite("prepared-splits", table, splits),
        _suite("prepared-report", frames.image_counts(report), counts),
    )


def augmented(
    added: pd.DataFrame, manifest: pd.DataFrame, report: AugmentedReport, bounds: Validate
) -> tuple[Suite, ...]:
    """Return the suites of the augmented data.

    Args:
        added: data/augmented/manifest.parquet as it was read, good or bad: the added images only.
        manifest: data/prepared/manifest.parquet, which the origins refer to.
        report: the share that `augment` aimed at, and its class counts.
        bounds: `validate` of params.yaml.
    """
    images = [*_schema(AUGMENTED_TYPES), _in_set("training images only", "train", "split", ["train"])]
    origins = [
        _expect(
            gxe.ExpectColumnValuesToNotBeInSet,
            "origin exists",
            "an image of the prepared data",
            "origin_split",
            value_set=[frames.ABSENT],
        ),
        _in_set("no leakage from validation or test", "an origin in train", "origin_split", ["train", frames.ABSENT]),
        _expect(
            gxe.ExpectColumnPairValuesToBeEqual,
            "same label as the origin",
            "the label of its origin",
            column_A="expression",
            column_B="origin_expression",
            ignore_row_if="either_value_is_missing",
        ),
    ]
    # Where nothing had to be added there are no pixels to judge.
    if len(added):
        origins += [_brightness(bounds.pixel_mean), _contrast(bounds.pixel_std)]
    counts = frames.class_counts(added, manifest, report)
    total, raised = int(counts["after"].sum()), counts.loc[counts["added"] > 0, "expression"]
    shares = [_share_reached(name, report.min_share, total, name in set(raised)) for name in NAMES]
    reported = [
        _expect(
            gxe.ExpectColumnPairValuesToBeEqual,
            f"class counts {when} augmentation",
            "(counted, in report.json) equal for every class",
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


def scored(table: pd.DataFrame) -> tuple[Suite, ...]:
    """Return the suite of a table of scored images, a row an image; see `ferops.data.scored_table`."""
    images = [
        *_no_nulls(map(str, table)),
        _expect(gxe.ExpectColumnValuesToBeUnique, "unique digest", "no image twice", "digest"),
        _in_set("known labels", "one of the seven expressions", "label", NAMES),
        *(
            _expect(
                gxe.ExpectColumnValuesToBeBetween, f"probability of {name}", "0 to 1", name, min_value=0, max_value=1
            )
            for name in NAMES
        ),
    ]
    return (_suite("scored-images", table, images),)


def _suite(name: str, table: pd.DataFrame, expectations: Sequence[Expectation]) -> Suite:
    """Keep the expectations on columns that the table has: one that it lacks is named by the check of its columns."""
    subjects = {"rows", *table.columns}
    return Suite(name, table, tuple(each for each in expectations if (each.meta or {})["subject"] in subjects))


def _expect(
    kind: Callable[..., Expectation],
    check: str,
    expected: str,
    column: str | None = None,
    *,
    split: str | tuple[str, ...] | None = None,
    unit: str = "",
    **arguments: Any,
) -> Expectation:
    """Make one expectation with a name and a description, on the rows of a split where one is given."""
    splits = (split,) if isinstance(split, str) else split
    if splits:
        arguments["row_condition"] = Column("split") == splits[0] if len(splits) == 1 else Column("split").is_in(splits)
    if column:
        arguments["column"] = column
    where = " and ".join(splits or ())
    subject = column or arguments.get("column_A") or "rows"
    return kind(
        description=f"{where}: {check}: {expected}" if where else f"{check}: {expected}",
        meta={"name": check, "subject": subject, "split": where or None, "expected": expected, "unit": unit},
        **arguments,
    )


def _in_set(check: str, expected: str, column: str, values: Sequence[Any]) -> Expectation:
    return _expect(gxe.ExpectColumnValuesToBeInSet, check, expected, column, value_set=list(values))


def _mean_between(
    check: str, expected: str, column: str, low: float | None, high: float, split: str | None = None, unit: str = ""
) -> Expectation:
    kind = gxe.ExpectColumnMeanToBeBetween
    return _expect(kind, check, expected, column, split=split, unit=unit, min_value=low, max_value=high)


def _no_nulls(columns: Iterable[str]) -> list[Expectation]:
    return [
        _expect(gxe.ExpectColumnValuesToNotBeNull, f"no nulls in {name}", "a value in every row", name)
        for name in columns
    ]


def _schema(types: Mapping[str, str], nullable: Sequence[str] = ()) -> list[Expectation]:
    """Expect the columns in order, their types, no nulls, unique ids, known labels."""
    return [
        _expect(gxe.ExpectTableColumnsToMatchOrderedList, "columns", ", ".join(types), column_list=list(types)),
        *(_expect(gxe.ExpectColumnTypeToBe, f"type of {name}", kind, name, type_=kind) for name, kind in types.items()),
        *_no_nulls(name for name in types if name not in nullable),
        _expect(gxe.ExpectColumnValuesToBeUnique, "unique id", "no id twice", "id"),
        _in_set("known labels", "a code from 0 to 6", "label", range(len(NAMES))),
    ]


def _not_blank(least: float) -> Expectation:
    expected = f"a standard deviation of at least {least:g} gray levels"
    return _expect(gxe.ExpectColumnValuesToBeBetween, "no blank images", expected, "std", min_value=least)


def _every_class(split: str) -> Expectation:
    kind = gxe.ExpectColumnDistinctValuesToEqualSet
    return _expect(kind, "every class", "all seven expressions", "expression", split=split, value_set=list(NAMES))


def _shares_close_to(what: str, shares: list[float], split: str, bounds: Validate) -> Expectation:
    return _expect(
        gxe.ExpectColumnKLDivergenceToBeLessThan,
        f"class shares close to {what}",
        f"a KL divergence of at most {bounds.max_kl_divergence:g}",
        "expression",
        split=split,
        partition_object={"values": list(NAMES), "weights": shares},
        threshold=bounds.max_kl_divergence,
    )


def _sizes(report: PreparedReport, tolerance: float) -> list[Expectation]:
    """Expect each split's number of images within bounds.

    FER2013 is held to its official sizes (in folders train and validation together; random: 70/30, 10% of the 70 for
    validation), anything else to what was read. Cleaning only removes images, so an expected size is also the upper
    bound; a random split that keeps duplicates together may miss its size either way.
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
    kind = gxe.ExpectTableRowCountToEqual
    return _expect(kind, "number of images as in report.json", f"{kept:,} kept", split=split, value=kept)


def _few_duplicates(split: str, most: float) -> Expectation:
    """Bound the share of images that are duplicates of one in an earlier split."""
    expected = f"at most {most:.2%} of the images"
    return _mean_between("duplicates across splits", expected, "duplicate_earlier", None, most, split, unit="%")


def _brightness(bounds: Interval, split: str | None = None) -> Expectation:
    expected = f"a mean of {bounds.min:g} to {bounds.max:g} gray levels"
    return _mean_between("brightness", expected, "mean", bounds.min, bounds.max, split)


def _contrast(bounds: Interval, split: str | None = None) -> Expectation:
    expected = f"a standard deviation of {bounds.min:g} to {bounds.max:g} gray levels on average"
    return _mean_between("contrast", expected, "std", bounds.min, bounds.max, split)


def _share_reached(name: str, least: float, total: int, raised: bool) -> Expectation:
    """Bound the share of a class in the augmented training set; a class that got copies has no more than the minimum.

    Two images of slack: the class's own count is rounded, and so is the total.
    """
    slack = 2 / max(total, 1)
    expected = f"{least:.2%} after augmentation" if raised else f"at least {least:.2%}"
    return _mean_between(f"share of {name}", expected, name, least - slack, least + slack if raised else 1, unit="%")


def _official_shares() -> list[float]:
    counts = [sum(OFFICIAL_COUNTS[split][code] for split in SPLITS) for code in range(len(NAMES))]
    return [count / sum(counts) for count in counts]


def _shares(table: pd.DataFrame, without: str) -> list[float]:
    """Return the class shares of the other splits together; equal ones where these are empty, which fails elsewhere."""
    counts = table.loc[table["split"] != without, "expression"].value_counts().reindex(list(NAMES), fill_value=0)
    total = float(counts.sum())
    return [float(count) / total if total else 1 / len(NAMES) for count in counts]
