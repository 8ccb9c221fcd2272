"""`ferops predict`: the expressions in pictures, as a table, lines of JSON, a CSV, and annotated copies."""

import csv
import glob
import json
import mimetypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from ferops.data.readers import archives
from ferops.data.readers.decoding import IMAGE_START, LARGEST_PHOTOGRAPH_FILE
from ferops.data.readers.faces import printable
from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.machine.files import replacing
from ferops.predict.drawing import annotate
from ferops.predict.networks import ExpressionNetwork
from ferops.predict.recognizer import ExpressionRecognizer, Prediction, read_picture

SOME_UNREADABLE: Final = 3
"""Exit status where some pictures could not be read and the others were."""

_OF_FACE: Final = ("left", "top", "width", "height", "detector_score", "label", "probability", *NAMES, "uncertain")


class NoPicture(FeropsError):
    """Nothing was given that could be a picture, or none of what was given can be read."""


class NothingExplained(FeropsError):
    """Explanations are asked for, and nothing that would show them."""


class KeptFile(FeropsError):
    """A file that would be written exists, or would be written twice."""


class _Given(NamedTuple):
    """A picture that was given: its file or, of standard input, its content; and its name below the folder given."""

    source: Path | bytes
    name: Path

    @property
    def shown(self) -> str:
        """Return its name for people."""
        return printable(str(self.source if isinstance(self.source, Path) else self.name))

    @property
    def copy(self) -> Path:
        """Return the name of its annotated copy."""
        is_written = self.name.suffix.lower() in (".jpg", ".jpeg", ".png")
        return self.name if is_written else self.name.with_name(f"{self.name.name}.png")


def predict(
    sources: Sequence[str],
    console: Console,
    *,
    as_json: bool = False,
    table: Path | None = None,
    save: Path | None = None,
    model: str | None = None,
    detector: str = "blazeface",
    tta: bool = False,
    explain: bool = False,
) -> int:
    """Recognise the expressions in pictures.

    Args:
        sources: files, folders, patterns as `photos/*.jpg`, or `-` for one picture on standard input. In a folder, and
            below it, files that neither are images nor are named as such are passed over.
        console: where the table is shown; what cannot be read is named on standard error.
        as_json: print a line of JSON for each picture instead of a table.
        table: a CSV to write, a row for each face and for each picture without one. It is written when all is done.
        save: a folder for annotated copies.
        model: as `networks.load` takes it; by default the shipped one.
        detector: a name of `detection.DETECTORS`.
        tta: average over each face and its mirror image.
        explain: draw Grad-CAM maps into the annotated copies, and add them to the lines of JSON.

    Returns:
        The exit status: 0, or 3 where some pictures could not be read.

    Raises:
        NoPicture: a folder or pattern holds no picture, or none of the pictures can be read.
        KeptFile: a file that would be written exists, or two copies would have one name.
        BadNetwork, UnknownDetector, NoMaps: of `ExpressionRecognizer`.
        NothingExplained: explanations are neither saved nor printed.
    """
    if explain and not (save or as_json):
        raise NothingExplained("--explain draws into annotated copies: give --save FOLDER, or --json for numbers")
    if sources.count("-") > 1:
        raise NoPicture("standard input is one picture: give one `-`")
    given = [picture for source in sources for picture in _find(source)]
    if save:
        _check_names(save, given)
    if table and table.is_file():
        raise KeptFile(f"{table} exists and is kept; remove it, or give another name")
    recognizer = ExpressionRecognizer(model, detector, tta=tta, explain=explain)
    errors = Console(stderr=True)
    columns = ("picture", Column("expression", no_wrap=True))
    numbers = (Column(heading, justify="right", no_wrap=True) for heading in ("probability", "box"))
    found = Table(*columns, *numbers, box=box.SIMPLE_HEAD)
    failed = 0
    with ExitStack() as stack:
        rows = None
        if table:
            place = stack.enter_context(replacing(table)) if not table.exists() else table  # or a pipe, a device
            stream = stack.enter_context(place.open("w", encoding="utf-8", errors="surrogateescape", newline=""))
            rows = csv.writer(stream)
            rows.writerow(("path", *_OF_FACE, "model", "error"))
        answers = recognizer.stream(picture.source for picture in given)
        hidden = not errors.is_terminal or as_json
        answers = iter(track(answers, "recognising", len(given), console=errors, transient=True, disable=hidden))
        for picture, answer in zip(given, answers, strict=True):
            if answer.error:
                failed += 1
                errors.print(f"ferops: {picture.shown}: {answer.error}", markup=False, highlight=False, soft_wrap=True)
            elif save:
                _save(save / picture.copy, picture, answer)
            if as_json:
                print(json.dumps(answer.as_json()), flush=True)
            elif not answer.error:
                _add_rows(found, picture.shown, answer)
            if rows:
                rows.writerows(_csv_rows(answer))
        if failed == len(given):
            raise NoPicture("none of the pictures could be read")
    if not as_json:
        if not console.is_terminal:  # nothing is cut off where another program reads
            console.width = 10_000
        console.print(found)
        console.out(_described(recognizer.network), highlight=False)
    return SOME_UNREADABLE if failed else 0


