"""`ferops data extra`: add a test set, CK+ or JAFFE, or change nothing."""

from pathlib import Path

from rich.console import Console

from ferops.commands.data_show import counts_table, differing
from ferops.commands.data_use import tracked
from ferops.data.readers import extra_sets
from ferops.data.readers.extra_sets import CONTEMPT, JAFFE, ExtraSet
from ferops.labels import NAMES


def add(path: Path, console: Console) -> None:
    """Read CK+48 or JAFFE through, write its faces to data/extra and track them with DVC.

    Works in the repository's root. A set of that name that is there already is replaced. Where anything fails,
    data/extra does not change.

    Args:
        path: a folder or an archive.
        console: where the counts and the next command are shown.

    Raises:
        UnknownLayout, BadFile, BadImage: the data are bad.
        NotStored: the disk is full, or `dvc add` failed.
    """
    with console.status("reading"):
        found = extra_sets.read(path)
    _print_overview(console, found)
    target = Path("data/extra", found.kind.name)
    with tracked(lambda path: extra_sets.save(path, found), target, console):
        console.print(f"{target.as_posix()}: `evaluate` scores it, nothing trains or chooses on it")
    console.print("Next: [bold]dvc repro[/bold]")


def _print_overview(console: Console, found: ExtraSet) -> None:
    """Print which set it is, its counts, what was left out and how its faces were cut."""
    kind, counts = found.kind, {"images": (found.counts, found.kind.counts)}
    console.print(f"recognised: {kind.title}", highlight=False)
    console.print(counts_table(kind.title, counts))
    notes = []
    if different := differing(counts):
        notes.append(f"{different} of {len(NAMES)} counts differ: not {kind.title} in full")
    if found.contempt:
        notes.append(f"left out: {found.contempt:,} images of {CONTEMPT}, which is none of the seven")
    if kind == JAFFE:
        cut = len(found.labels) - found.central
        notes.append(f"faces: {cut:,} found in their picture, {found.central:,} not found and cut from its middle")
    for note in notes:
        console.print(note, highlight=False)
