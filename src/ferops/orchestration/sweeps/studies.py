"""The Optuna study of a sweep: it samples and prunes the trials, and keeps their states in a journal file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ferops import params
from ferops.errors import FeropsError
from ferops.orchestration.sweeps import experiments, pruning
from ferops.orchestration.sweeps.experiments import Trial, TrialResult
from ferops.orchestration.sweeps.pruning import Pruning
from ferops.orchestration.sweeps.search_space import Search, digest
from ferops.tracking import runs

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

FOLDER: Final = Path("sweeps")
"""Journal files, ignored by git: beside mlflow.db, because people delete .dvc/tmp to mend DVC."""

_EXPERIMENT: Final = "experiment"  # user attributes of Optuna's trials
_REASON: Final = "reason"
_REPEATS: Final = 100  # combinations in a row that are no new ones: the space has no more


class SweepIsRunning(FeropsError):
    """Another process runs the same sweep."""


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
        self.study = pruning.load(journal)

    def ask(self) -> Iterator[Trial]:
        """Yield trials until the search has all of them: first those that failed or were interrupted, then new ones.

        A sampler gets its seed from the number of trials before, so that a sweep that was interrupted goes on with the
        trials of an uninterrupted one. Side by side TPE's also depend on which results were there.
        """
        from optuna.trial import TrialState

        search, known = self.search, self._trials()
        ended = self._ended(known)
        is_grid = search.method == "grid"
        combinations = search.combinations() if is_grid else [trial.params for trial in known.values()]
        queue = [values for values in combinations if search.trial(values).name not in ended]
        names, limit = set(known), 0 if is_grid else search.trials
        repeats = 0
        while queue or (len(names) < limit and repeats < _REPEATS):
            is_new = not queue
            if queue:
                self.study.enqueue_trial(queue.pop(0))
            self.study.sampler = _sampler(search, len(names), repeats)
            asked = self.study.ask(_distributions(search))
            trial = search.trial(asked.params)
            if is_new and trial.name in names:
                self.study.tell(asked, state=TrialState.FAIL)
                repeats += 1
                continue
            repeats = 0
            names.add(trial.name)
            asked.set_user_attr(_EXPERIMENT, trial.name)
            self._running[trial.name] = asked
            if self._warmup:
                trial = trial._replace(pruning=Pruning(str(self._journal), asked._trial_id, self._warmup))
            yield trial

    def tell(self, result: TrialResult) -> None:
        """Record the result of a trial: its accuracy on validation, or that it failed or was pruned."""
        from optuna.trial import TrialState

        trial = self._running.pop(result.trial.name)
        if result.scores:
            self.study.tell(trial, result.accuracy)
        else:
            trial.set_user_attr(_REASON, result.reason)
            self.study.tell(trial, state=TrialState.PRUNED if result.is_pruned else TrialState.FAIL)

    def ended(self) -> int:
        """Return how many trials are complete or pruned, and will not be run again."""
        return len(self._ended(self._trials()))

    def results(self) -> list[TrialResult]:
        """Return the results of all trials, the best on validation first."""
        from optuna.trial import TrialState

        known = self._trials()
        run_ids = runs.of_experiments(known)
        found = []
        for name, trial in known.items():
            scores = experiments.scores(name) if trial.state == TrialState.COMPLETE else None
            reason = "" if scores else trial.user_attrs.get(_REASON, "interrupted")
            is_pruned = trial.state == TrialState.PRUNED
            found.append(
                TrialResult(self.search.trial(trial.params), scores, reason, run_ids.get(name, ""), is_pruned=is_pruned)
            )
        return experiments.ranked(found)

    def _trials(self) -> "dict[str, FrozenTrial]":
        """Return the last attempt at each trial, by its experiment's name."""
        return {
            trial.user_attrs[_EXPERIMENT]: trial
            for trial in self.study.get_trials(deepcopy=False)
            if _EXPERIMENT in trial.user_attrs
        }

    def _ended(self, known: "dict[str, FrozenTrial]") -> set[str]:
        """Return the names of those that are pruned, or complete and still have their experiment and run."""
        from optuna.trial import TrialState

        complete = [name for name, trial in known.items() if trial.state == TrialState.COMPLETE]
        pruned = {name for name, trial in known.items() if trial.state == TrialState.PRUNED}
        return pruned | experiments.finished(complete)


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
    from dvc.lock import LockError, make_lock
    from optuna.trial import TrialState

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


def _cut_torn_line(journal: Path) -> None:
    """Cut off what a process that was killed while it wrote has left after the last line break."""
    from optuna.storages.journal import JournalFileSymlinkLock

    if not journal.exists():
        return
    lock = JournalFileSymlinkLock(str(journal))  # a worker of another cluster may still write
    lock.acquire()
    try:
        content = journal.read_bytes()
        os.truncate(journal, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _sampler(search: Search, trials: int, repeats: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler, TPESampler

    seed = int(digest([search.seed, trials, repeats]), 16)
    return TPESampler(seed=seed) if search.method == "tpe" else RandomSampler(seed=seed)


def _distributions(search: Search) -> "dict[str, BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    known = params.flatten(search.base)
    found: dict[str, BaseDistribution] = {}
    for key, choices in search.space.items():
        if isinstance(choices, list | tuple):
            found[key] = CategoricalDistribution(list(dict.fromkeys(choices)))
        else:
            kind = IntDistribution if isinstance(known[key], int) else FloatDistribution
            found[key] = kind(choices["min"], choices["max"], log=choices["log"])
    return found
