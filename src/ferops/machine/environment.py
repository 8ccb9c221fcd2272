"""What a command changes in its own process, before it does anything else."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from pathlib import Path
from threading import RLock
from typing import Final

_OF_HOOKS: Final = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
)
"""Variables that git sets for a hook: with them git and DVC use that repository and index in every worktree too."""


_STDERR: Final = RLock()


def settle() -> None:
    """Forget the repository of an enclosing git hook, and print `?` where the terminal lacks a character."""
    for name in _OF_HOOKS:
        os.environ.pop(name, None)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


@contextmanager
def muted_stderr() -> Iterator[None]:
    """Drop what native code writes to standard error in here, past `sys.stderr`; one thread at a time."""
    with _STDERR, ExitStack() as stack:
        with suppress(OSError):  # closed: there is nothing to mute
            kept = os.dup(2)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 2)
            if sys.stderr:
                sys.stderr.flush()
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


@contextmanager
def only_python_stderr() -> Iterator[None]:
    """Drop what native code writes to standard error in here, in any thread; what Python writes still appears."""
    with ExitStack() as stack:
        with suppress(OSError, ValueError, AttributeError):  # closed, none, or in memory
            if sys.stderr.fileno() == 2:
                python = os.fdopen(os.dup(2), "w", 1, sys.stderr.encoding, sys.stderr.errors)
                stack.enter_context(redirect_stderr(stack.enter_context(python)))
        stack.enter_context(muted_stderr())
        yield
