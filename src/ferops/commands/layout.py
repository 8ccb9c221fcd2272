"""How commands lay out their text: tables of figures, and entries of several lines with a label before the first."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Column, Table


def table(title: str, names: str, *figures: str) -> Table:
    """Return a table without rows: its title, the heading over names, and those over figures, aligned right."""
    columns = (Column(heading, justify="right") for heading in figures)
    return Table(names, *columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)


def aligned(entries: Mapping[str, Iterable[str]], width: int) -> str:
    """Return the lines of all entries, their labels in a column of this width; one without lines is left out."""
    numbered = ((label, *line) for label, lines in entries.items() for line in enumerate(lines))
    return "\n".join(f"{'' if number else label:<{width}}{line}" for label, number, line in numbered)
