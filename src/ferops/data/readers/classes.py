"""What copies call the expressions and the splits: names, numbers, and words that are neither."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ferops.data.on_disk import chunks, joined
from ferops.data.readers.faces import FaceDataset, UnknownLayout, printable, shown
from ferops.labels import EXPRESSIONS, MERGED, NAMES

SKIPPED: Final = -1
"""Code of a class that is left out."""

LABEL_COLUMNS: Final = ("emotion", "label", "labels", "expression")
"""Names of a table's column of classes."""

USAGE_COLUMNS: Final = ("usage", "split")
"""Names of a table's column of splits."""

_USAGES: Final = {
    **dict.fromkeys(("train", "training"), "Training"),
    **dict.fromkeys(("val", "valid", "validation", "publictest"), "PublicTest"),
    **dict.fromkeys(("test", "testing"), MERGED),
    "privatetest": "PrivateTest",
}
_NEAR: Final = 0.85
"""Likeness of a slip to the name that was meant: `suprise` has 0.93, `unhappy` 0.83 to `happy`."""
_LISTED: Final = 10
"""Unknown classes that a message names, at most."""

_NUMBER: Final = re.compile(r"(\d{1,9})(?:[.,]0*)?")
_NUMBERED_NAME: Final = re.compile(r"\d{1,9}[\s._-]+(?=\D)")


@dataclass(frozen=True)
class Classes:
    """How the classes of a copy are read.

    Attributes:
        labels: names of numbered classes, in ascending order of the numbers; empty where the copy has names.
        skip: classes that are left out, by name or number, in lower case.
    """

    labels: tuple[str, ...] = ()
    skip: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, labels: str, skip: str) -> Self:
        """Read the comma-separated `data.labels` and `data.skip` of params.yaml."""
        return cls(tuple(map(_normal, _split(labels))), frozenset(map(_normal, _split(skip))))

    def is_class(self, word: str) -> bool:
        """Whether a folder of this name holds the images of a class; a number alone does not tell."""
        return _normal(word) in self.skip or _normal(word) in EXPRESSIONS

    def codes(self, first: Mapping[str, str], known: Mapping[int, str] | Sequence[str] = ()) -> dict[str, int]:
        """Return the code of every class of a copy, a name or a number, or `SKIPPED`.

        Args:
            first: the name, in messages, of each class' first image or row.
            known: names of the numbers by what the copy says: by number, or in ascending order; `labels` wins.

        Raises:
            UnknownLayout: classes are none of the seven, there is not one name for each number, or none is to be
                skipped that `skip` names.
        """
        numbers = {word: int(_normal(word)) for word in first if is_number(word) and _normal(word) not in self.skip}
        names = self.labels or known
        if not isinstance(names, Mapping):
            found = sorted(set(numbers.values()))
            if len(found) != len(names) and (self.labels or (names and found)):
                listed = ", ".join(map(str, found)) or "no numbers"
                raise UnknownLayout(f"{len(names)} names of numbered classes are given; found {listed}")
            names = dict(zip(found, names, strict=False))
        named = {word: names.get(numbers[word], word) if word in numbers else word for word in first}
        there = {_normal(word) for word in (*first, *named.values())}
        if absent := self.skip - there:
            listed = ", ".join(sorted(there))[:200]
            raise UnknownLayout(f"--skip {shown(min(absent))}: expected one of the classes that are there: {listed}")
        meanings = EXPRESSIONS | dict.fromkeys(self.skip, SKIPPED)
        if unknown := [word for word, name in named.items() if _normal(name) not in meanings]:
            raise UnknownLayout(f"{first[unknown[0]]}: {_ways_out([named[word] for word in unknown], names)}")
        return {word: meanings[_normal(name)] for word, name in named.items()}


AS_NAMED: Final = Classes()
"""The classes of a copy that has names, none of them left out."""


def is_number(word: str) -> bool:
    """Whether a class is given by a number, as `3` or a spreadsheet's `3.0`."""
    return _NUMBER.fullmatch(word.strip()) is not None


@lru_cache  # a copy has few of them, and tens of thousands of images
def usage(word: str) -> str | None:
    """Return the Usage that a split's name stands for, as `Training` for `train`; None for another word."""
    return _USAGES.get(re.sub(r"[\s_-]", "", word).lower())


def settled(usages: Sequence[str]) -> list[str]:
    """Return the usages with `test` as PrivateTest where there is a validation split beside it.

    Raises:
        UnknownLayout: some test images tell which of FER2013's two tests they belong to, and some do not.
    """
    if MERGED in usages and "PrivateTest" in usages:
        raise UnknownLayout("some test images say PublicTest or PrivateTest, not all; expected all or none")
    told = {MERGED: "PrivateTest"} if "PublicTest" in usages else {}
    return [told.get(each, each) for each in usages]


def labelled(
    images: NDArray[np.uint8], words: Sequence[str], usages: Sequence[str], codes: Mapping[str, int], **described: Any
) -> FaceDataset:
    """Make a data set of images whose classes are known, without those that are skipped.

    Args:
        images: uint8 (N, 48, 48).
        words: the class of each.
        usages: of each, from `usage`.
        codes: from `Classes.codes`.
        described: the other attributes.

    Raises:
        UnknownLayout: of `settled`.
    """
    labels = np.array([codes[word] for word in words], np.int64)
    kept = labels != SKIPPED
    notes = left_out(words, codes)
    if notes:
        images = joined(images[part] for part in chunks(np.flatnonzero(kept)))
    return FaceDataset(images, labels[kept], np.array(settled(usages), np.str_)[kept], left_out=notes, **described)


def left_out(words: Iterable[str], codes: Mapping[str, int]) -> tuple[str, ...]:
    """Say how many images of which classes are skipped."""
    skipped = Counter(word for word in words if codes[word] == SKIPPED)
    return tuple(f"{count:,} images of {printable(word)}, to be skipped" for word, count in skipped.items())


def _ways_out(unknown: Sequence[str], names: Mapping[int, str]) -> str:
    """Say which classes are unknown, which are expected or likely meant, and how to go on."""
    likely = [get_close_matches(_normal(word), EXPRESSIONS, n=1, cutoff=_NEAR) for word in unknown]
    listed = [shown(word) + "".join(f" ({name}?)" for name in near) for word, near in zip(unknown, likely, strict=True)]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    found = f"unknown expression {', '.join(listed[:_LISTED])}{more}; expected"
    numbered = any(map(is_number, unknown))
    if numbered and not names:
        return f"{found} the names of numbered classes, in ascending order: --labels NAME,NAME,..."
    expected = ", ".join(map(str, names) if numbered else NAMES)
    way_out = "; --labels names other numbers" if numbered else ""
    others = [word for word, near in zip(unknown, likely, strict=True) if word and not near] or list(
        filter(None, unknown)
    )
    if others:
        way_out += f"; --skip {shown(','.join(others), 200)} leaves {'it' if len(others) == 1 else 'them'} out"
    return f"{found} {expected}{way_out}"


def _split(words: str) -> list[str]:
    return [word for part in re.split("[,;]", words) if (word := part.strip(" \t\"'[]"))]


@lru_cache
def _normal(word: str) -> str:
    """Return a class in lower case, `3` for `3.0`, and without the number in front of a name."""
    word = word.strip().lower()
    number = _NUMBER.fullmatch(word)
    prefix = _NUMBERED_NAME.match(word)
    return str(int(number[1])) if number else word[prefix.end() :] if prefix else word
