"""Pruning of a trial: its epochs are reported to Optuna as they are written, and its training may be ended."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import optuna
from optuna.pruners import MedianPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ferops import params
from ferops.errors import FeropsError
from ferops.machine.files import SCRATCH
from ferops.machine.subprocesses import OnLine

_STUDY: Final = "sweep"  # the only one of its journal


class Pruned(FeropsError):
    """A training was ended by the pruner.

    Attributes:
        history: its epochs.
    """

    def __init__(self, history: Sequence[dict[str, float]]) -> None:
        super().__init__(f"pruned after epoch {len(history)}")
        self.history = history


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


def load(journal: Path) -> optuna.Study:
    """Open the study of a journal file, or create both."""
    return optuna.create_study(storage=_storage(journal), study_name=_STUDY, direction="maximize", load_if_exists=True)


def _storage(journal: Path) -> JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStorage(JournalFileBackend(str(journal)))


def _epochs(folder: Path) -> list[dict[str, float]]:
    """Return the epochs that a training has finished, of its checkpoint."""
    states = sorted((folder / SCRATCH).glob("*/progress.json"))
    return list(json.loads(states[0].read_text(encoding="utf-8"))["history"]) if states else []
