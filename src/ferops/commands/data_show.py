"""`ferops data show`: print what the data set in use is, its counts, and write a picture with examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ferops import params as parameters
from ferops.data import pictures
from ferops.data.readers import layouts
from ferops.data.readers.faces import FaceDataset
from ferops.labels import MERGED, MERGED_COUNTS, NAMES, OFFICIAL_COUNTS, UNSPLIT, USAGES
from ferops.machine.progress import byte_progress

SHEET: Final = Path("reports/data/contact_sheet.png")
"""Git-ignored: it shows faces of the data set."""

Counts = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Column -> images of each class in code order, found and official."""

_OFFICIAL: Final = {
    **{usage: OFFICIAL_COUNTS[split] for usage, split in USAGES.items()},
    MERGED: MERGED_COUNTS,
    UNSPLIT: OFFICIAL_COUNTS["train"],  # Kaggle's train.csv is Training
}


def show(console: Console) -> None:
    """Read the copy that params.yaml names, print its counts and write a sheet with examples of each expression.

    Raises:
        BadParams: params.yaml is missing or invalid.
        UnknownLayout, BadFile, BadRow, BadImage: the copy is bad or missing.
        OSError: the sheet cannot be written.
    """
    data = parameters.load().data
    source = Path(data.source)
    faces = read(source, console)
    console.print(f"data set in use: {data.source}", markup=False, highlight=False)
    print_overview(console, source, faces)
    console.print(completeness(data.dataset, faces))
    console.print(f"data.split is {data.split}", highlight=False)
    pictures.save_png(SHEET, pictures.contact_sheet(faces.images, faces.labels))
    console.print(f"examples: {SHEET}", highlight=False)


def read(path: Path, console: Console) -> FaceDataset:
    """Read a copy of FER2013 behind a progress bar; see `layouts.read`."""
    with byte_progress(f"reading {path.name}", console) as progress:
        return layouts.read(path, progress=progress)


def print_overview(console: Console, path: Path, faces: FaceDataset) -> None:
    """Print a copy's layout and counts, and what was left out or converted."""
    console.print(f"recognised: {faces.layout}", markup=False, highlight=False)
    console.print(counts_table(path.name, _counts(faces)))
    notes = [f"left out: {what}" for what in faces.left_out]
    if faces.resized:
        notes.append(f"{faces.resized:,} images of another size were resized to 48 x 48")
    if faces.recoloured:
        notes.append(f"{faces.recoloured:,} images in colour or of another depth were made 8-bit gray")
    if UNSPLIT in faces.usages:
        notes.append("no split in it: data.split official cuts it 80/10/10, stratified, by data.split_seed")
    if MERGED in faces.usages:
        notes.append("PublicTest and PrivateTest are not told apart: data.split folders takes both as test")
    for note in notes:
        console.print(note, markup=False, highlight=False)


def is_complete(faces: FaceDataset) -> bool:
    """Return whether a copy is FER2013 in full: every count is official, PublicTest and PrivateTest merged or not."""
    counts = _counts(faces)
    return UNSPLIT not in counts and set(faces.usages) == set(counts) and not differing(counts)


def completeness(dataset: str, faces: FaceDataset) -> str:
    """Return a sentence on how complete a copy is."""
    if dataset == "sample":
        return "This is the synthetic sample, not FER2013."
    counts = _counts(faces)
    every = len(counts) * len(NAMES)
    if dataset == "fer2013":
        return f"This is FER2013 in full: all {every} counts are the official ones."
    return f"This is not FER2013 in full: {differing(counts)} of {every} counts differ; it is taken as `other`."


def differing(counts: Counts) -> int:
    """Return how many counts are not the official ones."""
    return sum(number != official for pair in counts.values() for number, official in zip(*pair, strict=True))


def counts_table(name: str, counts: Counts) -> Table:
    """Return a table with a row per class, to fit 80 columns; what is not the official count is yellow."""
    table = Table(title=f"{escape(name)}: images of each class", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column()
    for column in counts:
        table.add_column(column or "images", justify="right")
        table.add_column("official", justify="right", style="dim")
    for code, expression in enumerate([*NAMES, "all"]):
        cells = []
        for pair in counts.values():
            number, official = (column[code] if code < len(NAMES) else sum(column) for column in pair)
            cells += [f"{number:,}" if number == official else f"[yellow]{number:,}[/]", f"{official:,}"]
        table.add_row(expression, *cells, end_section=code == len(NAMES) - 1)
    return table


def _counts(faces: FaceDataset) -> Counts:
    """Count the images of each usage that the copy tells apart, also where one of Kaggle's three is empty."""
    usages = ("Training", MERGED) if MERGED in faces.usages else tuple(USAGES)
    if UNSPLIT in faces.usages:
        usages = (UNSPLIT,)
    return {
        usage: (np.bincount(faces.labels[faces.usages == usage], minlength=len(NAMES)).tolist(), _OFFICIAL[usage])
        for usage in usages
    }
