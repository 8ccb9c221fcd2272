"""Define the expectations on the data as plain lists; Great Expectations judges them.

A gate is a few suites, each of expectations on one table: the manifest as it was read, and tables derived from it (see
`frames`). Every expectation has a name, states what is expected in plain terms, and of which split where that matters.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, NamedTuple

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

_TYPES = {"id": "int64", "split": "str", "label": "int64", "mean": "float64", "std": "float64"}

PREPARED_TYPES = _TYPES | {"hash": "str", "duplicate_of": "Int64"}
"""Columns of data/prepared/manifest.parquet in order, and their pandas types."""

AUGMENTED_TYPES = {"id": "int64", "origin": "int64"} | _TYPES
"""Columns of data/augmented/manifest.parquet in order, and their pandas types."""


class Suite(NamedTuple):
    """Expectations on one table, and the class shares that they are about, drawn on the page (see `frames.shares`)."""

    name: str
    table: pd.DataFrame
    expectations: tuple[Expectation, ...]
    shares: Sequence[pd.DataFrame] = ()


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: on which column and split, what was expected, what was observed."""

    name: str
    subject: str
    split: str | None
    passed: bool
    expected: str
    observed: str

    def __str__(self) -> str:
        """Return the result in one line."""
        where = f" ({self.split})" if self.split else ""
        return f"{self.name}{where}: expected {self.expected}; observed {self.observed}"


