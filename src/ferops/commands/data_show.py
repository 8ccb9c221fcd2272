"""`ferops data show`: the data set in use, as a table and as a picture."""

from pathlib import Path
from typing import Final

from rich.console import Console

from ferops import params as parameters
from ferops.commands import overview
from ferops.data import pictures
from ferops.data.readers import layouts
from ferops.machine.progress import byte_progress

SHEET: Final = Path("reports/data/contact_sheet.png")
"""Git-ignored: it shows faces of the data set."""


def show(console: Console) -> None:
    """Read the copy that params.yaml names; print its counts and write a sheet of examples of each expression.

    Raises:
        BadParams: params.yaml is not as it should be.
        UnknownLayout, BadFile, BadRow, BadImage: the copy is bad or missing.
        PictureNotWritten: the sheet cannot be written.
    """
    data = parameters.load().data
    source = Path(data.source)
    with byte_progress(f"reading {source.name}", console) as progress:
        faces = layouts.read(source, progress=progress)
    console.print(f"data set in use: {data.source}", markup=False, highlight=False)
    overview.tell(console, source, faces)
    console.print(overview.verdict(data.dataset, faces))
    console.print(f"data.split is {data.split}", highlight=False)
    pictures.save_png(SHEET, pictures.contact_sheet(faces.images, faces.labels))
    console.print(f"examples: {SHEET}", highlight=False)
