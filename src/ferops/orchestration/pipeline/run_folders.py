"""Folders in which a pipeline runs: the user's workspace, or a git worktree that leaves the workspace alone."""

import copy
import difflib
import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from prefect import runtime

from ferops import params
from ferops.machine import git
from ferops.machine.files import SCRATCH
from ferops.machine.worktrees import environment, worktree
from ferops.params import BadParams
from ferops.tracking import store


class Folder(NamedTuple):
    """A folder with a dvc.yaml, and the environment variables of the processes that run in it."""

    path: Path
    environment: Mapping[str, str]


def settings(recipe: str | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a recipe with overrides in them, nested as in params.yaml.

    Args:
        recipe: name of a file in recipes/; None for the overrides alone.
        overrides: by the dotted keys of params.yaml, as in `{"train.epochs": 3}`.

    Raises:
        BadParams: there is no such recipe or key.
    """
    check_keys(overrides, params.flatten(params.load()))
    return with_values(params.load_recipe(recipe) if recipe else {}, overrides)


def check_keys(keys: Iterable[str], known: Collection[str]) -> None:
    """Check that dotted keys are parameters.

    Raises:
        BadParams: naming the first that is none, and those that look like it.
    """
    for key in keys:
        if key not in known:
            near = ", ".join(difflib.get_close_matches(key, known)) or "one of params.yaml's, as train.epochs"
            raise BadParams(f"there is no parameter {key!r}; expected {near}")


def with_values(nested: Mapping[str, Any], dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested mapping with values set by their dotted keys."""
    changed = copy.deepcopy(dict(nested))
    for key, value in dotted.items():
        *sections, last = key.split(".")
        functools.reduce(lambda section, name: section.setdefault(name, {}), sections, changed)[last] = value
    return changed


@contextmanager
def workspace(values: Mapping[str, Any]) -> Iterator[Folder]:
    """Run in the user's workspace, after the parameters were merged into its params.yaml.

    Raises:
        BadParams: the parameters are not valid; nothing is changed.
    """
    if values:
        params.merge(dict(values))
    yield Folder(Path.cwd(), environment(Path.cwd()))


@contextmanager
def isolated(values: Mapping[str, Any], name: str, *, is_experiment: bool = False) -> Iterator[Folder]:
    """Run in a git worktree of the clone's HEAD, which is removed when the block ends; the user's files stay unchanged.

    The worktree shares the clone's DVC cache, remotes, MLflow store and checkpoints, so that a training that was killed
    is resumed. Results that were saved as the DVC experiment of that name are restored, and DVC has nothing to do.

    Args:
        values: parameters to merge, nested.
        name: of the DVC experiment.
        is_experiment: whether `publish` shall attribute the run to that experiment, not to the workspace.

    Raises:
        BadParams: the parameters are not valid.
        RepositoryError: this is no git and DVC repository.
    """
    commit = head()
    saved = git.query(Path(), "rev-parse", "--verify", "--quiet", f"{experiment_ref(name)}^{{commit}}")
    results = git.query(Path(), *git.WHOLE_DIFF, commit, saved.decode().strip()) if saved else None
    clone, variables = Path.cwd(), {"MLFLOW_TRACKING_URI": store.tracking_uri()}
    with worktree(commit, patch=results or b"") as folder:
        if values:
            params.merge(dict(values), folder / "params.yaml")
        scratch = clone / SCRATCH
        if is_experiment:
            variables["DVC_EXP_NAME"] = name
            scratch /= name  # experiments side by side may train the same network
        scratch.mkdir(parents=True, exist_ok=True)
        (folder / SCRATCH).symlink_to(scratch)
        yield Folder(folder, environment(folder) | variables)
        if is_experiment and not any(scratch.iterdir()):
            scratch.rmdir()


def experiment_name(prefix: str, values: Any, commit: str | None = None) -> str:
    """Return a name that follows from a commit and parameters alone, so that the same run finds its results again.

    Args:
        prefix: of the name.
        values: JSON values.
        commit: HEAD by default.

    Raises:
        RepositoryError: this is no git repository.
    """
    return f"{prefix}-{digest([commit or head(), values])}"


def digest(content: Any) -> str:
    """Return eight hexadecimal digits of the hash of a JSON value, in which other objects stand as their `str`."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def named_by(*keys: str) -> Callable[[], str]:
    """Return a function for Prefect that names a flow run by these parameters, its data and the commit."""

    def name() -> str:
        given = runtime.flow_run.parameters
        parts = [str(given[key]) for key in keys if given.get(key)]
        with suppress(BadParams, git.RepositoryError):  # the flow itself says what is wrong
            parts += [given.get("subset") or params.load().data.dataset, head()[:10]]
        return " ".join(parts) or str(runtime.flow_run.flow_name)

    return name


def experiment_ref(name: str) -> str:
    """Return the git reference under which DVC keeps an experiment on HEAD.

    Raises:
        RepositoryError: this is no git repository.
    """
    commit = head()
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def head() -> str:
    """Return the commit that is checked out in the clone.

    Raises:
        RepositoryError: this is no git repository.
    """
    found = git.query(Path(), "rev-parse", "--verify", "--quiet", "HEAD")
    if found is None:
        raise git.RepositoryError(f"{Path.cwd()} has no git commit; {git.NO_CLONE}")
    return found.decode().strip()
