"""The Optuna study of a sweep: it samples and prunes the trials, and keeps their states in a journal file."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import optuna
from dvc.lock import LockError, make_lock
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from ferops import params
from ferops.errors import FeropsError
from ferops.machine.files import SCRATCH
from ferops.machine.subprocesses import OnLine
from ferops.orchestration.pipeline import run_folders
from ferops.orchestration.sweeps import experiments
from ferops.orchestration.sweeps.experiments import Trial, TrialResult
from ferops.orchestration.sweeps.search_space import Search
from ferops.tracking import runs

FOLDER: Final = Path("sweeps")
"""Journal files, ignored by git: beside mlflow.db, because people delete .dvc/tmp to mend DVC."""

_STUDY: Final = "sweep"  # the only one of its journal
_EXPERIMENT: Final = "experiment"  # user attributes of Optuna's trials
_REASON: Final = "reason"
_REPEATS: Final = 100  # combinations in a row that are no new ones: the space has no more


class SweepIsRunning(FeropsError):
    """Another process runs the same sweep."""


class Pruned(FeropsError):
    """A training was ended by the pruner.

    Attributes:
        history: its epochs.
    """

    def __init__(self, history: Sequence[dict[str, float]]) -> None:
        super().__init__(f"pruned after epoch {len(history)}")
        self.history = history


class SweepStudy:
    """The study of a sweep, open in this process alone: it gives the trials to run and is told their results.

    Attributes:
        search: the sweep's.
        study: Optuna's.
    """

    def __init__(self, search: Search, journal: Path, *, prune: bool) -> None:
        """For `opened`."""
        self.search = search
        self._journal = journal
        self._warmup = max(1, search.base.train.epochs // 4) if prune else None
        self._running: dict[str, optuna.Trial] = {}
        self.study = load(journal)

    def ask(self) -> Iterator[Trial]:
        """Yield trials until the search has all of them: first those that failed or were interrupted, then new ones.

        A sampler gets its seed from the number of trials before, so that a sweep that was interrupted goes on with the
        trials of an uninterrupted one. Side by side TPE's also depend on which results were there.
        """
        search, known, ended = self.search, self._trials(), self.ended()
        is_grid = search.method == "grid"
        combinations = search.combinations() if is_grid else [trial.params for trial in known.values()]
        names = [search.trial(values).name for values in combinations]
        for name, values in zip(names, combinations, strict=True):
            if name not in ended:
                self.study.enqueue_trial(values)
                yield self._begin(self.study.ask({**search.space}))
        repeats = 0
        while len(names) < search.trials and repeats < _REPEATS:
            self.study.sampler = _sampler(search, len(names), repeats)
            asked = self.study.ask({**search.space})
            name = search.trial(asked.params).name
            if name in names:
                self.study.tell(asked, state=TrialState.FAIL)
                repeats += 1
            else:
                repeats = 0
                names.append(name)
                yield self._begin(asked)

    def tell(self, result: TrialResult) -> None:
        """Record the result of a trial: its accuracy on validation, or that it failed or was pruned."""
        trial = self._running.pop(result.trial.name)
        if result.scores:
            self.study.tell(trial, result.accuracy)
        else:
            trial.set_user_attr(_REASON, result.reason)
            self.study.tell(trial, state=TrialState.PRUNED if result.is_pruned else TrialState.FAIL)

    def ended(self) -> set[str]:
        """Return the names of the trials that will not run again: pruned, or complete with experiment and run."""
        known = self._trials()
        complete = [name for name, trial in known.items() if trial.state == TrialState.COMPLETE]
        pruned = {name for name, trial in known.items() if trial.state == TrialState.PRUNED}
        return pruned | experiments.finished(complete)

    def results(self) -> list[TrialResult]:
        """Return the results of all trials, the best on validation first."""
        known = self._trials()
        run_ids = runs.of_experiments(known)
        found = []
        for name, one in known.items():
            scores = experiments.scores(name) if one.state == TrialState.COMPLETE else None
            reason = "" if scores else one.user_attrs.get(_REASON, "interrupted")
            is_pruned = one.state == TrialState.PRUNED
            trial = self.search.trial(one.params)
            found.append(TrialResult(trial, scores, reason, run_ids.get(name, ""), is_pruned=is_pruned))
        return experiments.ranked(found)

    def _begin(self, asked: optuna.Trial) -> Trial:
        """Return the trial that Optuna asks for, known by the name of its experiment from here on."""
        trial = self.search.trial(asked.params)
        asked.set_user_attr(_EXPERIMENT, trial.name)
        self._running[trial.name] = asked
        if self._warmup is None:
            return trial
        return trial._replace(watch=partial(watch, self._journal, asked.number, self._warmup))

    def _trials(self) -> Mapping[str, FrozenTrial]:
        """Return the last attempt at each trial, by its experiment's name."""
        trials = self.study.get_trials(deepcopy=False)
        return {one.user_attrs[_EXPERIMENT]: one for one in trials if _EXPERIMENT in one.user_attrs}


