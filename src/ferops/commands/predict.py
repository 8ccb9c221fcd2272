"""`ferops predict`: the expressions in pictures and videos, as tables, lines of JSON, a CSV, and annotated copies."""

import csv
import glob
import json
import mimetypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Column, Table

from ferops.data.readers import archives
from ferops.data.readers.decoding import IMAGE_START, LARGEST_PHOTOGRAPH_FILE
from ferops.data.readers.faces import printable
from ferops.errors import FeropsError, describe_os_error
from ferops.labels import NAMES
from ferops.machine.environment import only_python_stderr
from ferops.machine.files import replacing
from ferops.predict import video
from ferops.predict.detection import Picture
from ferops.predict.drawing import annotate
from ferops.predict.networks import ExpressionNetwork
from ferops.predict.recognizer import ExpressionRecognizer, Prediction

_WRITTEN: Final = (".png", ".jpg", ".jpeg")
"""Suffixes of annotated pictures; the first where the original has another."""

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
    """A picture or video that was given.

    Fields:
        source: its file or, of standard input, its content.
        name: below the folder given.
        copy: the annotated copy to write, if any.
    """

    source: Path | bytes
    name: Path
    copy: Path | None = None

    @property
    def is_video(self) -> bool:
        """Whether its name is that of a video."""
        return isinstance(self.source, Path) and self.name.suffix.lower() in video.SUFFIXES

    @property
    def kind(self) -> str:
        """Return what it is, for people."""
        return "video" if self.is_video else "picture"

    @property
    def shown(self) -> str:
        """Return its name for people."""
        return printable(str(self.source if isinstance(self.source, Path) else self.name))

    @property
    def name_of_copy(self) -> Path:
        """Return the name of its annotated copy."""
        written = (*video.WRITTEN,) if self.is_video else _WRITTEN
        is_written = self.name.suffix.lower() in written
        return self.name if is_written else self.name.with_name(f"{self.name.name}{written[0]}")


@dataclass
class _Seen:
    """An expression in a video.

    Attributes:
        first, last: seconds of the first and last frame that has it.
        frames: their number.
        probability: the sum over these frames, of the face that has it most clearly.
    """

    first: float
    last: float = 0
    frames: int = 0
    probability: float = 0


