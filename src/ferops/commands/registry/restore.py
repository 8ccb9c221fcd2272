"""`ferops restore`: rebuild an empty or lost registry from reports/registry.jsonl, git and DVC's cache or remote."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from ruamel.yaml import YAML

from ferops import params
from ferops.commands.registry.trace import source_name
from ferops.errors import FeropsError
from ferops.machine.git import RepositoryError
from ferops.machine.tensorflow import quiet_imports
from ferops.machine.worktrees import fetch, worktree
from ferops.params import BadParams
from ferops.tracking import lineage, store
from ferops.tracking.lineage import DVC_LOCK, DvcLockHistory, Source
from ferops.tracking.outputs import EXPORTED
from ferops.tracking.publishing import publish
from ferops.tracking.record import FILES
from ferops.tracking.registry import ledger, versions
from ferops.tracking.registry.ledger import Event
from ferops.tracking.store import Store, TrackingUnreachable

# DVC's outputs that `publish` needs
_NEEDED: Final = ("models/core.keras", "models/training.json", "predictions.parquet", "data/prepared/report.json")


class CannotRestore(FeropsError):
    """Files of a training are missing, or are not those of its dvc.lock."""


def restore(console: Console, root: Path = Path()) -> bool:
    """Restore every version of reports/registry.jsonl that the registry lacks: run, epochs, metrics, model, events.

    What exists is not changed, so that it can be run again. Numbers are the store's, and may be others than before; the
    description of a version has the ledger's. Aliases that are not set get the version that they had after the last
    event.

    Args:
        console: where each version's line is shown.
        root: the repository's root.

    Returns:
        Whether every version exists now.

    Raises:
        BadParams: this is not the repository's root.
        BadLedger: reports/registry.jsonl is damaged.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    params.load(root / "params.yaml")  # elsewhere MLflow would make an empty store
    path = root / ledger.REGISTRY
    events = ledger.lines(path)
    by_version: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        by_version.setdefault((str(event["model"]), str(event["weights_digest"])), []).append(event)
    if not by_version:
        console.out(f"{path} names no version: there is nothing to restore", highlight=False)
        return True
    dvc_locks = DvcLockHistory(root)
    is_complete = True
    with store.session() as opened:
        for (model, digest), own in by_version.items():
            name = f"{model}/{own[0]['version']}"
            with console.status(f"{name}, {len(by_version)} in all"):
                try:
                    result = _restore_version(opened, dvc_locks, model, digest, own, root)
                except TrackingUnreachable:
                    raise
                except FeropsError as error:
                    result, is_complete = f"cannot be restored: {error}", False
            console.out(f"{name:<16}{result}", highlight=False)
        for line in _set_aliases(opened, ledger.aliases(events)):
            console.out(line, highlight=False)
        ledger.sync(opened, path)
    return is_complete


def republish(
    source: Source | None, root: Path, *, events: Sequence[Event] = (), experiment: str | None = None
) -> tuple[Any, list[Event]]:
    """Publish a training as a run and a version, in a worktree of its commit.

    Args:
        source: its dvc.lock; None where git does not have it.
        root: the repository's root.
        events: of its weights in the ledger, to be written on the version; without any it becomes the challenger.
        experiment: name of the DVC experiment that it belongs to.

    Returns:
        MLflow's version, and its events.

    Raises:
        CannotRestore: naming the files that are missing, or that are not those of its dvc.lock.
        RepositoryError: its commit cannot be checked out.
    """
    if source is None:
        raise CannotRestore("no commit, no DVC experiment and not the workspace holds its dvc.lock")
    with worktree(source.commit, root) as folder:
        _fetch_files(folder, source)
        values = _params(folder, source)
        path = folder / ".dvc/tmp/registry.jsonl"  # a ledger for `publish` alone
        ledger.append(path, events)
        with quiet_imports():
            from ferops.model.serving.graph import load_raw_model
        load_model = partial(load_raw_model, folder / "models/core.keras", values["preprocess.median_kernel"])
        # an experiment's training is published under its name; an empty one is as unset
        with store.environment({"DVC_EXP_NAME": experiment or ""}):
            published = publish(values, load_model, folder, path=path, is_registered=True, set_challenger=not events)
        if published.version is None:
            raise CannotRestore("its network is not a Keras graph")
        return published.version, ledger.lines(path)


def _restore_version(
    opened: Store, dvc_locks: DvcLockHistory, model: str, digest: str, events: Sequence[Event], root: Path
) -> str:
    """Restore the version of these events where it, its run or an event is missing; return a description of the result.

    Raises:
        CannotRestore: naming the reason for each training that led to its weights.
    """
    found = versions.find(opened, model, digest)
    run = versions.run_of(opened, found) if found else None
    if found and run and FILES in run.data.tags and all(event in ledger.history(found) for event in events):
        return "exists already" + _if_renumbered(found, events)
    # several trainings may have led to the same weights: the first is the one that they were registered from
    trainings = [event for event in events if event["event"] in ("registered", "reproduced")]
    failed = []
    for training in (*trainings[:1], *reversed(trainings[1:])):
        source = dvc_locks.source(str(training["training"]), training.get("dvc_lock"))
        try:
            version, _ = republish(source, root, events=events, experiment=trainings[0].get("experiment"))
        except (CannotRestore, RepositoryError) as error:
            failed.append(str(error))
        else:
            return f"restored from {source_name(source)}{_if_renumbered(version, events)}"
    raise CannotRestore("; ".join(dict.fromkeys(failed)) or f"{ledger.REGISTRY} does not say what registered it")


def _if_renumbered(version: Any, events: Sequence[Event]) -> str:
    return "" if int(version.version) == events[0]["version"] else f", as version {version.version}"


def _set_aliases(opened: Store, wanted: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Set the aliases of the ledger that the registry does not have; yield a line for each."""
    for model, digests in wanted.items():
        existing = versions.aliases(opened, model)
        for alias, digest in sorted(digests.items()):
            version = versions.find(opened, model, digest)
            name = f"{model}@{alias}"
            if alias in existing:
                yield f"{name:<24}is on version {existing[alias]} already"
            elif version is None:
                yield f"{name:<24}not set: its weights {digest[:12]} are missing"
            else:
                opened.client.set_registered_model_alias(model, alias, version.version)
                yield f"{name:<24}set on version {version.version}"


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
    # `publish` needs the first, and logs the others where they exist
    outs = {out.path: out.md5 for stage in lineage.chain(source.dvc_lock) for out in stage.outs}
    # dvc fetches nothing where one of the paths is no out: an earlier ferops exported no network
    wanted = [*_NEEDED, *(path for path in outs if path.startswith((EXPORTED, "reports/validate/")))]
    if missing := [name for name in fetch(folder, wanted) if name in _NEEDED]:
        raise CannotRestore(f"{', '.join(missing)}: neither in DVC's cache nor in a default remote")
    if different := [path for path, md5 in outs.items() if _differs(folder / path, md5)]:
        raise CannotRestore(f"its commit has another {', '.join(different)} than its {DVC_LOCK} names")


def _differs(path: Path, md5: str) -> bool:
    """Return whether a file exists and is not the one in dvc.lock; folders are not checked."""
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5