@contextmanager
def opened(search: Search, *, prune: bool) -> Iterator[SweepStudy]:
    """Open the study of a search, or a new one, for this process alone.

    What a killed sweep left is mended: half a last line of the journal is cut off, and trials that seem to run have
    failed.

    Args:
        search: to which it belongs.
        prune: end trainings whose accuracy on validation is below the median's.

    Raises:
        SweepIsRunning: another process has it open.
    """
    journal = (FOLDER / f"{search.name}-{search.key}.journal").absolute()  # Optuna waits for ever for a relative lock
    journal.parent.mkdir(exist_ok=True)
    lock = make_lock(str(journal.with_suffix(".running")))
    try:
        lock.lock()
    except LockError:
        raise SweepIsRunning(f"{search.name} is running already, in another process") from None
    try:
        _cut_torn_line(journal)
        opened = SweepStudy(search, journal, prune=prune)
        for _ in opened.study.get_trials(states=[TrialState.WAITING]):
            opened.study.ask()
        for trial in opened.study.get_trials(states=[TrialState.RUNNING]):
            opened.study.tell(trial.number, state=TrialState.FAIL)
        yield opened
    finally:
        lock.unlock()


def load(journal: Path) -> optuna.Study:
    """Open the study of a journal file, or create both."""
    return optuna.create_study(storage=_storage(journal), study_name=_STUDY, direction="maximize", load_if_exists=True)


def watch(journal: Path, number: int, warmup: int, folder: Path, on_line: OnLine) -> OnLine:
    """Return a callback for the lines of a pipeline that reports every epoch of its training to the study.

    The pruner is Optuna's median rule: a trial ends after an epoch up to which its best accuracy on validation is
    below the median of the other trials; five have to be complete first.

    Args:
        journal: absolute path of the study's journal file.
        number: of the trial in the study.
        warmup: the first epoch after which it may be pruned.
        folder: in which the pipeline runs.
        on_line: called with every line too.

    Returns:
        The callback; it raises `Pruned`, which ends the process that printed the line. Not after the last epoch:
        only the evaluation is left then.
    """
    storage = _storage(journal)
    pruner = MedianPruner(n_startup_trials=5, n_warmup_steps=warmup)
    study = optuna.load_study(study_name=_STUDY, storage=storage, pruner=pruner)
    study_id = storage.get_study_id_from_name(_STUDY)
    trial = optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(study_id, number))
    epochs = params.load(folder / "params.yaml").train.epochs
    reported = 0

    def on_each(line: str) -> None:
        nonlocal reported
        on_line(line)
        history = _epochs(folder)
        for row in history[reported:]:
            trial.report(row["val/accuracy"], int(row["epoch"]))
        if reported < len(history) < epochs and trial.should_prune():
            raise Pruned(history)
        reported = len(history)

    return on_each


def _storage(journal: Path) -> JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStorage(JournalFileBackend(str(journal)))


def _cut_torn_line(journal: Path) -> None:
    """Cut off what a process that was killed while it wrote has left after the last line break."""
    journal.touch()
    lock = JournalFileSymlinkLock(str(journal))  # a worker of another cluster may still write
    lock.acquire()
    try:
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
    finally:
        lock.release()


def _sampler(search: Search, trials: int, repeats: int) -> BaseSampler:
    seed = int(run_folders.digest([search.seed, trials, repeats]), 16)
    return TPESampler(seed=seed) if search.method == "tpe" else RandomSampler(seed=seed)


def _epochs(folder: Path) -> list[dict[str, float]]:
    """Return the epochs that a training has finished, of its checkpoint."""
    states = sorted((folder / SCRATCH).glob("*/progress.json"))
    return list(json.loads(states[0].read_text(encoding="utf-8"))["history"]) if states else []
