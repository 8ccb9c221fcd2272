"""Live logging: epochs in MLflow while a network trains. It may fail, but never ends or slows down the training."""

import queue
import sys
import threading
import time as clock
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ferops.machine import processes
from ferops.tracking import record, runs, store
from ferops.tracking.outputs import Epoch
from ferops.tracking.record import PROCESS, WEIGHTS, Record
from ferops.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

_WAIT: Final = 15.0  # seconds to wait for MLflow at the end; `publish` logs what is not logged by then


class LiveRun:
    """An MLflow run that is logged while the network trains, the processor's, memory's and GPU's load with it.

    Every call returns at once: a background thread talks to MLflow. Its first error is one line of warning on stderr,
    and logging stops; `publish` completes or rebuilds the run from the files.
    """

    def __init__(
        self,
        scratch_key: str,
        params_flat: Mapping[str, Any],
        history: Iterable[tuple[int, Mapping[str, float], float]] = (),
    ) -> None:
        """Start the run of a training, or resume that of a training that was killed.

        An unfinished run is resumed only where its epochs are those of the checkpoint, and gets the epochs that it
        lacks. Any other unfinished run of the key is an abandoned attempt and is closed as KILLED, unless it is of
        another machine, which may still be training.

        Args:
            scratch_key: key of params and data, as in models/training.json; a tag of the run.
            params_flat: flattened parameters; those up to `train` are logged.
            history: epochs in the checkpoint, as `log_epoch` takes them; none for a training from its start.
        """
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._loop, name="ferops-live", daemon=True)
        self._variables = ExitStack()
        self._broken = False
        self._opened: Store  # as the run's id set by `_begin`, before anything is logged
        self._run_id: str
        self._monitor: SystemMetricsMonitor | None = None
        self._logged: set[int] = set()
        try:
            store.disable_telemetry()
            # not in the thread: imports of the same modules in two threads can deadlock
            import mlflow.system_metrics.system_metrics_monitor  # noqa: F401

            uri = store.tracking_uri()
            epochs = [Epoch(*epoch) for epoch in history]
            wanted = record.starting(params_flat, scratch_key, clock.time(), epochs)
        except Exception as error:
            self._give_up(error)
            return
        self._variables.enter_context(store.variables(uri))
        self._thread.start()
        self._later(lambda: self._begin(uri, wanted))

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], time: float) -> None:
        """Log an epoch's metrics at step `epoch`; an epoch that the run has already is skipped.

        Args:
            epoch: 1-based.
            metrics: values by name with prefix (`train/loss`).
            time: Unix time of the epoch's end in seconds; the same as in history.csv.
        """
        copy = Epoch(epoch, dict(metrics), time)
        self._later(lambda: self._log(copy))

    def finish(self, weights_digest: str | None, ended: float | None = None) -> None:
        """End the run: FINISHED, with the digest of its weights as a tag, by which `publish` finds it, or FAILED.

        Args:
            weights_digest: as in models/training.json; None where the training gave no network. The same training,
                tried again, resumes its run.
            ended: Unix time in seconds; now by default.
        """
        moment = clock.time() if ended is None else ended
        self._later(lambda: self._end(moment, weights_digest))
        self._work.put(None)
        if self._thread.ident is None:  # it was never started
            return
        self._thread.join(_WAIT)
        if self._thread.is_alive():
            self._give_up(TimeoutError(f"no answer in {_WAIT:g} s"))
        else:
            self._variables.close()

    def _later(self, work: Callable[[], None]) -> None:
        self._work.put(lambda: None if self._broken else work())

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:
                self._give_up(error)
        if self._monitor:
            self._monitor.finish()

    def _give_up(self, error: Exception) -> None:
        if self._broken:
            return
        self._broken = True
        what = str(error) if isinstance(error, store.TrackingUnreachable) else f"MLflow: {store.reason(error)}"
        print(f"warning: {what}; training goes on, `publish` logs it afterwards", file=sys.stderr, flush=True)

    def _begin(self, uri: str, wanted: Record) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        opened = store.connect(uri)
        # from its creation on: a run of no known process, killed before it had the tag, would never be resumed
        wanted = replace(wanted, tags={**wanted.tags, PROCESS: processes.this_process()})
        run = self._resume(opened, wanted) or runs.create(opened, wanted)
        self._run_id = run.info.run_id
        runs.complete(opened, run, wanted)
        self._logged |= {epoch.epoch for epoch in wanted.epochs}
        self._opened = opened
        with suppress(Exception):  # nothing else depends on it: psutil may know no network interface, say
            self._monitor = SystemMetricsMonitor(self._run_id, resume_logging=True, tracking_uri=uri)
            self._monitor.start()

    def _resume(self, opened: Store, wanted: Record) -> "Run | None":
        """Return the run to resume, None for a new one; close abandoned attempts."""
        resumed = None
        for run in runs.unpublished(opened, wanted.origin[record.SCRATCH_KEY]):
            process = run.data.tags.get(PROCESS, "")
            if process != processes.this_process() and processes.is_running(process):
                continue
            # a finished one too: its `dvc` was killed before it wrote dvc.lock, and its checkpoint is complete
            is_finished = WEIGHTS in run.data.tags
            logged = runs.logged_epochs(opened, run)
            is_here = processes.is_local(process)
            # whether another machine's process still runs is unknown: its run is resumed by its epochs, never closed
            is_same = runs.same_attempt(logged, wanted.epochs) and (wanted.epochs or (is_here and not is_finished))
            if resumed is None and is_same:
                resumed, self._logged = run, set(logged)
            elif is_here and not is_finished:
                opened.client.set_terminated(run.info.run_id, status=runs.ABANDONED)
        return resumed

    def _log(self, epoch: Epoch) -> None:
        if epoch.epoch not in self._logged:
            runs.log_epochs(self._opened, self._run_id, [epoch])
            self._logged.add(epoch.epoch)

    def _end(self, ended: float, weights_digest: str | None) -> None:
        client = self._opened.client
        if weights_digest is not None:
            client.set_tag(self._run_id, WEIGHTS, weights_digest)
        status = "FAILED" if weights_digest is None else "FINISHED"
        client.set_terminated(self._run_id, status=status, end_time=runs.milliseconds(ended))
