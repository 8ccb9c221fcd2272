"""Parquet files as Hugging Face's data sets have them: image files in a column, and their classes in another."""

import io
import json
import re
from pathlib import PurePosixPath
from typing import Any, Final

from ferops.data.readers import archives
from ferops.data.readers.archives import Member
from ferops.data.readers.classes import LABEL_COLUMNS, USAGE_COLUMNS, usage
from ferops.data.readers.decoding import read_bounded
from ferops.data.readers.faces import BadFile, UnknownLayout, one_line, shown
from ferops.data.readers.image_folders import Annotation, LabelledImages
from ferops.labels import NAMES, UNSPLIT

_ROWS: Final = 64
"""Rows that are read at once."""


def is_parquet(member: Member) -> bool:
    """Whether a file is, or calls itself, a Parquet file."""
    return member.stream.peek(4).startswith(b"PAR1") or member.name.lower().endswith(".parquet")


def read(member: Member, images: LabelledImages) -> None:
    """Add the images of a Parquet file.

    The image is a column of bytes, or of structs with a field `bytes`. The class is a column `label`, `labels`,
    `emotion` or `expression` of names or numbers; the names of the numbers are in Hugging Face's metadata, in a column
    `emotion` else FER2013's. The split is a column `Usage` or `split`, else in the name of the file or of its folder:
    `train-00000-of-00002.parquet`, `test/0.parquet`.

    Raises:
        BadFile: damaged, cut short, too large, or a row without an image, a class or a known split.
        UnknownLayout: it lacks the column of images or of classes, or a class is none of the seven.
        BadImage: an image is too large, or an earlier one cannot be decoded.
    """
    import pyarrow as pa
    from pyarrow import parquet

    of_name, budget = _usage(member.name), archives.Budget()
    try:
        file = parquet.ParquetFile(archives.seekable(member), pre_buffer=False)
        schema = file.schema_arrow
        columns = {name.lower(): name for name in reversed(schema.names)}
        image = next((each.name for each in schema if _is_bytes(each.type)), None)
        label = next((columns[name] for name in LABEL_COLUMNS if name in columns), None)
        split = next((columns[name] for name in USAGE_COLUMNS if name in columns), None)
        if image is None or label is None:
            found = shown(", ".join(schema.names))
            raise UnknownLayout(f"{member.where}: expected a column of image files and a column label; found {found}")
        if names := _names(schema, label):
            images.learn(names, member.where)
        row = 0
        for batch in file.iter_batches(_ROWS, columns=[image, label, *filter(None, [split])]):
            for values in batch.to_pylist():
                row += 1
                where, content = f"{member.where}: row {row}", values[image]
                content = content.get("bytes") if isinstance(content, dict) else content
                of_row = of_name if split is None else usage(str(values[split]))
                if not content or values[label] is None or of_row is None:
                    raise BadFile(f"{where}: expected an image, a class and a known split; found {_found(values)}")
                budget.spend(member.where, len(content))
                content = read_bounded(io.BytesIO(content), where)
                images.add(Annotation(of_row, str(values[label])), where, content)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BadFile(f"{member.where}: the Parquet file is damaged or cut short: {one_line(error)[:300]}") from None


def _found(values: dict[str, Any]) -> str:
    short = {name: "bytes" if isinstance(value, bytes) else value for name, value in values.items()}
    return shown(", ".join(f"{name}: {value}" for name, value in short.items()))


def _usage(name: str) -> str:
    """Return the Usage by the names of a file and its folders, the nearest first."""
    path = PurePosixPath(name)
    words = [*re.split(r"[-_.]", path.name), *(parent.name for parent in path.parents)]
    return next((found for word in words if (found := usage(word))), UNSPLIT)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        kind = next((kind.field(at).type for at in range(kind.num_fields) if kind.field(at).name == "bytes"), None)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) if kind is not None else False


def _names(schema: Any, label: str) -> dict[int, str]:
    """Return the names of numbered classes: the metadata's, FER2013's for `emotion`, or none."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    try:
        names = list(map(str, described["info"]["features"][label]["names"]))
    except (KeyError, TypeError):
        names = list(NAMES) if label.lower() == "emotion" else []
    return dict(enumerate(names))
