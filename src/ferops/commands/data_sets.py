"""`ferops data`: point the pipeline at a copy of FER2013, show the one in use, add a test set."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape

from ferops import params as parameters
from ferops.commands import layout
from ferops.data import pictures
from ferops.data.preprocessing import splits
from ferops.data.readers import extra_sets, layouts
from ferops.data.readers.classes import Classes
from ferops.data.readers.extra_sets import JAFFE
from ferops.data.readers.faces import FaceDataset
from ferops.errors import FeropsError, describe_os_error
from ferops.labels import MERGED, MERGED_COUNTS, NAMES, OFFICIAL_COUNTS, UNSPLIT, USAGES
from ferops.machine import git
from ferops.machine.progress import byte_progress
from ferops.machine.worktrees import dvc

RAW: Final = Path("data/raw")
EXTRA: Final = Path("data/extra")
SAMPLE: Final = Path("data/sample/fer2013.csv")
SHEET: Final = Path("reports/data/contact_sheet.png")  # git-ignored: it shows faces of the data set

# column -> images of each class in code order, found and official
Counts = Mapping[str, tuple[Sequence[int], Sequence[int]]]

_OFFICIAL: Final = {
    **{usage: OFFICIAL_COUNTS[split] for usage, split in USAGES.items()},
    MERGED: MERGED_COUNTS,
    UNSPLIT: OFFICIAL_COUNTS["train"],  # Kaggle's train.csv is Training
}


class MissingClass(FeropsError):
    """The copy has no image of one of the seven expressions."""


class NotStored(FeropsError):
    """Valid data could not be stored below data/raw or data/extra; nothing has changed."""


def use(path: Path, recipe: str | None, console: Console, *, labels: str = "", skip: str = "") -> None:
    """Read a copy of FER2013 through, track it with DVC under data/raw and point params.yaml at it.

    Works in the repository's root. The synthetic sample (data/sample/fer2013.csv) is used where it is. A copy that
    does not tell PublicTest from PrivateTest sets `data.split: folders`, images without a split `random`, and say so.
    Where anything fails, no file is left in data/raw, no .dvc file and no change in params.yaml.

    Args:
        path: any copy that `ferops.data.readers.layouts.read` reads: a file or a folder.
        recipe: a name in recipes/ whose overrides are merged into params.yaml too.
        console: where the progress bar, the table of counts and the next command are shown.
        labels: names of numbered classes, in ascending order of the numbers, comma-separated.
        skip: classes that are left out, comma-separated.

    Raises:
        BadParams: there is no such recipe, or params.yaml would not be valid with it.
        UnknownLayout, BadFile, BadRow, BadImage: the data are bad.
        MissingClass: the data lack an expression.
        MissingSplit: the data lack a split of the division that params.yaml names.
        NotStored: the copy or `dvc add` failed.
    """
    overrides = parameters.load_recipe(recipe) if recipe else {}
    before = _merged(overrides).data.split  # what is wrong with the recipe is known before the data are read
    faces, counts = _read(path, Classes.parse(labels, skip), console)
    if missing := [name for code, name in enumerate(NAMES) if code not in faces.labels]:
        raise MissingClass(
            f"{path}: no image of {', '.join(missing)}; expected all seven expressions "
            "(CK+48, which has no neutral, is a test set: `ferops data extra`)"
        )

    target = _target(path)
    # Kaggle's train.csv alone has the official counts of Training, and is not FER2013
    is_whole = UNSPLIT not in counts and set(faces.usages) == set(counts) and not _differing(counts)
    dataset = "sample" if target == SAMPLE else "fer2013" if is_whole else "other"
    console.print(_completeness(dataset, counts))

    found = {"source": target.as_posix(), "dataset": dataset, "labels": labels, "skip": skip}
    asked = overrides.get("data", {}).get("split", "official")
    found["split"] = asked if asked != "official" else faces.split or before
    overrides["data"] = {**overrides.get("data", {}), **found}
    merged = _merged(overrides)
    alone = np.full(len(faces.labels), -1)  # no duplicates known yet: only whether no split is empty is asked
    splits.assign(faces.usages, faces.labels, alone, merged.data.split, merged.data.split_seed)
    copy = partial(shutil.copytree, copy_function=shutil.copyfile) if path.is_dir() else shutil.copyfile  # links too
    write = None if path.resolve() == target.resolve() else partial(copy, path)
    with nullcontext() if dataset == "sample" else tracked(write, target, console):
        parameters.merge(overrides)
    for key, value in found.items():
        if value:
            was = f", was {before}" if key == "split" and value != before else ""
            console.print(f"params.yaml: data.{key} is {escape(value)}{was}", highlight=False)
    if recipe:
        console.print(f"params.yaml: recipe {recipe} merged in", highlight=False)
    console.print("Next: [bold]dvc repro[/bold]")


def show(console: Console) -> None:
    """Read the copy that params.yaml names, print its counts and write a sheet with examples of each expression.

    Raises:
        BadParams: params.yaml is missing or invalid.
        UnknownLayout, BadFile, BadRow, BadImage: the copy is bad or missing.
        OSError: the sheet cannot be written.
    """
    data = parameters.load().data
    console.print(f"data set in use: {data.source}", markup=False, highlight=False)
    faces, counts = _read(Path(data.source), Classes.parse(data.labels, data.skip), console)
    console.print(_completeness(data.dataset, counts))
    console.print(f"data.split is {data.split}", highlight=False)
    pictures.save_png(SHEET, pictures.contact_sheet(faces.images, faces.labels))
    console.print(f"examples: {SHEET}", highlight=False)


def add(path: Path, skip: str, console: Console) -> None:
    """Read CK+48 or JAFFE through, write its faces to data/extra and track them with DVC.

    Works in the repository's root. A set of that name that is there already is replaced. Where anything fails,
    data/extra does not change.

    Args:
        path: a folder or an archive.
        skip: classes that are left out, comma-separated.
        console: where the counts and the next command are shown.

    Raises:
        UnknownLayout, BadFile, BadImage: the data are bad.
        NotStored: the disk is full, or `dvc add` failed.
    """
    with console.status("reading"):
        found = extra_sets.read(path, Classes.parse("", skip))
    kind, counts = found.kind, {"images": (found.counts, found.kind.counts)}
    cut, different = len(found.labels) - found.central, _differing(counts)
    notes = {
        f"{different} of {len(NAMES)} counts differ: not {kind.title} in full": different,
        **{f"left out: {what}": True for what in found.left_out},
        f"faces: {cut:,} found in their picture, {found.central:,} not found and cut from its middle": kind == JAFFE,
    }
    _print_overview(console, kind.title, kind.title, counts, notes)
    target = EXTRA / kind.name
    with tracked(lambda path: extra_sets.save(path, found), target, console):
        console.print(f"{target.as_posix()}: `evaluate` scores it, nothing trains or chooses on it")
    console.print("Next: [bold]dvc repro[/bold]")


@contextmanager
def tracked(write: Callable[[Path], None] | None, target: Path, console: Console) -> Iterator[None]:
    """Write a file or folder and track it with DVC; where the block fails, undo all of it.

    A file of that name is moved aside, never written into: it may be a link into DVC's cache.

    Args:
        write: writes it under the path that it is given; None: it is there already.
        target: where it is then.
        console: where the progress is shown.

    Raises:
        NotStored: the disk is full or read-only, or `dvc add` failed.
        RepositoryError: git's index is locked, so that what DVC staged stays staged; the files are as they were.
    """
    made = [folder for folder in (target.parent.parent, target.parent) if not folder.exists()]
    beside = [target.with_name(f"{target.name}.dvc"), target.with_name(".gitignore")]
    before = {file: file.read_bytes() for file in beside if file.exists()}
    staged = _staged(beside)
    written = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".use-", dir=target.parent, ignore_cleanup_errors=True) as scratch:
            fresh, old = Path(scratch, "new"), Path(scratch, "old")
            try:
                with console.status(f"adding {escape(target.as_posix())} to DVC"):
                    if write:
                        write(fresh)
                        if target.exists():
                            target.rename(old)
                        written = True
                        fresh.rename(target)
                    _dvc_add(target)
                yield
            except BaseException:
                if written and target.exists():
                    target.rename(fresh)
                if old.exists():
                    old.rename(target)
                for file in beside:
                    file.unlink(missing_ok=True)
                    if file in before:
                        file.write_bytes(before[file])
                if staged is not None and _staged(beside) != staged:  # DVC stages them; others' entries stay
                    git.run(Path(), "update-index", "--force-remove", *map(str, beside), "--index-info", stdin=staged)
                raise
    except OSError as error:
        raise NotStored(f"{target.as_posix()} could not be written: {describe_os_error(error)}") from None
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # not empty: it is in use
                folder.rmdir()


def _merged(overrides: dict[str, Any]) -> parameters.Params:
    """Return the parameters that params.yaml would have."""
    values = parameters.load().model_dump(by_alias=True)
    return parameters.merged(values, overrides, "params.yaml with the changes asked for")


def _target(path: Path) -> Path:
    """Return the copy's path in the repository: its own where it is in it already, else directly in data/raw."""
    inside, raw = path.resolve(), RAW.resolve()
    if inside == SAMPLE.resolve():
        return SAMPLE
    if raw.is_relative_to(inside):
        raise NotStored(f"{path} holds this repository's data/raw; name the folder or file with the images alone")
    return RAW / (inside.relative_to(raw) if inside.is_relative_to(raw) else inside.name.strip())


