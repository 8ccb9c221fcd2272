"""Read any copy of FER2013: recognise its layout, and return its faces in an order that does not depend on it."""

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ferops.data.on_disk import joined, scratch_file
from ferops.data.readers import archives, csv_tables, image_folders, parquet_files
from ferops.data.readers.archives import Member, ProgressCallback
from ferops.data.readers.classes import AS_NAMED, Classes, settled, usage
from ferops.data.readers.decoding import read_bounded
from ferops.data.readers.faces import BadFile, FaceDataset, UnknownLayout, by_content, printable, shown
from ferops.data.readers.image_folders import LabelledImages

_SPLIT_CSV, _IMAGES, _PLAIN_CSV = range(3)
"""Layouts by rank: of several in one place the first is read."""


def read(path: Path, classes: Classes = AS_NAMED, *, progress: ProgressCallback | None = None) -> FaceDataset:
    """Read a copy of FER2013, or another data set laid out as its copies are, as a stream.

    Layouts: a CSV with a column of classes, of pixels and mostly of splits, found by name and in any order
    (fer2013.csv, icml_face_data.csv, train.csv); image folders SPLIT/EXPRESSION/FILE or EXPRESSION/FILE; Parquet with
    a column of image files. Each may be in a folder, .zip, .tar, .gz, .bz2 or .xz, which is recognised by its content;
    an archive inside one is opened where there is nothing else. Of several layouts in one place the most informative
    is read: a CSV with splits, else images, else a CSV without splits.

    Args:
        path: a file or a folder.
        classes: names of numbered classes, and the classes that are left out.
        progress: called as the bytes on disk are read, and at the end.

    Returns:
        The faces ordered by their content, so that the same faces are equal in every layout.

    Raises:
        UnknownLayout: no such layout is there, or folders contradict it, or a class is none of the seven.
        BadFile: missing, empty, damaged, or an unsafe archive.
        BadRow: a row of a table is not a face.
        BadImage: a file in the folder of an expression is no image.
    """
    for nested in (False, True):
        with (
            warnings.catch_warnings(action="ignore"),
            ThreadPoolExecutor() as pool,
            scratch_file() as file,
        ):
            found = _find(archives.members(path, progress, nested=nested), LabelledImages(classes, pool, file))
        if found.copies:
            (faces, name), *others = (found.copies[rank] for rank in sorted(found.copies))
            left_out = (
                *faces.left_out,
                *found.left_out,
                *found.packed,
                *(f"{other}: {name} tells more" for _, other in others),
            )
            return replace(by_content(faces), left_out=left_out)
    raise _unknown(path, found)


@dataclass
class _Found:
    """What was found in a file or folder.

    Attributes:
        copies: by rank, the faces and a name for them.
        left_out: what was not read, and why.
        seen: names of all files.
        columns: of the last file that is no image.
        packed: archives that were not opened.
    """

    copies: dict[int, tuple[FaceDataset, str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    packed: list[str] = field(default_factory=list)


def _find(members: Iterable[Member], images: LabelledImages) -> _Found:
    found = _Found()
    plain: list[tuple[FaceDataset, str]] = []
    for member in members:
        found.seen.append(member.name)
        if annotation := image_folders.annotation(member, images.classes):
            images.add(annotation, member.where, read_bounded(member.stream, member.where))
        elif parquet_files.is_parquet(member):
            images.source = "Parquet"
            parquet_files.read(member, images)
        elif image_folders.is_image(member):
            images.strays.append((PurePosixPath(member.name).parent.name, member.where))
        elif known := image_folders.label_names(member):
            images.learn(known, member.where)
        elif archives.is_packed(member):
            found.packed.append(f"{printable(member.name)}: an archive beside what was read")
        else:
            table = csv_tables.open_table(member.stream)
            found.columns = table.names
            name = printable(member.name)
            if not table.pixels:
                continue
            if table.label < 0:
                found.left_out.append(f"{name}: it has no labels")
            elif table.usage < 0:
                plain.append((csv_tables.read(table, member.where, images.classes), name))
            elif _SPLIT_CSV in found.copies:
                found.left_out.append(f"{name}: another CSV was read already")
            else:
                found.copies[_SPLIT_CSV] = csv_tables.read(table, member.where, images.classes), name
    if plain:
        found.copies[_PLAIN_CSV] = _joined(plain)
    title = f"{len(images):,} images in {images.source}"
    if images and _SPLIT_CSV in found.copies:
        found.left_out.append(f"{title}: {found.copies[_SPLIT_CSV][1]} tells more")
    elif images:
        found.copies[_IMAGES] = images.faces(), title
    return found


def _joined(tables: Sequence[tuple[FaceDataset, str]]) -> tuple[FaceDataset, str]:
    """Join CSVs without a column of splits by their names: train.csv, val.csv, test.csv.

    Raises:
        UnknownLayout: there are several, and not each is named by a split.
    """
    if len(tables) == 1:
        return tables[0]
    names = ", ".join(name for _, name in tables)
    usages = [usage(PurePosixPath(name).stem) or "" for _, name in tables]
    if not all(usages):
        raise UnknownLayout(f"{shown(names)}: several CSVs without a split; name one, or call them train, val and test")
    every = [faces for faces, _ in tables]
    whole = replace(
        every[0],
        images=joined(faces.images for faces in every),
        labels=np.concatenate([faces.labels for faces in every]),
        usages=np.repeat(settled(usages), [len(faces.labels) for faces in every]),
        left_out=tuple(note for faces in every for note in faces.left_out),
        layout=f"{len(every)} CSVs named by their split",
    )
    return whole, names


def _unknown(path: Path, found: _Found) -> BadFile | UnknownLayout:
    seen, columns = found.seen, found.columns
    if len(seen) == 1 and columns == [""]:
        return BadFile(f"{path} is empty; expected the header emotion,pixels,Usage and rows")
    if found.left_out:
        return UnknownLayout(f"{path}: {found.left_out[0]}; expected a CSV with emotion and pixels, such as train.csv")
    first = f" with the first line {shown(','.join(columns))}" if len(seen) == 1 and columns else ""
    listed = f"{shown(', '.join(seen))}{first}" if seen else "nothing"
    return UnknownLayout(
        f"{path}: expected a CSV with the columns emotion, pixels and Usage in its first line, image folders "
        f"train/EXPRESSION and test/EXPRESSION, or Parquet; found {listed}"
    )
