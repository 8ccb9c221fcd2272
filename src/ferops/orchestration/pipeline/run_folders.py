"""Where a pipeline runs: in the user's workspace, or apart from it in a git worktree."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from ferops import params
from ferops.machine import git
from ferops.machine.files import SCRATCH
from ferops.machine.worktrees import environment, worktree
from ferops.params import BadParams
from ferops.tracking import store

_DIGITS: Final = 10


class Folder(NamedTuple):
    """A folder with dvc.yaml in it, and the environment of what runs there."""

    path: Path
    environment: Mapping[str, str]


def settings(recipe: str | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe and then the overrides, as one nested mapping.

    Args:
        recipe: name of a file in recipes/.
        overrides: dotted keys of params.yaml, as in `{"train.epochs": 3}`.

    Raises:
        BadParams: there is no such recipe or key.
    """
    nested = params.load_recipe(recipe) if recipe else {}
    known = params.flatten(params.load())
    for key, value in overrides.items():
        if key not in known:
            near = ", ".join(difflib.get_close_matches(key, known)) or "one of params.yaml's, as train.epochs"
            raise BadParams(f"there is no parameter {key!r}; expected {near}")
        *sections, last = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return nested


@contextmanager
def workspace(values: Mapping[str, Any]) -> Iterator[Folder]:
    """The user's own workspace, with parameters merged into its params.yaml.

    Raises:
        BadParams: the parameters would not be valid; nothing is changed.
    """
    if values:
        params.merge(dict(values))
    here = Path.cwd()
    yield Folder(here, environment(here))


@contextmanager
def apart(values: Mapping[str, Any], name: str, *, is_experiment: bool = False) -> Iterator[Folder]:
    """A git worktree of the clone's HEAD, for a run that leaves the user's files alone; it goes when the block ends.

    It shares the clone's DVC cache, remotes and MLflow store, and the checkpoints of trainings, so that a killed one
    goes on. Where results were kept as the DVC experiment of that name, they are there, and DVC has nothing to do.

    Args:
        values: parameters to merge, nested.
        name: of the DVC experiment.
        is_experiment: whether `publish` shall take what runs there for that experiment, not for the workspace.

    Raises:
        BadParams: the parameters would not be valid.
        RepositoryError: this is no git and DVC repository.
    """
    commit = head()
    kept = git.query(
        Path(), "rev-parse", "--verify", "--quiet", f"refs/exps/{commit[:2]}/{commit[2:]}/{name}^{{commit}}"
    )
    results = git.query(Path(), *git.WHOLE_DIFF, commit, kept.decode().strip()) if kept else None
    clone, around = Path.cwd(), {"MLFLOW_TRACKING_URI": store.tracking_uri()}
    with worktree(commit, patch=results or b"") as folder:
        if values:
            params.merge(dict(values), folder / "params.yaml")
        scratch = clone / SCRATCH
        if is_experiment:
            around["DVC_EXP_NAME"] = name
            scratch /= name  # experiments side by side may train the same network
        scratch.mkdir(parents=True, exist_ok=True)
        (folder / SCRATCH).symlink_to(scratch)
        yield Folder(folder, environment(folder) | around)
        if is_experiment and not any(scratch.iterdir()):
            scratch.rmdir()


def name_of(prefix: str, values: Mapping[str, Any]) -> str:
    """A name for what HEAD gives with these parameters: the same for the same.

    Raises:
        RepositoryError: this is no git repository.
    """
    content = json.dumps([head(), values], sort_keys=True)
    return f"{prefix}-{hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]}"


def head() -> str:
    """The clone's commit.

    Raises:
        RepositoryError: this is no git repository.
    """
    found = git.query(Path(), "rev-parse", "--verify", "--quiet", "HEAD")
    if found is None:
        raise git.RepositoryError(f"{Path.cwd()} has no git commit; run this in the root of your clone")
    return found.decode().strip()
