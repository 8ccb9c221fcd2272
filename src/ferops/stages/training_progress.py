"""Progress of a training: a bar and a line for each epoch on the terminal, the epochs' metrics in MLflow."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ferops import params as parameters
from ferops.model.training import fitting
from ferops.tracking.live import LiveRun


class TrainingProgress(Progress):
    """A progress bar that also prints and logs the epochs; where the output is no terminal there is no bar."""

    def __init__(self, params: parameters.Params, scratch: Path, *, is_run: bool = True) -> None:
        """Open the MLflow run; epochs that an interrupted training has finished are part of it.

        Args:
            params: all parameters.
            scratch: folder of the training's checkpoints.
            is_run: false for a training that is only printed, not to be published.
        """
        self._epochs = params.train.epochs
        finished = fitting.load_progress(scratch).history
        epochs = [_logged(epoch) for epoch in finished]
        self._live = LiveRun(scratch.name, parameters.flatten(params), epochs) if is_run else None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        super().__init__(*columns, transient=True, disable=not Console().is_terminal)
        self._bar = self.add_task("training", total=None)
        if finished:
            self.say(f"going on after epoch {len(finished)} of {self._epochs}")

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Remove the bar; a training that diverged ends its run as failed, an interrupted one is resumed in it."""
        self.stop()
        if self._live and error is fitting.Diverged:
            self._live.finish(None)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def on_features(self, done: int, total: int) -> None:
        """Show how many images the frozen blocks have seen."""
        self.update(self._bar, description="frozen blocks", completed=done, total=total)

    def on_batch(self, epoch: int, batch: int, batches: int) -> None:
        """Show that `batch` of `batches` of an epoch is done."""
        self.update(self._bar, description=f"epoch {epoch}/{self._epochs}", completed=batch, total=batches)

    def on_epoch(self, epoch: fitting.EpochMetrics) -> None:
        """Print and log a finished epoch."""
        self.console.out(
            f"epoch {epoch['epoch']:>3.0f}/{self._epochs}  "
            f"train loss {epoch['train/loss']:.3f} accuracy {epoch['train/accuracy']:.3f}  "
            f"validation loss {epoch['val/loss']:.3f} accuracy {epoch['val/accuracy']:.3f}",
            highlight=False,
        )
        if self._live:
            self._live.log_epoch(*_logged(epoch))

    def finish(self, progress: fitting.Progress, weights_digest: str, ended: float) -> None:
        """End the MLflow run of a network that is saved; say so where it took fewer epochs than it might have."""
        if (done := len(progress.history)) < self._epochs:
            minutes = progress.seconds / 60
            self.say(f"ended after {done} of {self._epochs} epochs, {minutes:.1f} minutes")
        if self._live:
            self._live.finish(weights_digest, ended)


def _logged(epoch: fitting.EpochMetrics) -> tuple[int, dict[str, float], float]:
    """Return number, metrics and time of an epoch, as MLflow gets them."""
    metrics = {name: value for name, value in epoch.items() if name not in ("epoch", "time")}
    return int(epoch["epoch"]), metrics, epoch["time"]
