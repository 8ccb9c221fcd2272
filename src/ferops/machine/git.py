"""Run git commands."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ferops.errors import FeropsError

WHOLE_DIFF: Final = (
    "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
"""A diff that `git apply` accepts, however the user has configured git."""

NO_CLONE: Final = (
    "run this in the root of your clone; a source archive becomes one by "
    "`git init && git add --all && git commit --message start`"
)

_TIMEOUT: Final = 60.0  # seconds


class RepositoryError(FeropsError):
    """A git command failed, or a folder is no git and DVC repository."""


def run(
    folder: Path,
    *args: str,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> bytes:
    """Run a git command and return its standard output.

    Args:
        folder: working directory.
        args: of git.
        stdin: its standard input.
        environment: all of its environment; by default that of this process.
        timeout: seconds after which it is killed; by default it takes as long as it takes, as a commit hook may.

    Raises:
        RepositoryError: it fails, or git is not installed.
    """
    name = next(arg for arg in args if not arg.startswith("-") and "=" not in arg)
    try:
        # a git that is killed while it refreshes the index would leave .git/index.lock
        done = subprocess.run(
            ["git", "--no-optional-locks", *args],
            cwd=folder, input=stdin, env=environment, capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:  # not installed, say
        raise RepositoryError(f"`git {name}` failed: {error}") from None
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()] or ["no message"]
        way_out = f"; {NO_CLONE}" if "not a git repository" in lines[-1] else ""
        raise RepositoryError(f"`git {name}` failed: {lines[-1].removeprefix('fatal: ')}{way_out}")
    return done.stdout


def query(folder: Path, *args: str, stdin: bytes | None = None) -> bytes | None:
    """Return the output of a git command that only reads; None where it fails, or takes longer than a minute."""
    try:
        return run(folder, *args, stdin=stdin, timeout=_TIMEOUT)
    except RepositoryError:
        return None
