"""Kaggle's CSV layouts, read as a stream of rows: emotion, pixels and, where the file has it, Usage."""

from contextlib import suppress
from typing import Final

import numpy as np

from ferops.data.readers.archives import Stream
from ferops.data.readers.faces import BadFile, BadRow, FaceDataset, shown
from ferops.labels import NAMES, SIDE, UNSPLIT, USAGES

_CODES: Final = {str(code): code for code in range(len(NAMES))}
_PIXELS: Final = SIDE * SIDE
_LONGEST_LINE: Final = 1 << 20


def columns(stream: Stream) -> list[str]:
    """Read the header: names in lower case, without quotes, spaces and a byte order mark."""
    header = stream.readline(_LONGEST_LINE).decode("utf-8-sig", errors="replace")
    return [name.strip(' "\r\n').lower() for name in header.split(",")]


def read(stream: Stream, names: list[str], where: str) -> FaceDataset:
    """Read the rows below a header.

    Args:
        stream: the rows, without the header.
        names: the header, from `columns`; has `emotion` and `pixels`, in any order and among others.
        where: the file's name in messages.

    Raises:
        BadFile: there are no rows.
        BadRow: a row without 2,304 pixels in 0-255, a label in 0-6 and, where there is such a column, a known Usage.
    """
    emotion, pixels = names.index("emotion"), names.index("pixels")
    usage = names.index("usage") if "usage" in names else None
    images, labels, usages = bytearray(), [], []
    for row, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE), b""), start=2):
        fields = [field.strip(' "') for field in line.decode("utf-8", "replace").rstrip("\r\n").split(",")]
        if fields == [""]:
            continue
        if len(fields) != len(names):
            raise BadRow(where, row, _count(len(fields), "field"), str(len(names)))
        if fields[emotion] not in _CODES:
            raise BadRow(where, row, f"label {shown(fields[emotion])}", f"0-{len(NAMES) - 1}")
        if usage is not None and fields[usage] not in USAGES:
            raise BadRow(where, row, f"Usage {shown(fields[usage])}", ", ".join(USAGES))
        images += _gray_levels(where, row, fields[pixels])
        labels.append(_CODES[fields[emotion]])
        usages.append(UNSPLIT if usage is None else fields[usage])
    if not labels:
        raise BadFile(f"{where} has a header and no rows; expected a row for each face")
    return FaceDataset(
        images=np.frombuffer(images, np.uint8).reshape(-1, SIDE, SIDE),
        labels=np.array(labels, np.int64),
        usages=np.array(usages, np.str_),
        layout="CSV with emotion, pixels and Usage" if usage is not None else "CSV with emotion and pixels, no Usage",
    )


def _gray_levels(where: str, row: int, field: str) -> bytes:
    with suppress(ValueError):  # a word, a fraction, a number beyond 64 bits
        # int64, not uint8: a narrower type silently wraps 256 round to 0
        levels = np.fromstring(field, dtype=np.int64, sep=" ")
        if len(levels) != _PIXELS:
            raise BadRow(where, row, _count(len(levels), "pixel"), f"{_PIXELS:,}")
        if levels.min() >= 0 and levels.max() <= 255:
            return levels.astype(np.uint8).tobytes()
    good = {str(level) for level in range(256)}
    wrong = next((token for token in field.split() if token not in good), field)
    raise BadRow(where, row, f"pixel {shown(wrong)}", "whole numbers 0-255")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
