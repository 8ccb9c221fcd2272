"""Check out a commit into a temporary git worktree that shares DVC's cache and remotes with the clone."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from ferops.machine import git
from ferops.machine.git import RepositoryError
from ferops.machine.subprocesses import UTF_8

FOLDER: Final = Path(".dvc/tmp/ferops")
"""Ignored by git and DVC, and on the disk of DVC's cache, so that DVC can link files instead of copying them."""

_NO_HOOKS: Final = ("-c", f"core.hooksPath={os.devnull}")
"""As after a clone: no hook runs, above all not post-checkout with its `dvc checkout`."""

_DVC_VARIABLES: Final = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_")
_OPTION: Final = re.compile(r"(?:(?P<top>remote|db)\.)?(?P<section>.+?)\.(?P<option>[^.=]+)=(?P<value>.*)")


@contextmanager
def worktree(commit: str | None, root: Path = Path(), patch: bytes = b"") -> Iterator[Path]:
    """Check out a commit into a folder of its own, and remove the folder when the block ends, also by an exception.

    It is a git worktree: the clone's branch, index and files do not change. It uses the clone's present DVC cache,
    remotes and credentials, not those in that commit.

    Args:
        commit: anything that git resolves to a commit; None: the workspace with its changes, without ignored files.
        root: the clone.
        patch: a `git diff` to apply to it.

    Yields:
        The folder.

    Raises:
        RepositoryError: git does not know the commit, the patch does not fit, or this is no DVC repository.
    """
    root = root.resolve()
    config = _dvc_config(root)
    _remove_abandoned(root)
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{socket.gethostname()}.{os.getpid()}.", dir=root / FOLDER))
    try:
        git.run(root, *_NO_HOOKS, "worktree", "add", "--quiet", "--detach", str(folder), commit or "HEAD")
        local = folder / ".dvc/config.local"
        local.touch(mode=0o600)  # it may hold passwords of remotes
        local.write_text(config, encoding="utf-8", errors="surrogateescape")
        if commit is None:
            patch = git.run(root, *git.WHOLE_DIFF, "HEAD")
            for name in filter(None, git.run(root, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")):
                target = folder / os.fsdecode(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / os.fsdecode(name), target, follow_symlinks=False)
        if patch:
            git.run(folder, "apply", "--whitespace=nowarn", stdin=patch)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        git.query(root, "worktree", "prune")


def environment(folder: Path) -> dict[str, str]:
    """Return an environment for a worktree's own code, with this Python and without an enclosing DVC's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DVC_VARIABLES)}
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "src"), os.environ.get("PYTHONPATH")])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def dvc(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a DVC command in a clone or worktree; callers check its status, or that the files they need are there."""
    command, variables = [sys.executable, "-m", "dvc", *args], environment(folder) | UTF_8
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, encoding="utf-8", errors="replace", check=False
    )


def fetch(folder: Path, paths: Iterable[str]) -> list[str]:
    """Fetch files of a worktree from DVC's cache, else from its default remote; return those that neither has."""
    missing = [*paths]
    for command in ("checkout", "pull"):
        if missing := [path for path in missing if not (folder / path).exists()]:
            dvc(folder, command, *missing)
    return [path for path in missing if not (folder / path).exists()]


def _remove_abandoned(root: Path) -> None:
    """Remove the worktrees of killed processes of this machine; which ones run elsewhere is unknown."""
    prefix = f"{socket.gethostname()}."
    for folder in (root / FOLDER).glob(f"{prefix}*"):
        pid = folder.name.removeprefix(prefix).partition(".")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _dvc_config(root: Path) -> str:
    """Return the clone's DVC options, of all config files and with absolute paths, as one config file."""
    done = dvc(root, "config", "--list")
    if done.returncode or not (root / ".dvc").is_dir():
        raise RepositoryError(f"{root} is no DVC repository; {git.NO_CLONE}")
    options: dict[str, dict[str, str]] = {"cache": {"dir": str(root / ".dvc/cache")}}
    for match in filter(None, map(_OPTION.fullmatch, done.stdout.splitlines())):
        section = _quoted(f'{match["top"]} "{match["section"]}"') if match["top"] else match["section"]
        options.setdefault(section, {})[match["option"]] = match["value"]
    lines = []
    for section, values in options.items():
        lines += [f"[{section}]", *(f"    {option} = {_quoted(value)}" for option, value in values.items())]
    return "\n".join([*lines, ""])


def _quoted(value: str) -> str:
    """Quote a value with commas, hashes or quotes in it for DVC's config files (ConfigObj)."""
    quote = next((quote for quote in ('"', "'") if quote not in value), "'''")
    return f"{quote}{value}{quote}"
