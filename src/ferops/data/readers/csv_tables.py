"""CSV layouts, read as a stream of rows: a class, pixels and, where the file has it, the split."""

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ferops.data.on_disk import mapped, scratch_file
from ferops.data.readers.archives import Stream
from ferops.data.readers.classes import LABEL_COLUMNS, USAGE_COLUMNS, Classes, labelled, usage
from ferops.data.readers.faces import BadFile, BadRow, FaceDataset, shown
from ferops.labels import NAMES, SIDE, UNSPLIT, USAGES
from ferops.machine.environment import only_python_stderr

_PIXELS: Final = SIDE * SIDE
_LONGEST_LINE: Final = 1 << 20
_PIXEL_COLUMN: Final = re.compile(r"(?:pixel|px|p)?[\s._-]*(\d{1,9})")
_SPACES: Final = b" " * (_PIXELS - 1)
_PGM_HEADER: Final = f"P2 {SIDE} {SIDE} 65535\n".encode()
"""Of 16 bits: of 8, 256 would silently become 255."""
_PGM_END: Final = b" 256" * _PIXELS
"""Read in place of a pixel that two spaces side by side leave out."""
_SEPARATORS: Final = {",": "", ";": "separated by semicolons", "\t": "separated by tabs"}


class Table(NamedTuple):
    """A CSV whose header was read.

    Fields:
        names: of the columns, in lower case, without quotes and spaces.
        label, usage: places of the columns of classes and of splits; -1 without one.
        pixels: places of the pixels: one column, or 2,304 in the order of the numbers in their names; or none.
        rows: the lines below the header.
        separator: of the fields.
        form: how it differs from Kaggle's form, for people.
    """

    names: list[str]
    label: int
    usage: int
    pixels: list[int]
    rows: Iterator[str]
    separator: str
    form: str


def open_table(stream: Stream) -> Table:
    """Read the header of a CSV in UTF-8 or UTF-16, separated by commas, semicolons or tabs."""
    lines, encoding = _lines(stream)
    header = next(lines, "").removeprefix("\ufeff").lower()
    if header.startswith("sep="):  # Excel's own first line
        header = next(lines, "").lower()
    separator = max(_SEPARATORS, key=header.count)
    names = [name.strip(' "\r\n') for name in header.split(separator)]
    places = {name: place for place, name in reversed([*enumerate(names)])}
    label, usage = (
        next((places[name] for name in known if name in places), -1) for known in (LABEL_COLUMNS, USAGE_COLUMNS)
    )
    pixels = [places["pixels"]] if "pixels" in places else []
    numbered = {int(match[1]): place for name, place in places.items() if (match := _PIXEL_COLUMN.fullmatch(name))}
    if not pixels and len(numbered) == _PIXELS:
        pixels = [numbered[number] for number in sorted(numbered)]
    form = ", ".join(filter(None, (encoding, _SEPARATORS[separator])))
    return Table(names, label, usage, pixels, lines, separator, form)


def read(table: Table, where: str, classes: Classes) -> FaceDataset:
    """Read the rows below a header.

    Args:
        table: has pixels and classes.
        where: the file's name in messages.
        classes: how its classes are read.

    Raises:
        BadFile: there are no rows.
        BadRow: a row without 2,304 pixels in 0-255 or, where there is such a column, a known split.
        UnknownLayout: of `Classes.codes`.
    """
    words: list[str] = []
    usages: list[str] = []
    first: dict[str, str] = {}
    with scratch_file() as file, only_python_stderr():  # OpenCV tells there of a number beyond 31 bits
        for row, line in enumerate(table.rows, start=2):
            found = fields(line, table.separator, len(table.names))
            if not any(found):
                continue
            if len(found) != len(table.names):
                raise BadRow(where, row, _count(len(found), "field"), str(len(table.names)))
            split = UNSPLIT if table.usage < 0 else usage(found[table.usage])
            if split is None:
                known = f"{', '.join(USAGES)}, or train, validation, test"
                raise BadRow(where, row, f"Usage {shown(found[table.usage])}", known)
            if len(table.pixels) > 1 and not all(found[place] for place in table.pixels):
                raise BadRow(where, row, "an empty pixel", "whole numbers 0-255")
            file.write(_gray_levels(where, row, " ".join(found[place] for place in table.pixels)))
            words.append(sys.intern(found[table.label]))
            usages.append(split)
            if found[table.label] not in first:
                first[found[table.label]] = f"{where}: row {row} (the header is row 1)"
        images = mapped(file)
    if not words:
        raise BadFile(f"{where} has a header and no rows; expected a row for each face")
    label = table.names[table.label]
    codes = classes.codes(first, dict(enumerate(NAMES)) if label == "emotion" else ())
    pixels = "pixels" if len(table.pixels) == 1 else f"{_PIXELS:,} columns of pixels"
    layout = f"CSV with {label} and {pixels}, no Usage" if table.usage < 0 else f"CSV with {label}, {pixels} and Usage"
    return labelled(images, words, usages, codes, layout=f"{layout} ({table.form})" if table.form else layout)


def _lines(stream: Stream) -> tuple[Iterator[str], str]:
    """Return the lines of a text, and its encoding where that is not UTF-8."""
    if stream.peek(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = io.TextIOWrapper(stream, "utf-16", "replace", newline="\n")
        return iter(lambda: text.readline(_LONGEST_LINE), ""), "UTF-16"
    raw = iter(lambda: stream.readline(_LONGEST_LINE), b"")  # faster than a wrapper
    return (line.decode("utf-8", "replace") for line in raw), ""


def fields(line: str, separator: str, number: int) -> list[str]:
    """Return the fields of a line without quotes and spaces; there should be `number`."""
    line = line.rstrip("\r\n")
    found = line.split(separator)
    if len(found) > number and '"' in line:  # a separator in quotes, as in "[70, 80]"
        with suppress(csv.Error):
            found = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return [field.strip(' "') for field in found]


def _gray_levels(where: str, row: int, field: str) -> bytes:
    field = field.strip("[]() ").replace(",", " ")
    if (picture := _as_picture(field)) is not None:
        return picture.tobytes()
    for kind in (np.int64, np.float64):  # not uint8, which silently wraps 256 round to 0; a spreadsheet writes 70.0
        with suppress(ValueError):  # a word, a number beyond 64 bits
            levels = np.fromstring(field, dtype=kind, sep=" ")
            if len(levels) != _PIXELS:
                raise BadRow(where, row, _count(len(levels), "pixel"), f"{_PIXELS:,}")
            whole = levels if kind is np.int64 else np.where(levels % 1 == 0, levels, -1).astype(np.int64)
            if 0 <= np.bitwise_or.reduce(whole) <= 255:  # faster than minimum and maximum
                return whole.astype(np.uint8).tobytes()
    good = {str(level) for level in range(256)}
    wrong = next((token for token in field.split() if token not in good), field)
    raise BadRow(where, row, f"pixel {shown(wrong)}", "whole numbers 0-255")


def _as_picture(field: str) -> NDArray[np.uint8] | None:
    """Read pixels as the text of a PGM picture, twice as fast as NumPy reads numbers; None where they need a look."""
    text = field.encode()
    if text.translate(None, b"0123456789") != _SPACES:  # OpenCV skips what is no digit
        return None
    levels = cv2.imdecode(np.frombuffer(b"".join((_PGM_HEADER, text, _PGM_END)), np.uint8), cv2.IMREAD_UNCHANGED)
    return None if levels is None or levels.max() > 255 else levels.astype(np.uint8)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
