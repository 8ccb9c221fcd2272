"""A progress bar for files that are read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def byte_progress(description: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar in bytes while the block runs; none where the console is not a terminal.

    Args:
        description: the text beside the bar.
        console: the terminal; the bar is removed from it when the block ends.

    Yields:
        What moves the bar: a function of (bytes read, bytes in all).
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
