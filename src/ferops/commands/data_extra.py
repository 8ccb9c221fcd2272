"""`ferops data extra`: add a test set, CK+ or JAFFE, or change nothing."""

import tempfile
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from ferops.commands.data_use import NotTaken, tracked  # puts a copy under DVC, and all as it was where that fails
from ferops.data.readers import extra_sets
from ferops.data.readers.extra_sets import CONTEMPT, JAFFE, ExtraSet
from ferops.errors import of_the_machine
from ferops.labels import NAMES

EXTRA: Final = Path("data/extra")


def add(path: Path, console: Console) -> None:
    """Read CK+48 or JAFFE through, write its faces to data/extra and track them with DVC.

    Works in the repository's root. A set of that name that is there already is replaced. Whatever fails, data/extra is
    as it was.

    Args:
        path: a folder or an archive.
        console: where the counts and the next command are shown.

    Raises:
        UnknownLayout, BadFile, BadImage: the data are bad.
        NotTaken: the disk or `dvc add` failed.
    """
    with console.status("reading"):
        found = extra_sets.read(path)
    _tell(console, found)
    target = EXTRA / found.kind.name
    try:
        with tempfile.TemporaryDirectory() as scratch:
            extra_sets.save(Path(scratch, target.name), found)
            with tracked(Path(scratch, target.name), target, console):
                console.print(f"{target.as_posix()}: `evaluate` scores it, nothing trains or chooses on it")
    except OSError as error:
        raise NotTaken(f"{target.as_posix()} could not be written: {of_the_machine(error)}") from None
    console.print("Next: [bold]dvc repro[/bold]")


def _tell(console: Console, found: ExtraSet) -> None:
    """Print which set it is, its counts, what was left out and how its faces were cut."""
    kind = found.kind
    console.print(f"recognised: {kind.title}", highlight=False)
    table = Table(title=f"{kind.title}: images of each class", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "images", "official"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, number, official in zip(
        [*NAMES, "all"], [*found.counts, sum(found.counts)], [*kind.counts, sum(kind.counts)], strict=True
    ):
        table.add_row(name, f"{number:,}", f"{official:,}", end_section=name == NAMES[-1])
    console.print(table)
    different = sum(number != official for number, official in zip(found.counts, kind.counts, strict=True))
    notes = [f"{different} of {len(NAMES)} counts differ: not {kind.title} in full"] if different else []
    if found.contempt:
        notes.append(f"left out: {found.contempt:,} images of {CONTEMPT}, which is none of the seven")
    if kind == JAFFE:
        cut = len(found.labels) - found.central
        notes.append(f"faces: {cut:,} found in their picture, {found.central:,} not found and cut from its middle")
    for note in notes:
        console.print(note, highlight=False)