def _find(source: str) -> Iterator[_Given]:
    path = Path(source).expanduser()
    if not source:
        raise NoPicture("an empty name was given; expected a picture")
    if source == "-":
        if sys.stdin is None:
            raise NoPicture("there is no standard input")
        yield _Given(sys.stdin.buffer.read(LARGEST_PHOTOGRAPH_FILE + 1), Path("stdin"))
    elif path.is_dir():
        below = [_Given(file, file.relative_to(path)) for file in archives.find(path) if _is_picture(file)]
        if not below:
            raise NoPicture(f"{source} has no picture in it")
        yield from below
    elif not path.exists() and any(sign in source for sign in "*?["):
        matching = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # Path.glob takes no absolute one
        if not matching:
            raise NoPicture(f"no file is named as {source}")
        yield from (_Given(Path(file), Path(Path(file).name)) for file in matching)
    else:
        yield _Given(path, Path(path.name))


def _is_picture(file: Path) -> bool:
    """Whether a file is named as an image, or begins as one."""
    if (mimetypes.guess_type(file.name)[0] or "").startswith("image/"):
        return True
    try:
        with file.open("rb") as stream:
            return bool(IMAGE_START.match(stream.read(16)))
    except OSError:
        return False


def _check_names(folder: Path, given: Sequence[_Given]) -> None:
    """Check that each annotated copy is a new file.

    Raises:
        KeptFile: it is not.
    """
    known: dict[Path, str] = {}
    for picture in given:
        if picture.copy in known:
            both = f"{known[picture.copy]} and {picture.shown}"
            raise KeptFile(f"{both} would both be saved as {picture.copy}; save them into folders of their own")
        if (folder / picture.copy).exists():
            raise KeptFile(f"{folder / picture.copy} exists and is kept; give another folder")
        known[picture.copy] = picture.shown


def _save(path: Path, picture: _Given, answer: Prediction) -> None:
    drawn = annotate(read_picture(picture.source), answer.faces)
    content = cv2.imencode(path.suffix, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def _add_rows(table: Table, name: str, answer: Prediction) -> None:
    for face in answer.faces:
        left, top, width, height = face.box
        label = f"[dim]{face.label}?[/]" if face.uncertain else face.label
        table.add_row(escape(name), label, f"{face.probability:.2f}", f"{width}x{height}+{left}+{top}")
    if not answer.faces:
        table.add_row(escape(name), "[dim]no face[/]", "", "")


def _csv_rows(answer: Prediction) -> Iterator[tuple[Any, ...]]:
    for face in answer.faces:
        score, *values = (
            round(each, 4) for each in (face.detector_score, face.probability, *face.probabilities.values())
        )
        yield (answer.path, *face.box, score, face.label, *values, face.uncertain, answer.model, "")
    if not answer.faces:
        yield (answer.path, *[""] * len(_OF_FACE), answer.model, answer.error)


def _described(network: ExpressionNetwork) -> str:
    """Return in a line which network answered, and how good it is."""
    name = " ".join(filter(None, (network.version, network.name)))
    if not (card := network.card):
        return f"{name}: its accuracy is not known here"
    certain = f"the {card.coverage:.0%} of its answers without ?: {card.accuracy_certain:.3f}"
    return f"{name}: accuracy {card.accuracy:.3f} on {card.split}; {certain}"
