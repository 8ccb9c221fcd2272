"""Read any copy of FER2013: recognise its layout, and return its faces in an order that does not depend on it."""

import os
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

from ferops.data.readers import archives, csv_tables, image_folders
from ferops.data.readers.archives import ProgressCallback
from ferops.data.readers.decoding import Decoded, decode_faces, read_bounded
from ferops.data.readers.faces import BadFile, FaceDataset, UnknownLayout, by_content, printable, shown

_SPLIT_CSV, _IMAGES, _PLAIN_CSV = range(3)
"""Layouts by rank: of several in one place the first is read."""

_BATCH: Final = 64
"""Images that a thread decodes at once."""

_WAITING: Final = 2 * (os.cpu_count() or 1)
"""Batches that are read and not yet decoded, at most: a bound on the memory."""


def read(path: Path, *, progress: ProgressCallback | None = None) -> FaceDataset:
    """Read a copy of FER2013 as a stream.

    Layouts: a CSV with the columns `emotion`, `pixels` and mostly `Usage`, found by name and in any order
    (fer2013.csv, icml_face_data.csv, train.csv); image folders SPLIT/EXPRESSION/FILE. Either may be in a folder, .zip,
    .tar, .gz or .xz, which is recognised by its content. Of several layouts in one place the most informative is read:
    a CSV with Usage, else image folders, else a CSV without Usage.

    Args:
        path: a file or a folder.
        progress: called as the bytes on disk are read, and at the end.

    Returns:
        The faces ordered by their content, so that the same faces are equal in every layout.

    Raises:
        UnknownLayout: neither layout is there, or folders contradict it.
        BadFile: missing, empty, damaged, or an unsafe archive.
        BadRow: a row of a CSV is not a face.
        BadImage: a file in the folder of an expression is no image.
    """
    found: dict[int, tuple[FaceDataset, str]] = {}
    left_out: list[str] = []
    seen: list[str] = []
    names: list[str] = []
    annotations: list[image_folders.Annotation] = []
    batch: list[tuple[str, bytes]] = []
    decoded: list[Future[list[Decoded]]] = []
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        for member in archives.members(path, progress):
            seen.append(member.name)
            if annotation := image_folders.annotation(member):
                annotations.append(annotation)
                batch.append((member.where, read_bounded(member.stream, member.where)))
                if len(batch) == _BATCH:
                    decoded.append(pool.submit(decode_faces, batch))
                    decoded[-_WAITING:][0].result()
                    batch = []
                continue
            names = csv_tables.columns(member.stream)
            if "pixels" not in names:
                continue
            name, rank = printable(member.name), _SPLIT_CSV if "usage" in names else _PLAIN_CSV
            if "emotion" not in names:
                left_out.append(f"{name}: it has no labels")
            elif rank in found:
                left_out.append(f"{name}: another CSV was read already")
            else:
                found[rank] = csv_tables.read(member.stream, names, member.where), name
        if annotations:
            images = [*chain.from_iterable(future.result() for future in decoded), *decode_faces(batch)]
            found[_IMAGES] = image_folders.faces(annotations, images), f"{len(images):,} images in folders"
    if not found:
        raise _unknown(path, seen, names, left_out)
    (faces, name), *others = (found[rank] for rank in sorted(found))
    left_out += [f"{other}: {name} tells more" for _, other in others]
    return replace(by_content(faces), left_out=tuple(left_out))


def _unknown(path: Path, seen: list[str], names: list[str], left_out: list[str]) -> BadFile | UnknownLayout:
    if len(seen) == 1 and names == [""]:
        return BadFile(f"{path} is empty; expected the header emotion,pixels,Usage and rows")
    if left_out:
        return UnknownLayout(f"{path}: {left_out[0]}; expected a CSV with emotion and pixels, such as train.csv")
    first = f" with the first line {shown(','.join(names))}" if len(seen) == 1 else ""
    found = f"{shown(', '.join(seen))}{first}" if seen else "nothing"
    return UnknownLayout(
        f"{path}: expected a CSV with the columns emotion, pixels and Usage in its first line, or image folders "
        f"train/EXPRESSION and test/EXPRESSION; found {found}"
    )