def prepared(manifest: pd.DataFrame, report: PreparedReport, bounds: Validate) -> tuple[Suite, ...]:
    """Return the suites of the prepared data.

    Args:
        manifest: data/prepared/manifest.parquet as it was read, good or bad.
        report: numbers of images that `preprocess` read, kept and dropped.
        bounds: `validate` of params.yaml.
    """
    blank = f"a standard deviation of at least {bounds.min_image_std:g} gray levels"
    images = [
        *_schema(PREPARED_TYPES, nullable=("duplicate_of",)),
        _in_set("known splits", "train, validation or test", "split", SPLITS),
        _expect(gxe.ExpectColumnValuesToMatchRegex, "hash format", "16 hex digits", "hash", regex="^[0-9a-f]{16}$"),
        _between("no blank images", blank, "std", bounds.min_image_std),
    ]
    table, counts = frames.by_split(manifest), frames.image_counts(report)
    classes, near = frames.counts_by_split(table), bounds.max_kl_divergence
    others = {split: classes.drop(columns=split).sum(axis="columns") for split in SPLITS}
    official = pd.DataFrame(OFFICIAL_COUNTS, index=list(NAMES)).sum(axis="columns")
    near_fer2013 = None if report.dataset == "other" else near
    most = bounds.max_cross_split_duplicates
    few = f"at most {most:.2%} of the images"
    splits = [
        *(_every_class(split) for split in SPLITS),
        *(_shares_close_to("FER2013", official, split, near_fer2013) for split in SPLITS),
        *(_shares_close_to("the other splits", others[split], split, near) for split in SPLITS),
        *_sizes(report, bounds.count_tolerance),
        *(_as_reported(split, kept) for split, kept in zip(SPLITS, counts["kept"].tolist(), strict=True)),
        *(_mean("duplicates across splits", few, "duplicate_earlier", None, most, split, "%") for split in SPLITS[1:]),
        *(_brightness(bounds.pixel_mean, split) for split in SPLITS),
        *(_contrast(bounds.pixel_std, split) for split in SPLITS),
    ]
    greater, total = gxe.ExpectColumnPairValuesAToBeGreaterThanB, gxe.ExpectColumnSumToBeBetween
    columns, gone = {"column_A": "read", "column_B": "kept"}, sum(report.dropped.model_dump().values())
    added_up = f"read - kept = {gone:,} dropped"
    reported = [
        _expect(greater, "no more images kept than read", "read >= kept in every split", **columns, or_equal=True),
        _expect(total, "dropped images add up", added_up, "gone", min_value=gone, max_value=gone),
    ]
    bars = [
        frames.shares(split, {"this split": classes[split], "others": others[split], "FER2013": official})
        for split in SPLITS
    ]
    return (
        _suite("prepared-images", manifest, images),
        _suite("prepared-splits", table, splits, bars),
        _suite("prepared-report", counts, reported),
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
    known, absent = "an image of the prepared data", [frames.ABSENT]
    origins = [
        _expect(gxe.ExpectColumnValuesToNotBeInSet, "origin exists", known, "origin_split", value_set=absent),
        _in_set("no leakage from validation or test", "an origin in train", "origin_split", ["train", *absent]),
        _equal("same label as the origin", "the label of its origin", "expression", "origin_expression"),
    ]
    # Where nothing had to be added there are no pixels to judge.
    if len(added):
        origins += [_brightness(bounds.pixel_mean), _contrast(bounds.pixel_std)]
    counts = frames.class_counts(added, manifest, report)
    total, raised = int(counts["after"].sum()), counts.loc[counts["added"] > 0, "expression"]
    shares = [_share_reached(name, report.min_share, total, name in set(raised)) for name in NAMES]
    same = "(counted, in report.json) equal for every class"
    reported = [
        _equal(f"class counts {when} augmentation", same, when, f"reported_{when}") for when in ("before", "after")
    ]
    images_of = counts.set_index("expression")
    bars = frames.shares("train", {when: images_of[when] for when in ("after", "before")})
    return (
        _suite("augmented-images", added, images),
        _suite("augmented-origins", frames.with_origins(added, manifest), origins),
        _suite("augmented-shares", frames.training_set(added, manifest), shares, [bars.assign(least=report.min_share)]),
        _suite("augmented-report", counts, reported),
    )


def scored(table: pd.DataFrame) -> tuple[Suite, ...]:
    """Return the suite of a table of `orchestration.monitoring.scored_table`, a row a scored image."""
    images = [
        *_no_nulls(map(str, table)),
        _expect(gxe.ExpectColumnValuesToBeUnique, "unique digest", "no image twice", "digest"),
        _in_set("known labels", "one of the seven expressions", "label", NAMES),
        *(_between(f"probability of {name}", "0 to 1", name, 0, 1) for name in NAMES),
    ]
    return (_suite("scored-images", table, images),)


def _suite(
    name: str, table: pd.DataFrame, expectations: Sequence[Expectation], shares: Sequence[pd.DataFrame] = ()
) -> Suite:
    """Keep the expectations on columns that the table has: one that it lacks is named by the check of its columns."""
    subjects = {"rows", *table.columns}
    kept = tuple(each for each in expectations if (each.meta or {})["subject"] in subjects)
    return Suite(name, table, kept, shares)


def _expect(
    kind: Callable[..., Expectation], check: str, expected: str, column: str = "", split: str = "", unit: str = "",
    **arguments: Any,
) -> Expectation:  # fmt: skip
    """Make one expectation with a name and a description, on the rows of a split, or of two joined by `and`."""
    if split:
        names = split.split(" and ")
        arguments["row_condition"] = Column("split") == split if len(names) == 1 else Column("split").is_in(names)
    if column:
        arguments["column"] = column
    subject = column or arguments.get("column_A", "rows")
    return kind(
        description=f"{split}: {check}: {expected}" if split else f"{check}: {expected}",
        meta={"name": check, "subject": subject, "split": split or None, "expected": expected, "unit": unit},
        **arguments,
    )


def _in_set(check: str, expected: str, column: str, values: Iterable[Any]) -> Expectation:
    return _expect(gxe.ExpectColumnValuesToBeInSet, check, expected, column, value_set=list(values))


def _between(check: str, expected: str, column: str, low: float, high: float | None = None) -> Expectation:
    return _expect(gxe.ExpectColumnValuesToBeBetween, check, expected, column, min_value=low, max_value=high)


def _mean(
    check: str, expected: str, column: str, low: float | None, high: float, split: str = "", unit: str = ""
) -> Expectation:
    kind = gxe.ExpectColumnMeanToBeBetween
    return _expect(kind, check, expected, column, split, unit, min_value=low, max_value=high)


def _equal(check: str, expected: str, column: str, other: str) -> Expectation:
    """Expect two columns to be equal; a row in which one is null is named elsewhere."""
    columns = {"column_A": column, "column_B": other, "ignore_row_if": "either_value_is_missing"}
    return _expect(gxe.ExpectColumnPairValuesToBeEqual, check, expected, **columns)


def _no_nulls(columns: Iterable[str]) -> list[Expectation]:
    kind, expected = gxe.ExpectColumnValuesToNotBeNull, "a value in every row"
    return [_expect(kind, f"no nulls in {name}", expected, name) for name in columns]


def _schema(types: Mapping[str, str], nullable: Sequence[str] = ()) -> list[Expectation]:
    """Expect the columns in order, their types, no nulls, unique ids, known labels."""
    return [
        _expect(gxe.ExpectTableColumnsToMatchOrderedList, "columns", ", ".join(types), column_list=list(types)),
        *(_expect(gxe.ExpectColumnTypeToBe, f"type of {name}", kind, name, type_=kind) for name, kind in types.items()),
        *_no_nulls(name for name in types if name not in nullable),
        _expect(gxe.ExpectColumnValuesToBeUnique, "unique id", "no id twice", "id"),
        _in_set("known labels", "a code from 0 to 6", "label", range(len(NAMES))),
    ]


def _every_class(split: str) -> Expectation:
    kind = gxe.ExpectColumnDistinctValuesToEqualSet
    return _expect(kind, "every class", "all seven expressions", "expression", split, value_set=list(NAMES))


def _shares_close_to(what: str, counts: pd.Series, split: str, most: float | None) -> Expectation:
    """Bound the KL divergence of a split's class shares from those of the counts; without a bound it is only shown."""
    check, expected = f"class shares close to {what}", f"any KL divergence: `other` is not held to {what}'s shares"
    if most is not None:
        expected = f"a KL divergence of at most {most:g}"
    # equal shares where the other splits are empty, which fails elsewhere
    weights = counts / counts.sum() if counts.any() else counts + 1 / len(counts)
    partition = {"values": list(NAMES), "weights": weights.tolist()}
    kind = gxe.ExpectColumnKLDivergenceToBeLessThan
    return _expect(kind, check, expected, "expression", split, partition_object=partition, threshold=most)


def _sizes(report: PreparedReport, tolerance: float) -> list[Expectation]:
    """Expect each split's number of images within bounds.

    FER2013 is held to its official sizes (in folders train and validation together; random: 70/30, 10% of the 70 for
    validation), anything else to what was read. Cleaning only removes images, so an expected size is also the upper
    bound; a random split that keeps duplicates together may miss its size either way.
    """
    sizes: dict[str, float] = {split: sum(OFFICIAL_COUNTS[split]) for split in SPLITS}
    excess = 0.0
    if report.dataset != "fer2013":
        sizes = {split: sum(report.read.get(split, ())) for split in SPLITS}
    elif report.split == "folders":
        sizes = {"train and validation": sizes["train"], "test": sizes["validation"] + sizes["test"]}
    elif report.split == "random":
        total, excess = sum(sizes.values()), tolerance
        sizes = {"train": 0.63 * total, "validation": 0.07 * total, "test": 0.3 * total}
    bounds = [(floor(size * (1 - tolerance)), ceil(size * (1 + excess))) for size in sizes.values()]
    kind, check = gxe.ExpectTableRowCountToBeBetween, "number of images"
    return [
        _expect(kind, check, f"from {low:,} to {high:,}", split=split, min_value=low, max_value=high)
        for split, (low, high) in zip(sizes, bounds, strict=True)
    ]


def _as_reported(split: str, kept: int) -> Expectation:
    kind = gxe.ExpectTableRowCountToEqual
    return _expect(kind, "number of images as in report.json", f"{kept:,} kept", split=split, value=kept)


def _brightness(bounds: Interval, split: str = "") -> Expectation:
    expected = f"a mean of {bounds.min:g} to {bounds.max:g} gray levels"
    return _mean("brightness", expected, "mean", bounds.min, bounds.max, split)


def _contrast(bounds: Interval, split: str = "") -> Expectation:
    expected = f"a standard deviation of {bounds.min:g} to {bounds.max:g} gray levels on average"
    return _mean("contrast", expected, "std", bounds.min, bounds.max, split)


def _share_reached(name: str, least: float, total: int, raised: bool) -> Expectation:
    """Bound the share of a class in the augmented training set; a class that got copies has no more than the minimum.

    Two images of slack: the class's own count is rounded, and so is the total.
    """
    slack = 2 / max(total, 1)
    expected = f"{least:.2%} after augmentation" if raised else f"at least {least:.2%}"
    return _mean(f"share of {name}", expected, name, least - slack, least + slack if raised else 1, unit="%")
