"""`ferops data use`: point the pipeline at a copy of FER2013, or change nothing."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape

from ferops import params as parameters
from ferops.commands.data_show import completeness, is_complete, print_overview, read
from ferops.data import splits
from ferops.errors import FeropsError, describe_os_error
from ferops.labels import MERGED, NAMES
from ferops.machine import git
from ferops.machine.worktrees import dvc

RAW: Final = Path("data/raw")
SAMPLE: Final = Path("data/sample/fer2013.csv")


class MissingClass(FeropsError):
    """The copy has no image of one of the seven expressions."""


class NotStored(FeropsError):
    """Valid data could not be stored below data/raw or data/extra; nothing has changed."""


def use(path: Path, recipe: str | None, console: Console) -> None:
    """Read a copy of FER2013 through, track it with DVC under data/raw and point params.yaml at it.

    Works in the repository's root. The synthetic sample (data/sample/fer2013.csv) is used where it is. A copy that
    does not tell PublicTest from PrivateTest sets `data.split: folders`, and says so. Where anything fails, no file is
    left in data/raw, no .dvc file and no change in params.yaml.

    Args:
        path: any copy that `ferops.data.readers.layouts.read` reads: a file or a folder.
        recipe: a name in recipes/ whose overrides are merged into params.yaml too.
        console: where the progress bar, the table of counts and the next command are shown.

    Raises:
        BadParams: there is no such recipe, or params.yaml would not be valid with it.
        UnknownLayout, BadFile, BadRow, BadImage: the data are bad.
        MissingClass: the data lack an expression.
        MissingSplit: the data lack a split of the division that params.yaml names.
        NotStored: the copy or `dvc add` failed.
    """
    overrides = parameters.load_recipe(recipe) if recipe else {}
    split = _merged(overrides).data.split  # what is wrong with the recipe is known before the data are read
    path = Path(path)
    faces = read(path, console)
    print_overview(console, path, faces)
    if missing := [name for code, name in enumerate(NAMES) if code not in faces.labels]:
        raise MissingClass(f"{path}: no image of {', '.join(missing)}; expected all seven expressions")

    sample = path.resolve() == SAMPLE.resolve()
    target = SAMPLE if sample else _target(path)
    dataset = "sample" if sample else "fer2013" if is_complete(faces) else "other"
    console.print(completeness(dataset, faces))

    if MERGED in faces.usages and split == "official":
        split = "folders"
    overrides["data"] = {**overrides.get("data", {}), "source": target.as_posix(), "dataset": dataset, "split": split}
    merged = _merged(overrides)
    alone = np.full(len(faces.labels), -1)
    splits.assign(faces.usages, faces.labels, alone, merged.data.split, merged.data.split_seed)
    write = None if path.resolve() == target.resolve() else partial(_copy, path)
    with nullcontext() if sample else tracked(write, target, console):
        parameters.merge(overrides)
    for key in ("source", "dataset", "split"):
        console.print(f"params.yaml: data.{key} is {escape(getattr(merged.data, key))}", highlight=False)
    if recipe:
        console.print(f"params.yaml: recipe {recipe} merged in", highlight=False)
    console.print("Next: [bold]dvc repro[/bold]")


def _merged(overrides: dict[str, Any]) -> parameters.Params:
    """Return the parameters that params.yaml would have."""
    values = parameters.load().model_dump(by_alias=True)
    return parameters.merged(values, overrides, "params.yaml with the changes asked for")


def _target(path: Path) -> Path:
    """Return the copy's path in the repository: its own where it is under data/raw already, else directly in it."""
    inside, raw = path.resolve(), RAW.resolve()
    if raw.is_relative_to(inside):
        raise NotStored(f"{path} holds this repository's data/raw; name the folder or file with the images alone")
    return RAW / (inside.relative_to(raw) if inside.is_relative_to(raw) else inside.name)


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
    before = {file: file.read_bytes() if file.exists() else None for file in beside}
    staged = _staged(beside)
    written = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".use-", dir=target.parent, ignore_cleanup_errors=True) as scratch:
            fresh, old = Path(scratch, "new"), Path(scratch, "old")
            try:
                if write:
                    with console.status(f"copying to {escape(target.as_posix())}"):
                        write(fresh)
                    if target.exists():
                        target.rename(old)
                    written = True
                    fresh.rename(target)
                with console.status("dvc add"):
                    _dvc_add(target)
                yield
            except BaseException:
                if written and target.exists():
                    target.rename(fresh)
                if old.exists():
                    old.rename(target)
                for file, content in before.items():
                    if content is None:
                        file.unlink(missing_ok=True)
                    else:
                        file.write_bytes(content)
                if staged is not None and _staged(beside) != staged:  # DVC stages them; others' entries stay
                    git.run(Path(), "update-index", "--force-remove", *map(str, beside), "--index-info", stdin=staged)
                raise
    except OSError as error:
        raise NotStored(f"{target.as_posix()} could not be written: {describe_os_error(error)}") from None
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # not empty: it is in use
                folder.rmdir()


def _copy(path: Path, fresh: Path) -> None:
    """Copy a file, or a folder with the targets of its links."""
    if path.is_dir():
        shutil.copytree(path, fresh, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(path, fresh)


def _staged(files: list[Path]) -> bytes | None:
    """Return these files' entries in git's index, in the form that `update-index` reads; None outside git."""
    return git.query(Path(), "--literal-pathspecs", "ls-files", "--stage", "--full-name", "--", *map(str, files))


def _dvc_add(target: Path) -> None:
    # not --quiet, which hides the error too
    done = dvc(Path(), "add", str(target))
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message")
        raise NotStored(f"`dvc add {target.as_posix()}` failed: {why.removeprefix('ERROR:').strip()}")