def predict(
    sources: Sequence[str],
    console: Console,
    *,
    as_json: bool = False,
    table: Path | None = None,
    save: Path | None = None,
    every: int | None = None,
    model: str | None = None,
    detector: str = "blazeface",
    tta: bool = False,
    explain: bool = False,
) -> int:
    """Recognise the expressions in pictures and videos.

    Args:
        sources: files, folders, patterns as `photos/*.jpg`, or `-` for one picture on standard input. In a folder, and
            below it, files that neither are images nor are named as images or videos are passed over.
        console: where the tables are shown; what cannot be read is named on standard error.
        as_json: print a line of JSON for each picture and each recognised frame instead of tables.
        table: a CSV to write, a row for each face and for each picture without one, as soon as it is answered.
        save: a folder for annotated copies, or of one picture or video the copy itself, named as one.
        every: recognise every so many frames of a video; by default about five a second.
        model: as `networks.load` takes it; by default the shipped one.
        detector: a name of `detectors.DETECTORS`.
        tta: average over each face and its mirror image.
        explain: draw Grad-CAM maps into the annotated copies, and add them to the lines of JSON.

    Returns:
        The exit status: 0, or 3 where some pictures could not be read.

    Raises:
        NoPicture: a folder or pattern holds no picture, or none of the pictures can be read.
        KeptFile: a file that would be written exists, or two copies would have one name.
        BadVideo: a copy of a video cannot be written.
        NothingExplained: explanations are neither saved nor printed.
        BadNetwork, UnknownDetector, MissingPackage, NoMaps: of `ExpressionRecognizer`.
    """
    if not sources:
        raise NoPicture("give pictures, videos or folders, or --camera 0")
    if explain and not (save or as_json):
        raise NothingExplained("--explain draws into annotated copies: give --save FOLDER, or --json for numbers")
    if sources.count("-") > 1:
        raise NoPicture("standard input is one picture: give one `-`")
    given = [each for source in sources for each in _find(source)]
    if save:
        given = _with_copies(save, given)
    if table and table.is_file():
        raise KeptFile(f"{table} exists and is kept; remove it, or give another name")
    if table and table in [each.copy for each in given]:
        raise KeptFile(f"{table} would be written twice: as the table, and as an annotated copy")
    if every and not any(each.is_video for each in given):
        raise NoPicture("--every is for videos, and none was given")
    recognizer = ExpressionRecognizer(model, detector, tta=tta, explain=explain)
    errors = Console(stderr=True)
    pictures, videos = _table("picture", "probability", "box"), _table("video", "frames", "mean p", "time")
    seen: dict[_Given, dict[str, _Seen]] = {}
    answered = failed = 0
    with ExitStack() as stack:
        stack.enter_context(only_python_stderr())  # what FFmpeg and libjpeg complain of is an answer or an error
        rows = None
        if table:
            stream = stack.enter_context(table.open("w", encoding="utf-8", errors="surrogateescape", newline=""))
            rows = csv.writer(stream)
            rows.writerow(("path", "frame", "seconds", *_OF_FACE, "model", "error"))
        hidden = not errors.is_terminal or as_json
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        bar = stack.enter_context(Progress(*columns, console=errors, transient=True, disable=hidden))
        for each, answer in _answers(recognizer, given, every, bar):
            if answer.error:
                failed += 1
                errors.print(f"ferops: {each.shown}: {answer.error}", markup=False, highlight=False, soft_wrap=True)
            else:
                answered += 1
                _add(answer, seen.setdefault(each, {})) if each.is_video else _add_rows(pictures, each.shown, answer)
            if rows:
                rows.writerows(_csv_rows(answer))
            if as_json:
                print(json.dumps(answer.as_json()), flush=True)
        if not answered:
            raise NoPicture("none of the pictures could be read")
    if not as_json:
        if not console.is_terminal:  # nothing is cut off where another program reads
            console.width = 10_000
        for each, expressions in seen.items():
            _add_video_rows(videos, each.shown, expressions)
        for shown in (pictures, videos):
            if shown.row_count:
                console.print(shown)
        console.out(_described(recognizer.network), highlight=False)
    return SOME_UNREADABLE if failed else 0


def _answers(
    recognizer: ExpressionRecognizer, given: Sequence[_Given], every: int | None, bar: Progress
) -> Iterator[tuple[_Given, Prediction]]:
    """Recognise what was given, in order, and write the annotated copies."""
    for are_videos, group in groupby(given, lambda each: each.is_video):
        members = list(group)
        if are_videos:
            for each in members:
                for answer in _frames(recognizer, each, every, bar):
                    yield each, answer
            continue
        answers = recognizer.stream((each.source for each in members), keep=any(each.copy for each in members))
        tracked = bar.track(answers, len(members), description="pictures")
        for each, answer in zip(members, tracked, strict=True):
            if each.copy and answer.picture is not None:
                try:
                    _save(each.copy, answer.picture, answer)
                except OSError as error:  # the others are saved and answered
                    answer = replace(
                        answer, faces=(), error=f"{each.copy} cannot be written: {describe_os_error(error)}"
                    )
            yield each, answer


def _frames(recognizer: ExpressionRecognizer, given: _Given, every: int | None, bar: Progress) -> Iterator[Prediction]:
    path = Path(str(given.source))
    answers = video.recognise(recognizer, path, every)
    task = bar.add_task(escape(given.name.name), total=video.length(path) or None)
    for answer in video.save(path, given.copy, answers) if given.copy else answers:
        bar.update(task, completed=(answer.frame or 0) + 1)
        yield answer
    bar.remove_task(task)


def _find(source: str) -> Iterator[_Given]:
    path = Path(source)
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
    """Whether a file is named as an image or a video, or begins as an image."""
    if not file.is_file():  # opening a pipe would wait for ever
        return False
    if file.suffix.lower() in video.SUFFIXES or (mimetypes.guess_type(file.name)[0] or "").startswith("image/"):
        return True
    try:
        with file.open("rb") as stream:
            return bool(IMAGE_START.match(stream.read(16)))
    except OSError:
        return False


