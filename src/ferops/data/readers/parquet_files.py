"""Parquet files as Hugging Face's data sets have them: image files in a column, and their classes in another."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from ferops.data.readers import archives
from ferops.data.readers.archives import Member
from ferops.data.readers.classes import LABEL_COLUMNS, usage
from ferops.data.readers.faces import BadFile, UnknownLayout, one_line, shown
from ferops.data.readers.image_folders import Annotation
from ferops.labels import NAMES, UNSPLIT

_ROWS: Final = 64
"""Rows that are read at once: a bound on the memory."""


def is_parquet(member: Member) -> bool:
    """Whether a file begins as a Parquet file."""
    return member.stream.peek(4).startswith(b"PAR1")


def rows(member: Member) -> Iterator[tuple[Annotation, str, bytes]]:
    """Iterate over the images of a Parquet file: what is said of each, its name in messages, and its image file.

    The image is a column of bytes, or of structs with a field `bytes`. The class is a column `label`, `labels`,
    `emotion` or `expression` of names, or of integers whose names the schema's metadata have. The split is in the
    name of the file or of its folder: `train-00000-of-00002.parquet`, `test/0.parquet`.

    Raises:
        BadFile: damaged, cut short, too large, or a row without an image or a class.
        UnknownLayout: it lacks one of the two columns.
    """
    import pyarrow as pa
    from pyarrow import parquet

    split = _usage(member.name)
    try:
        file = parquet.ParquetFile(archives.seekable(member), pre_buffer=False)
        schema = file.schema_arrow
        image = next((each.name for each in schema if _is_bytes(each.type)), "")
        label = next((name for name in LABEL_COLUMNS if name in schema.names), "")
        if not image or not label:
            found = shown(", ".join(schema.names))
            raise UnknownLayout(f"{member.where}: expected a column of image files and a column label; found {found}")
        groups = map(file.metadata.row_group, range(file.num_row_groups))
        if sum(group.total_byte_size for group in groups) > archives.UNPACKED_AT_MOST:
            raise archives.too_large(member.where)
        names = _names(schema, label)
        row = 0
        for batch in file.iter_batches(_ROWS, columns=[image, label]):
            for content, word in zip(batch.column(image).to_pylist(), batch.column(label).to_pylist(), strict=True):
                row += 1
                content = content.get("bytes") if isinstance(content, dict) else content
                if not content or word is None:
                    found = "no class" if content else "no bytes of an image"
                    raise BadFile(f"{member.where}: row {row}: found {found}; expected both in every row")
                known = isinstance(word, int) and 0 <= word < len(names)
                yield Annotation(split, names[word] if known else str(word)), f"{member.where}: row {row}", content
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadFile(f"{member.where}: the Parquet file is damaged or cut short: {one_line(error)[:300]}") from None


def _usage(name: str) -> str:
    """Return the Usage by the names of a file and its folders, the nearest first."""
    path = PurePosixPath(name)
    words = [re.split(r"[-_.]", path.name)[0], *(parent.name for parent in path.parents)]
    return next((found for word in words if (found := usage(word))), UNSPLIT)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(at).name == "bytes" for at in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _names(schema: Any, label: str) -> list[str]:
    """Return the names of the classes in order of their numbers: the metadata's, FER2013's for `emotion`, or none."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    try:
        return list(map(str, described["info"]["features"][label]["names"]))
    except (KeyError, TypeError):
        return list(NAMES) if label == "emotion" else []
