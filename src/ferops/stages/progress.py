"""Progress of a training on a terminal: a bar for the batches, a line for every finished epoch."""

from collections.abc import Mapping, Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EpochBar:
    """A context manager; where the output is no terminal only the lines are printed."""

    def __init__(self, epochs: int, *, done: Sequence[Mapping[str, float]] = ()) -> None:
        """Prepare for `epochs` epochs, of which those in `done` were finished by an earlier run."""
        console = Console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._epochs = epochs
        if done:
            console.print(f"going on after epoch {len(done)} of {epochs}")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        self._task = self._bar.add_task("training", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away; the lines stay."""
        self._bar.stop()

    def advance(self, epoch: int, batch: int, batches: int) -> None:
        """Show that `batch` of `batches` of an epoch is done."""
        self._bar.update(self._task, description=f"epoch {epoch}/{self._epochs}", completed=batch, total=batches)

    def finish(self, row: Mapping[str, float]) -> None:
        """Print a finished epoch."""
        train, val = ({name: row[f"{split}/{name}"] for name in ("loss", "accuracy")} for split in ("train", "val"))
        self._bar.console.print(
            f"epoch {row['epoch']:>3.0f}/{self._epochs}  "
            f"train loss {train['loss']:.3f} accuracy {train['accuracy']:.3f}  "
            f"validation loss {val['loss']:.3f} accuracy {val['accuracy']:.3f}",
            highlight=False,
            soft_wrap=True,
        )
