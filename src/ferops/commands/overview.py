"""What a copy of FER2013 is, told in the terminal: what it was recognised as, its counts, how complete it is."""

from pathlib import Path
from typing import Final

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ferops.data.readers.faces import Faces
from ferops.errors import FeropsError
from ferops.labels import MERGED, MERGED_COUNTS, NAMES, OFFICIAL_COUNTS, UNSPLIT, USAGES

_OFFICIAL: Final = {
    **{usage: OFFICIAL_COUNTS[split] for usage, split in USAGES.items()},
    MERGED: MERGED_COUNTS,
    UNSPLIT: OFFICIAL_COUNTS["train"],  # Kaggle's train.csv is Training
}
_WHOLE: Final = ({*USAGES}, {"Training", MERGED})


class MissingClass(FeropsError):
    """The copy has no image of one of the seven expressions."""


def tell(console: Console, path: Path, faces: Faces) -> None:
    """Print layout, counts, what was left out and what was converted."""
    console.print(f"recognised: {faces.layout}", markup=False, highlight=False)
    console.print(_table(path, faces))
    notes = [f"left out: {what}" for what in faces.left_out]
    if faces.resized:
        notes.append(f"{faces.resized:,} images of another size were resized to 48 x 48")
    if faces.recoloured:
        notes.append(f"{faces.recoloured:,} images in colour or of another depth were made 8-bit grey")
    if UNSPLIT in faces.usages:
        notes.append("no split in it: data.split official cuts it 80/10/10, stratified, by data.split_seed")
    if MERGED in faces.usages:
        notes.append("PublicTest and PrivateTest are not told apart: data.split folders takes both as test")
    for note in notes:
        console.print(note, markup=False, highlight=False)


def every_class(path: Path, faces: Faces) -> None:
    """Refuse a copy without all seven expressions.

    Raises:
        MissingClass: naming those that it lacks.
    """
    missing = [name for code, name in enumerate(NAMES) if code not in faces.labels]
    if missing:
        raise MissingClass(f"{path}: no image of {', '.join(missing)}; expected all seven expressions")


def is_whole(faces: Faces) -> bool:
    """Whether every count is the official one, PublicTest and PrivateTest told apart or not."""
    return set(faces.usages) in _WHOLE and _different(faces) == 0


def verdict(dataset: str, faces: Faces) -> str:
    """One sentence on how complete the copy is."""
    if dataset == "sample":
        return "This is the synthetic sample, not FER2013."
    every = sum(len(row) for row in _counts(faces).values())
    if dataset == "fer2013":
        return f"This is FER2013 in full: all {every} counts are the official ones."
    return f"This is not FER2013 in full: {_different(faces)} of {every} counts differ; it is taken as `other`."


def _counts(faces: Faces) -> dict[str, list[int]]:
    """Images of each class, in code order, of each usage that the copy has."""
    return {
        usage: np.bincount(faces.labels[faces.usages == usage], minlength=len(NAMES)).tolist()
        for usage in _columns(faces)
    }


def _columns(faces: Faces) -> tuple[str, ...]:
    """What the copy could tell apart; the three of Kaggle's division stand even where one is empty."""
    if UNSPLIT in faces.usages:
        return (UNSPLIT,)
    return ("Training", MERGED) if MERGED in faces.usages else tuple(USAGES)


def _different(faces: Faces) -> int:
    """How many counts are not the official ones."""
    return sum(
        number != official
        for usage, numbers in _counts(faces).items()
        for number, official in zip(numbers, _OFFICIAL[usage], strict=True)
    )


def _table(path: Path, faces: Faces) -> Table:
    """A row a class, so that it fits 80 columns; what is not the official count is yellow."""
    table = Table(title=f"{escape(path.name)}: images of each class", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column()
    found = _counts(faces)
    for usage in found:
        table.add_column(usage or "images", justify="right")
        table.add_column("official", justify="right", style="dim")
    for code, expression in enumerate([*NAMES, "all"]):
        cells = []
        for usage, counts in found.items():
            number, official = ((row[code] if code < len(NAMES) else sum(row)) for row in (counts, _OFFICIAL[usage]))
            cells += [f"{number:,}" if number == official else f"[yellow]{number:,}[/]", f"{official:,}"]
        table.add_row(expression, *cells, end_section=code == len(NAMES) - 1)
    return table
