"""`ferops predict`: the expressions in pictures, as a table, lines of JSON, a CSV, and annotated copies."""

import csv
import glob
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from ferops.commands import layout
from ferops.data.readers import archives
from ferops.data.readers.faces import printable
from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.predict.drawing import annotate
from ferops.predict.networks import Card
from ferops.predict.recognizer import ExpressionRecognizer, Prediction, read_picture

SOME_UNREADABLE: Final = 3
"""Exit status where some pictures could not be read and the others were."""

_COLUMNS: Final = ("path", "left", "top", "width", "height", "detector_score", "label", "probability", *NAMES)


class NoPicture(FeropsError):
    """Nothing was given that could be a picture, or none of what was given can be read."""


class _Given(NamedTuple):
    """A picture that was given: its file, None for standard input, and its name below the folder that was given."""

    file: Path | None
    name: Path

    @property
    def copy(self) -> Path:
        """Return the name of its annotated copy."""
        return self.name.with_suffix(".jpg" if self.name.suffix.lower() in (".jpg", ".jpeg") else ".png")


def predict(
    sources: Sequence[str],
    console: Console,
    *,
    as_json: bool = False,
    table: Path | None = None,
    save: Path | None = None,
    model: Path | None = None,
    detector: str = "blazeface",
) -> int:
    """Recognise the expressions in pictures.

    Args:
        sources: files, folders, patterns as `photos/*.jpg`, or `-` for one picture on standard input.
        console: where the table is shown; what cannot be read is named on standard error.
        as_json: print a line of JSON for each picture instead of a table.
        table: a CSV to write, a row for each face.
        save: a folder for annotated copies.
        model: an exported network; by default the shipped one.
        detector: a name of `detection.DETECTORS`.

    Returns:
        The exit status: 0, or 3 where some pictures could not be read.

    Raises:
        NoPicture: a folder or pattern holds no file, two annotated copies would have one name, or none of the pictures
            can be read.
        BadNetwork, UnknownDetector: of `ExpressionRecognizer`.
    """
    given = [picture for source in sources for picture in _find(source)]
    if save:
        _check_names([picture.copy for picture in given])
    recognizer = ExpressionRecognizer(model, detector)
    errors = Console(stderr=True)
    found = layout.table("", "picture", "expression", "probability", "box")
    failed = 0
    with ExitStack() as stack:
        rows = csv.writer(stack.enter_context(table.open("w", encoding="utf-8", newline=""))) if table else None
        if rows:
            rows.writerow((*_COLUMNS, "uncertain", "model"))
        answers = recognizer.stream(sys.stdin.buffer.read() if file is None else file for file, _ in given)
        hidden = not errors.is_terminal or as_json
        answers = iter(track(answers, "recognising", len(given), console=errors, transient=True, disable=hidden))
        for picture, answer in zip(given, answers, strict=True):
            if answer.error:
                failed += 1
                name = printable(str(picture.file or "-"))
                errors.print(f"ferops: {name}: {answer.error}", markup=False, highlight=False, soft_wrap=True)
            elif save and picture.file:
                _save(save / picture.copy, picture.file, answer)
            if as_json:
                print(json.dumps(answer.as_json()), flush=True)
            elif not answer.error:
                _add_rows(found, printable(str(picture.name)), answer)
            if rows:
                rows.writerows(_csv_rows(answer))
    if failed == len(given):
        raise NoPicture("none of the pictures could be read")
    if not as_json:
        console.print(found)
        console.out(_described(recognizer.network.name, recognizer.network.card), highlight=False)
    return SOME_UNREADABLE if failed else 0


def _find(source: str) -> Iterator[_Given]:
    path = Path(source)
    if source == "-":
        yield _Given(None, path)
    elif path.is_dir():
        if not (below := archives.find(path)):
            raise NoPicture(f"{source} has no file in it; expected pictures")
        yield from (_Given(file, file.relative_to(path)) for file in below)
    elif not path.exists() and any(sign in source for sign in "*?["):
        if not (matching := sorted(glob.glob(source, recursive=True))):  # noqa: PTH207  # Path.glob takes no absolute one
            raise NoPicture(f"no file is named as {source}")
        yield from (_Given(Path(file), Path(Path(file).name)) for file in matching)
    else:
        yield _Given(path, Path(path.name))


def _check_names(copies: Sequence[Path]) -> None:
    if twice := [name for name, times in Counter(copies).items() if times > 1]:
        raise NoPicture(f"two pictures would be saved as {twice[0]}; give their folder, or save them apart")


def _save(path: Path, file: Path, answer: Prediction) -> None:
    drawn = annotate(read_picture(file), answer.faces)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())


def _add_rows(table: Table, name: str, answer: Prediction) -> None:
    name = escape(name)
    for at, face in enumerate(answer.faces):
        left, top, width, height = face.box
        colour = "dim" if face.uncertain else "default"
        label = f"[{colour}]{face.label}{'?' if face.uncertain else ''}[/]"
        table.add_row("" if at else name, label, f"{face.probability:.2f}", f"{width}x{height}+{left}+{top}")
    if not answer.faces:
        table.add_row(name, "[dim]no face[/]", "", "")


def _csv_rows(answer: Prediction) -> Iterator[tuple[Any, ...]]:
    for face in answer.faces:
        numbers = (round(value, 4) for value in (face.detector_score, face.probability, *face.probabilities.values()))
        score, *probabilities = numbers
        yield (answer.path, *face.box, score, face.label, *probabilities, face.uncertain, answer.model)


def _described(name: str, card: Card) -> str:
    """Return in a line which network answered, and how good it is."""
    certain = f"without ?, of {card.uncertain_below:.2f} or more: {card.accuracy_certain:.3f}"
    return f"{name}: accuracy {card.accuracy:.3f} on {card.split}; answers {certain}"
