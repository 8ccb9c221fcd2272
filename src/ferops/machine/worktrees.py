"""A commit beside the workspace: a temporary git worktree that shares DVC's cache and remotes with the clone."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from ferops.errors import FeropsError
from ferops.machine.git import WHOLE_DIFF

FOLDER: Final = Path(".dvc/tmp/ferops")
"""Ignored by git and DVC, and on the disk of DVC's cache, so that DVC can link files instead of copying them."""

# as after a clone: no hook runs, `dvc checkout` of post-checkout above all
_GIT: Final = ("git", "-c", f"core.hooksPath={os.devnull}")
_OF_DVC: Final = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_")
_OPTION: Final = re.compile(r"(?:(?P<top>remote|db)\.)?(?P<section>.+?)\.(?P<option>[^.=]+)=(?P<value>.*)")


class NoWorktree(FeropsError):
    """A commit cannot be brought beside the workspace."""


@contextmanager
def worktree(commit: str | None, root: Path = Path(), patch: bytes = b"") -> Iterator[Path]:
    """A commit's files in a folder of their own, until the block ends, whatever ends it.

    It is a git worktree: the clone's branch, index and files stay as they are. It has the clone's DVC cache, remotes
    and credentials as they are now, not as that commit had them.

    Args:
        commit: anything git knows as a commit; None: the workspace as it is, but for what git ignores.
        root: the clone.
        patch: a `git diff` to apply to it.

    Raises:
        NoWorktree: git does not know the commit, the patch does not fit, or there is no DVC here.
    """
    root = root.resolve()
    options = _dvc_options(root)
    _sweep(root)
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{socket.gethostname()}.{os.getpid()}.", dir=root / FOLDER))
    try:
        _git(root, "worktree", "add", "--quiet", "--detach", str(folder), commit or "HEAD")
        _write_options(folder / ".dvc/config.local", options)
        if commit is None:
            patch = _git(root, *WHOLE_DIFF, "HEAD")
            for name in filter(None, _git(root, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")):
                target = folder / os.fsdecode(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / os.fsdecode(name), target, follow_symlinks=False)
        if patch:
            _git(folder, "apply", "--whitespace=nowarn", given=patch)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(NoWorktree):
            _git(root, "worktree", "prune")


def environment(folder: Path) -> dict[str, str]:
    """The environment in which a worktree's own code runs, with this Python, and knows nothing of a DVC around it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_DVC)}
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "src"), os.environ.get("PYTHONPATH")])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def dvc(folder: Path, *args: str) -> None:
    """A DVC command in a worktree that may fail: what it was to bring is looked for afterwards."""
    subprocess.run(
        [sys.executable, "-m", "dvc", *args], cwd=folder, env=environment(folder), capture_output=True, check=False
    )


def _sweep(root: Path) -> None:
    """Remove what processes of this machine left that were killed; of others nothing can be known."""
    here = f"{socket.gethostname()}."
    for folder in (root / FOLDER).glob(f"{here}*"):
        owner = folder.name.removeprefix(here).partition(".")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _dvc_options(root: Path) -> dict[str, dict[str, str]]:
    """Section -> option -> value of the clone's DVC, every file of it merged, relative paths made absolute."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode or not (root / ".dvc").is_dir():
        raise NoWorktree(f"{root} is no DVC repository; run this in the root of your clone")
    options: dict[str, dict[str, str]] = {"cache": {"dir": str(root / ".dvc/cache")}}
    for line in done.stdout.splitlines():
        if named := _OPTION.fullmatch(line):
            section = f'{named["top"]} "{named["section"]}"' if named["top"] else named["section"]
            options.setdefault(section, {})[named["option"]] = named["value"]
    return options


def _write_options(path: Path, options: dict[str, dict[str, str]]) -> None:
    lines = []
    for section, values in options.items():
        lines.append(f"[{_quoted(section) if ' ' in section else section}]")
        lines += [f"    {option} = {_quoted(value)}" for option, value in values.items()]
    path.touch(mode=0o600)  # passwords of remotes
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _quoted(value: str) -> str:
    """As DVC's config files (ConfigObj) want a value that has commas, hashes or quotes in it."""
    quote = next((quote for quote in ('"', "'") if quote not in value), "'''")
    return f"{quote}{value}{quote}"


def _git(folder: Path, *args: str, given: bytes | None = None) -> bytes:
    try:
        done = subprocess.run([*_GIT, *args], cwd=folder, input=given, capture_output=True, check=False)
    except FileNotFoundError:
        raise NoWorktree("git is not installed, and the commits are in git") from None
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()] or ["no message"]
        raise NoWorktree(f"`git {' '.join(args[:2])}` failed: {lines[-1].removeprefix('fatal: ')}")
    return done.stdout
