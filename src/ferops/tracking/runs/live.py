"""Epochs in MLflow while a network trains: it may fail, but it never ends or slows down the training."""

import queue
import sys
import tempfile
import threading
import time as clock
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from ferops.machine import processes
from ferops.tracking import store
from ferops.tracking.lineage.identity import current_commit, requirements_hash
from ferops.tracking.runs import describe
from ferops.tracking.tags import PROCESS, SCRATCH_KEY, TRAINING, WEIGHTS_DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

GIVEN_UP: Final = "KILLED"
"""Status of an attempt that no training will go on with."""

SAME_MOMENT: Final = 1.0
"""Seconds by which the time of an epoch may differ between a file and the store."""


class Epoch(NamedTuple):
    """One finished epoch: 1-based number, metrics (`train/loss`, ...), Unix time of its end in seconds."""

    epoch: int
    metrics: Mapping[str, float]
    time: float


class LiveRun:
    """An MLflow run that grows while the network trains.

    Every call returns at once: a thread of its own talks to MLflow. The first error is one line of warning, and the
    rest is left to `publish`, which completes or rebuilds the run from the files.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        """For `open`; nothing is started here."""
        self._warn = warn
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._loop, name="ferops-live", daemon=True)
        self._broken = False
        self._uri = ""
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._logged: set[int] = set()

    @classmethod
    def open(
        cls,
        scratch_key: str,
        params_flat: Mapping[str, Any],
        *,
        history: Iterable[tuple[int, Mapping[str, float], float]] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> Self:
        """Start the run of a training, or go on in the one that a killed training has left.

        Args:
            scratch_key: key of params and data, as in models/training.json; the run carries it as a tag.
            params_flat: flattened parameters; those up to `train` are logged.
            history: epochs, as `log_epoch` takes them, that the checkpoint holds; `()`: a training from its start.
                An unfinished run is taken up only where its epochs are these, and gets those that it lacks; any other
                is an attempt that was given up and is closed as KILLED, unless it is of another machine, which may
                be training still. None takes up any unfinished run of the key on this machine.
            warn: where the one line of warning goes; stderr by default.
        """
        live = cls(warn or _to_stderr)
        try:
            store.quiet()
            import mlflow  # noqa: F401  # not in the thread: two threads that import the same modules can trip each other up

            live._uri = store.tracking_uri()
            done = None if history is None else [Epoch(*epoch) for epoch in history]
            started = clock.time()
            name = describe.run_name(params_flat, started)
            params = describe.run_params(params_flat)
            commit = current_commit()
            tags = {
                **describe.run_tags(commit, requirements_hash()),
                SCRATCH_KEY: scratch_key,
                PROCESS: processes.this_process(),
            }
            diff = commit.diff if commit else b""
        except Exception as error:
            live._give_up(error)
            return live
        live._thread.start()
        live._later(lambda: live._begin(params, tags, name, started, done, diff))
        for epoch in done or ():
            live.log_epoch(*epoch)
        return live

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], time: float) -> None:
        """Log an epoch's metrics at step `epoch` and the time given; an epoch that the run has is left as it is.

        Args:
            epoch: 1-based.
            metrics: name with its prefix -> value.
            time: Unix time of the epoch's end, in seconds; the same as in history.csv.
        """
        copy = Epoch(epoch, dict(metrics), time)
        self._later(lambda: self._log(copy))

    def finish(self, weights_digest: str, ended: float | None = None, *, wait: float = 15.0) -> None:
        """End the run with the digest of its weights, by which `publish` knows it.

        Args:
            weights_digest: as in models/training.json.
            ended: Unix time in seconds; now by default.
            wait: seconds after which what is not yet logged is left to `publish`.
        """
        moment = clock.time() if ended is None else ended
        self._later(lambda: self._end(moment, weights_digest))
        self._close(wait)

    def fail(self) -> None:
        """End the run as FAILED: no network came of the training. The same training, tried again, goes on in it."""
        moment = clock.time()
        self._later(lambda: self._end(moment))
        self._close()

    def flush(self, wait: float = 15.0) -> bool:
        """Wait until all that was said so far is logged; whether it was, within so many seconds."""
        done = threading.Event()
        self._work.put(done.set)
        return self._thread.is_alive() and done.wait(wait) and not self._broken

    def _close(self, wait: float = 15.0) -> None:
        self._work.put(None)
        if self._broken or not self._thread.is_alive():
            return
        self._thread.join(wait)
        if self._thread.is_alive():
            self._give_up(TimeoutError(f"no answer in {wait:g} s"))

    def _later(self, work: Callable[[], None]) -> None:
        self._work.put(lambda: None if self._broken else work())

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                with store.impatience():
                    work()
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._broken:
            return
        self._broken = True
        what = str(error) if isinstance(error, store.TrackingUnreachable) else f"MLflow: {store.reason(error)}"
        self._warn(f"warning: {what}; training goes on, `publish` logs it afterwards")

    def _begin(self, params: Mapping[str, str], tags: Mapping[str, str], name: str, started: float,
               history: list[Epoch] | None, diff: bytes) -> None:  # fmt: skip
        from mlflow.entities import Param, RunTag

        opened = store.connect(self._uri)
        client = opened.client
        run = self._take_up(opened, tags[SCRATCH_KEY], history)
        if run is None:
            with store.once():
                run = client.create_run(
                    opened.experiment_id, start_time=milliseconds(started), tags=dict(tags), run_name=name
                )
            log_diff(client, run.info.run_id, diff)
        self._run_id = run.info.run_id
        missing = [Param(key, value) for key, value in params.items() if key not in run.data.params]
        client.log_batch(self._run_id, params=missing, tags=[RunTag(PROCESS, tags[PROCESS])])
        if run.info.status != "RUNNING":
            client.update_run(self._run_id, status="RUNNING")
        self._client = client

    def _take_up(self, opened: store.Store, scratch_key: str, history: list[Epoch] | None) -> "Run | None":
        client = opened.client
        mine = None
        for run in unpublished_runs(opened, scratch_key):
            process = run.data.tags.get(PROCESS, "")
            if _is_another(process):
                continue
            # a finished one too: its `dvc` was killed before dvc.lock knew of it, so its checkpoint is at its end
            is_finished = WEIGHTS_DIGEST in run.data.tags
            logged = logged_epochs(client, run)
            is_same = history is None or same_attempt(logged, history)
            is_here = processes.is_local(process)
            # of another machine's process nothing is known: its run is taken up by its epochs alone, and never closed
            if mine is None and is_same and (history or (is_here and not is_finished)):
                mine, self._logged = run, set(logged)
            elif is_here and not is_finished:
                client.set_terminated(run.info.run_id, status=GIVEN_UP)
        return mine

    def _log(self, epoch: Epoch) -> None:
        if epoch.epoch in self._logged or self._client is None:
            return
        self._client.log_batch(self._run_id, metrics=epoch_metrics(epoch))
        self._logged.add(epoch.epoch)

    def _end(self, ended: float, weights_digest: str | None = None) -> None:
        if self._client is None:
            return
        if weights_digest is not None:
            self._client.set_tag(self._run_id, WEIGHTS_DIGEST, weights_digest)
        status = "FAILED" if weights_digest is None else "FINISHED"
        self._client.set_terminated(self._run_id, status=status, end_time=milliseconds(ended))


def log_diff(client: "MlflowClient", run_id: str, diff: bytes) -> None:
    """Keep what was not committed when a training began: whoever traces it needs it beside the commit."""
    if not diff or len(diff) > describe.MAX_DIFF:
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, Path(describe.DIFF).name)
        path.write_bytes(diff)
        client.log_artifact(run_id, str(path), str(Path(describe.DIFF).parent))


def unpublished_runs(opened: store.Store, scratch_key: str) -> "list[Run]":
    """Runs of a scratch key that `publish` has not recorded and nobody has given up, newest first."""
    found = opened.client.search_runs([opened.experiment_id], f"tags.`{SCRATCH_KEY}` = '{scratch_key}'")
    return [run for run in found if run.info.status != GIVEN_UP and TRAINING not in run.data.tags]


def logged_epochs(client: "MlflowClient", run: "Run") -> dict[int, float]:
    """Epochs that a run holds -> their Unix times in seconds."""
    series = next((name for name in ("val/loss", *sorted(run.data.metrics)) if name in run.data.metrics), None)
    points = client.get_metric_history(run.info.run_id, series) if series else []
    return {point.step: point.timestamp / 1000 for point in points if point.step > 0}


def same_attempt(logged: Mapping[int, float], history: Iterable[Epoch]) -> bool:
    """Whether a run's epochs are those of a history; the last one may be ahead of it, logged but not yet saved."""
    times = {epoch.epoch: epoch.time for epoch in history}
    ahead = set(logged) - set(times)
    return all(abs(logged[n] - times[n]) < SAME_MOMENT for n in logged if n in times) and ahead <= {
        max(times, default=0) + 1
    }


def epoch_metrics(epoch: Epoch) -> "list[Metric]":
    """An epoch as MLflow's metrics: step = epoch, timestamp = its end."""
    from mlflow.entities import Metric

    return [Metric(name, float(value), milliseconds(epoch.time), epoch.epoch) for name, value in epoch.metrics.items()]


def milliseconds(seconds: float) -> int:
    """Unix seconds -> MLflow's milliseconds."""
    return round(seconds * 1000)


def _is_another(process: str) -> bool:
    """Whether another process on this machine still writes to a run."""
    return process != processes.this_process() and processes.is_running(process)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
