"""Read any copy of FER2013: recognise its layout, and return its faces in an order that does not depend on it."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ferops.data.readers import archives, csv_tables, image_folders, parquet_files
from ferops.data.readers.archives import Member, ProgressCallback
from ferops.data.readers.classes import AS_NAMED, Classes
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
    try:
        return _read(path, classes, progress, nested=False)
    except UnknownLayout as nothing:
        if not isinstance(nothing, _NothingFound):
            raise
    return _read(path, classes, progress, nested=True)


class _NothingFound(UnknownLayout):
    """No layout was recognised."""


def _read(path: Path, classes: Classes, progress: ProgressCallback | None, *, nested: bool) -> FaceDataset:
    found: dict[int, tuple[FaceDataset, str]] = {}
    left_out: list[str] = []
    seen: list[str] = []
    names: list[str] = []
    stray: Member | None = None
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:
        images = LabelledImages(classes, pool)
        for member in archives.members(path, progress, nested=nested):
            seen.append(member.name)
            if annotation := image_folders.annotation(member, classes):
                images.add(annotation, member.where, read_bounded(member.stream, member.where))
            elif parquet_files.is_parquet(member):
                images.source = "Parquet"
                for row in parquet_files.rows(member):
                    images.add(*row)
            elif image_folders.is_image(member):
                stray = stray or member
            elif known := image_folders.label_names(member):
                images.known = known
            else:
                table = csv_tables.open_table(member.stream)
                names = table.names
                if not table.pixels:
                    continue
                name, rank = printable(member.name), _SPLIT_CSV if table.usage >= 0 else _PLAIN_CSV
                if table.label < 0:
                    left_out.append(f"{name}: it has no labels")
                elif rank in found:
                    left_out.append(f"{name}: another CSV was read already")
                else:
                    found[rank] = csv_tables.read(table, member.where, classes), name
        if images and _SPLIT_CSV in found:
            left_out.append(f"{len(images):,} images: {found[_SPLIT_CSV][1]} tells more")
        elif images:
            found[_IMAGES] = images.faces(stray), f"{len(images):,} images in {images.source}"
    if not found:
        raise _unknown(path, seen, names, left_out)
    (faces, name), *others = (found[rank] for rank in sorted(found))
    left_out += [f"{other}: {name} tells more" for _, other in others]
    return replace(by_content(faces), left_out=(*faces.left_out, *left_out))


def _unknown(path: Path, seen: list[str], names: list[str], left_out: list[str]) -> BadFile | UnknownLayout:
    if len(seen) == 1 and names == [""]:
        return BadFile(f"{path} is empty; expected the header emotion,pixels,Usage and rows")
    if left_out:
        return _NothingFound(f"{path}: {left_out[0]}; expected a CSV with emotion and pixels, such as train.csv")
    first = f" with the first line {shown(','.join(names))}" if len(seen) == 1 else ""
    found = f"{shown(', '.join(seen))}{first}" if seen else "nothing"
    return _NothingFound(
        f"{path}: expected a CSV with the columns emotion, pixels and Usage in its first line, image folders "
        f"train/EXPRESSION and test/EXPRESSION, or Parquet; found {found}"
    )