def _staged(files: list[Path]) -> bytes | None:
    """Return these files' entries in git's index, in the form that `update-index` reads; None outside git."""
    return git.query(Path(), "--literal-pathspecs", "ls-files", "--stage", "--full-name", "--", *map(str, files))


def _dvc_add(target: Path) -> None:
    done = dvc(Path(), "add", str(target))  # not --quiet, which hides the error too
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        why = max(reversed(lines), key=lambda line: line.startswith("ERROR"), default="no message")
        way_out = f"; {git.NO_CLONE}" if "not a git repository" in why else ""
        raise NotStored(f"`dvc add {target.as_posix()}` failed: {why.removeprefix('ERROR:').strip()}{way_out}")


def _read(path: Path, classes: Classes, console: Console) -> tuple[FaceDataset, Counts]:
    """Read a copy of FER2013, print its layout and counts, and what was left out or converted.

    Counted are the images of each usage that the copy tells apart, also where one of Kaggle's three is empty.
    """
    with byte_progress(f"reading {path.name}", console) as progress:
        faces = layouts.read(path, classes, progress=progress)
    usages = ("Training", MERGED) if MERGED in faces.usages else tuple(USAGES)
    if UNSPLIT in faces.usages:
        usages = (UNSPLIT,)
    counts = {
        usage: (np.bincount(faces.labels[faces.usages == usage], minlength=len(NAMES)).tolist(), _OFFICIAL[usage])
        for usage in usages
    }
    notes = {
        **{f"left out: {what}": True for what in faces.left_out},
        f"{faces.resized:,} images of another size were resized to 48 x 48": faces.resized,
        f"{faces.recoloured:,} images in colour or of another depth were made 8-bit gray": faces.recoloured,
        "no split in it: cut by data.split_seed, stratified; official 80/10/10, random 70/30": UNSPLIT in usages,
        "PublicTest and PrivateTest are not told apart: data.split folders takes both as test": MERGED in faces.usages,
    }
    _print_overview(console, faces.layout, path.name, counts, notes)
    return faces, counts


