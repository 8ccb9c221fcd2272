"""Results of a flow: in its clone, in MLflow, on Prefect's server."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
from optuna.trial import create_trial
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from support import shell

from ferops.orchestration.sweeps import studies

Load = Callable[[str], ModuleType]
"""The fixture `load`."""

Typed = Callable[..., str]
"""The fixture `typed`."""


def experiments(clone: Path) -> set[str]:
    return set(shell(clone, "dvc", "exp", "list", "--name-only").stdout.split())


def kept(clone: Path, experiment: str, path: str) -> str:
    """A file of an experiment."""
    ref = shell(clone, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{experiment}").stdout.strip()
    return shell(clone, "git", "show", f"{ref}:{path}").stdout


def runs(clone: Path) -> dict[str, Any]:
    client = mlflow.MlflowClient(f"sqlite:///{clone / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("fer-vgg16").experiment_id])
    by_name = {run.info.run_name: run for run in found}
    assert len(by_name) == len(found), "no name is there twice"
    return by_name


def add_perfect_trials(clone: Path) -> Any:
    """Add five trials that no training can equal to the sweep's study, so that all others are pruned; return it."""
    (journal,) = (clone / "sweeps").glob("*.journal")
    study = studies.load(journal)
    known = next(trial for trial in study.trials if "experiment" in trial.user_attrs)
    epochs = dict.fromkeys(range(1, 9), 1.0)
    for _ in range(5):
        study.add_trial(
            create_trial(params=known.params, distributions=known.distributions, value=1.0, intermediate_values=epochs)
        )
    return study


def run_cache(clone: Path) -> set[str]:
    """What DVC can restore without running a stage."""
    return {path.name for path in (clone / ".dvc/cache/runs").rglob("*") if path.is_file()}


def tasks(client: SyncPrefectClient, state: State) -> dict[str, str]:
    only = FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
    return {run.name: run.state.type.value for run in client.read_task_runs(flow_run_filter=only) if run.state}


def artifacts(client: SyncPrefectClient, state: State) -> dict[str, str]:
    only = ArtifactFilter(flow_run_id={"any_": [state.state_details.flow_run_id]})
    return {str(artifact.key): str(artifact.data) for artifact in client.read_artifacts(artifact_filter=only)}
