"""What git knows of a folder."""

import subprocess
from pathlib import Path
from typing import Final

WHOLE_DIFF: Final = (
    "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
"""A difference that `git apply` takes, whatever the user's git is set to."""

_PATIENCE: Final = 60.0


def ask(folder: Path, *args: str, given: bytes | None = None) -> bytes | None:
    """What a git command says; None where it fails: outside a repository, without git, or no answer in a minute.

    Args:
        folder: where it runs.
        args: of git.
        given: its standard input.
    """
    try:
        # a git that is killed while it refreshes the index would leave .git/index.lock
        done = subprocess.run(
            ["git", "--no-optional-locks", *args],
            cwd=folder, input=given, capture_output=True, timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
