"""`ferops restore`: rebuild an empty or lost registry from reports/registry.jsonl, git and DVC's cache or remote."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ferops import params
from ferops.commands.republish import CannotRestore, republish
from ferops.commands.trace import source_name
from ferops.errors import FeropsError
from ferops.machine.git import RepositoryError
from ferops.tracking import ledger, store, versions
from ferops.tracking.ledger import Event
from ferops.tracking.lineage import DvcLockHistory
from ferops.tracking.record import FILES
from ferops.tracking.store import Store, TrackingUnreachable


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


def _restore_version(
    opened: Store, dvc_locks: DvcLockHistory, model: str, digest: str, events: Sequence[Event], root: Path
) -> str:
    """Restore the version of these events where it is not complete; return a description of the result.

    Raises:
        CannotRestore: naming the reason for each training that led to its weights.
    """
    if (found := versions.find(opened, model, digest)) and _is_complete(opened, found, events):
        return "exists already" + _if_renumbered(int(found.version), events)
    # several trainings may have led to the same weights: the first is the one that they were registered from
    trainings = [event for event in events if event["event"] in ("registered", "reproduced")]
    failed = []
    for training in (*trainings[:1], *reversed(trainings[1:])):
        source = dvc_locks.source(str(training["training"]), training.get("dvc_lock"))
        try:
            if source is None:
                raise CannotRestore("no commit, no DVC experiment and not the workspace holds its dvc.lock")
            published, _ = republish(source, root, events=events, experiment=trainings[0].get("experiment"))
        except (CannotRestore, RepositoryError) as error:
            failed.append(str(error))
        else:
            return f"restored from {source_name(source)}{_if_renumbered(published.version, events)}"
    raise CannotRestore("; ".join(dict.fromkeys(failed)) or f"{ledger.REGISTRY} does not say what registered it")


def _if_renumbered(number: int | None, events: Sequence[Event]) -> str:
    return "" if number == events[0]["version"] else f", as version {number}"


def _is_complete(opened: Store, version: Any, events: Sequence[Event]) -> bool:
    """Return whether a version has its run with all artifacts, and its events."""
    run = versions.run_of(opened, version)
    recorded = ledger.history(version)
    return run is not None and FILES in run.data.tags and all(event in recorded for event in events)


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