def _print_overview(console: Console, what: str, name: str, counts: Counts, notes: Mapping[str, object]) -> None:
    """Print which layout was recognised, a table with a row per class, to fit 80 columns, and the notes that apply."""
    console.print(f"recognised: {what}", markup=False, highlight=False)
    headings = [heading for column in counts for heading in (column or "images", "[dim]official[/]")]
    table = layout.table(f"{escape(name)}: images of each class", "", *headings)
    for code, expression in enumerate([*NAMES, "all"]):
        cells = []
        for pair in counts.values():
            number, official = (column[code] if code < len(NAMES) else sum(column) for column in pair)
            colour = "default" if number == official else "yellow"
            cells += [f"[{colour}]{number:,}[/]", f"[dim]{official:,}[/]"]
        table.add_row(expression, *cells, end_section=code == len(NAMES) - 1)
    console.print(table)
    for note, applies in notes.items():
        if applies:
            console.print(note, markup=False, highlight=False)


def _completeness(dataset: str, counts: Counts) -> str:
    """Return a sentence on how complete a copy is."""
    if dataset == "sample":
        return "This is the synthetic sample, not FER2013."
    every = len(counts) * len(NAMES)
    if dataset == "fer2013":
        return f"This is FER2013 in full: all {every} counts are the official ones."
    return f"This is not FER2013 in full: {_differing(counts)} of {every} counts differ; it is taken as `other`."


def _differing(counts: Counts) -> int:
    """Return how many counts are not the official ones."""
    return sum(number != official for pair in counts.values() for number, official in zip(*pair, strict=True))
