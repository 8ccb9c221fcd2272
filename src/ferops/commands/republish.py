"""Publish a training from what git and DVC keep of it: its commit, and its files in DVC's cache or remote."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from ferops import params
from ferops.errors import FeropsError
from ferops.machine.tensorflow import quiet_imports
from ferops.machine.worktrees import fetch, worktree
from ferops.params import BadParams
from ferops.tracking import ledger, lineage
from ferops.tracking.ledger import Event
from ferops.tracking.lineage import DVC_LOCK, Source
from ferops.tracking.publishing import Publication, publish

_NEEDED: Final = ("models/core.keras", "models/training.json", "predictions.parquet", "data/prepared/report.json")
"""DVC's outputs that `publish` needs."""

_LEDGER: Final = Path(".dvc/tmp/registry.jsonl")
"""The ledger of the worktree, for `publish` alone."""


class CannotRestore(FeropsError):
    """Files of a training are missing, or are not those of its dvc.lock."""


def republish(
    source: Source,
    root: Path = Path(),
    *,
    events: Sequence[Event] = (),
    experiment: str | None = None,
    set_challenger: bool = False,
) -> tuple[Publication, list[Event]]:
    """Publish a training as a run and a version, in a worktree of its commit.

    Args:
        source: its dvc.lock.
        root: the repository's root.
        events: of its weights in the ledger, to be written on the version.
        experiment: name of the DVC experiment that it belongs to.
        set_challenger: as for `publish`.

    Returns:
        The publication, and the events of the version.

    Raises:
        CannotRestore: naming the files that are missing, or that are not those of its dvc.lock.
        RepositoryError: its commit cannot be checked out.
    """
    with worktree(source.commit, root) as folder:
        _fetch_files(folder, source)
        values = _params(folder, source)
        core, kernel, path = folder / "models/core.keras", values["preprocess.median_kernel"], folder / _LEDGER
        ledger.append(path, events)
        with quiet_imports():
            from ferops.model.serving import load_raw_model
        with _as_experiment(experiment):
            published = publish(
                values,
                lambda: load_raw_model(core, kernel),
                folder,
                path=path,
                is_registered=True,
                set_challenger=set_challenger,
            )
        if published.version is None:
            raise CannotRestore("its network is not a Keras graph")
        return published, ledger.lines(path)


def _params(folder: Path, source: Source) -> dict[str, Any]:
    """Return the flattened parameters of a commit, those of its dvc.lock first; today's ferops may not know them."""
    path = folder / "params.yaml"
    try:
        values = params.flatten(params.load(path))
    except BadParams:
        values = params.flat(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    used = {key: value for stage in lineage.chain(source.dvc_lock) for key, value in stage.params.items()}
    return values | {key: value for key, value in used.items() if values.get(key) != value}


def _fetch_files(folder: Path, source: Source) -> None:
    """Fetch the pipeline's outputs of a commit from DVC's cache, else from its default remote."""
    # `publish` needs the former, and logs the latter where they exist
    outs = {out.path: out.md5 for stage in lineage.chain(source.dvc_lock) for out in stage.outs}
    wanted = [*_NEEDED, *(path for path in outs if path.startswith("reports/validate/"))]
    if missing := [name for name in fetch(folder, wanted) if name in _NEEDED]:
        raise CannotRestore(f"{', '.join(missing)}: neither in DVC's cache nor in a default remote")
    if different := [path for path, md5 in outs.items() if _differs(folder / path, md5)]:
        raise CannotRestore(f"its commit has another {', '.join(different)} than its {DVC_LOCK} names")


def _differs(path: Path, md5: str) -> bool:
    """Return whether a file exists and is not the one in dvc.lock; folders are not checked."""
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5


@contextmanager
def _as_experiment(name: str | None) -> Iterator[None]:
    """Set or unset DVC's variable for a block: an experiment's training is published under its name."""
    before = os.environ.get("DVC_EXP_NAME", "")
    os.environ["DVC_EXP_NAME"] = name or ""  # empty is as unset
    try:
        yield
    finally:
        os.environ["DVC_EXP_NAME"] = before