def _with_copies(save: Path, given: Sequence[_Given]) -> list[_Given]:
    """Name the annotated copies: in a folder, or of one picture or video the file itself, where that is named as one.

    Raises:
        KeptFile: a copy is no new file, or cannot be written in this format.
    """
    if save.suffix.lower() in (*video.SUFFIXES, *_WRITTEN):
        written = video.WRITTEN if given[0].is_video else _WRITTEN
        if len(given) != 1 or save.suffix.lower() not in written:
            raise KeptFile(f"{save} can be the copy of one {given[0].kind} named {' or '.join(written)}; give a folder")
        copies = [save]
    else:
        copies = [save / each.name_of_copy for each in given]
    known: dict[Path, str] = {}
    for each, copy in zip(given, copies, strict=True):
        if copy in known:
            both = f"{known[copy]} and {each.shown}"
            raise KeptFile(f"{both} would both be saved as {each.name_of_copy}; save them into folders of their own")
        if copy.exists():
            raise KeptFile(f"{copy} exists and is kept; give another name")
        known[copy] = each.shown
    return [each._replace(copy=copy) for each, copy in zip(given, copies, strict=True)]


def _save(path: Path, picture: Picture, answer: Prediction) -> None:
    drawn = annotate(picture, answer.faces)
    content = cv2.imencode(path.suffix, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()
    with replacing(path) as scratch:
        scratch.write_bytes(content)


def _table(what: str, *numbers: str) -> Table:
    columns = (Column(heading, justify="right", no_wrap=True) for heading in numbers)
    return Table(
        Column(what, min_width=9, overflow="fold"), Column("expression", no_wrap=True), *columns, box=box.SIMPLE_HEAD
    )


def _add_rows(table: Table, name: str, answer: Prediction) -> None:
    for face in answer.faces:
        left, top, width, height = face.box
        label = f"[dim]{face.label}?[/]" if face.uncertain else face.label
        table.add_row(escape(name), label, f"{face.probability:.2f}", f"{width}x{height}+{left}+{top}")
    if not answer.faces:
        table.add_row(escape(name), "[dim]no face[/]", "", "")


def _add(answer: Prediction, seen: dict[str, _Seen]) -> None:
    """Count the expressions of a frame."""
    best = dict.fromkeys(["", *([] if answer.faces else ["no face"])], 0.0)  # the empty one counts all frames
    for face in answer.faces:
        label = "uncertain" if face.uncertain else face.label
        best[label] = max(best.get(label, 0), face.probability)
    for label, probability in best.items():
        expression = seen.setdefault(label, _Seen(answer.seconds or 0))
        expression.last = answer.seconds or 0
        expression.frames += 1
        expression.probability += probability


def _add_video_rows(table: Table, name: str, seen: dict[str, _Seen]) -> None:
    recognised = seen.pop("").frames
    for label, each in sorted(seen.items(), key=lambda item: -item[1].frames):
        probability = f"{each.probability / each.frames:.2f}" if each.probability else ""
        style = "" if label in NAMES else "dim"
        times = f"{_clock(each.first)}-{_clock(each.last)}"
        table.add_row(escape(name), label, f"{each.frames}/{recognised}", probability, times, style=style)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _csv_rows(answer: Prediction) -> Iterator[tuple[Any, ...]]:
    frame = (answer.path, answer.frame, answer.seconds)
    for face in answer.faces:
        score, *values = (
            round(each, 4) for each in (face.detector_score, face.probability, *face.probabilities.values())
        )
        yield (*frame, *face.box, score, face.label, *values, face.uncertain, answer.model, "")
    if not answer.faces:
        yield (*frame, *[""] * len(_OF_FACE), answer.model, answer.error)


def _described(network: ExpressionNetwork) -> str:
    """Return which network answered, and how good it is."""
    name = " ".join(filter(None, (network.version, network.name)))
    if network.record:
        measured = network.record["measured"]
        on = f"{measured['n']:,} validation images of {measured['dataset']}"
        unsure = f"?: below {network.uncertain_below:.2f}"
        return f"{name}: accuracy {measured['accuracy']:.3f} on {on}, by its record\n{unsure}"
    if not (card := network.card):
        return f"{name}: its accuracy is not known here"
    return (
        f"{name}: accuracy {card.accuracy:.3f} on {card.split}\n"
        f"?: below {card.uncertain_below:.2f}. At or above are {card.coverage:.0%} of the answers there, "
        f"and {card.accuracy_certain:.0%} of these are right"
    )
