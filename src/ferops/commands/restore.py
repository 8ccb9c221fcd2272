"""`ferops restore`: rebuild an empty or lost registry from reports/registry.jsonl, git and DVC's cache or remote."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from ruamel.yaml import YAML

from ferops import params
from ferops.commands.trace import source_name
from ferops.errors import FeropsError
from ferops.machine.git import RepositoryError
from ferops.machine.tensorflow import quiet_imports
from ferops.machine.worktrees import fetch, worktree
from ferops.params import BadParams
from ferops.tracking import store, tags
from ferops.tracking.lineage import origins
from ferops.tracking.lineage.origins import DVC_LOCK, DvcLockHistory, Source
from ferops.tracking.registry import ledger, versions
from ferops.tracking.registry.ledger import Event
from ferops.tracking.registry.versions import CHALLENGER
from ferops.tracking.runs.publishing import publish
from ferops.tracking.store import MODEL, Store, TrackingUnreachable

_NEEDED: Final = ("models/core.keras", "models/training.json", "predictions.parquet", "data/prepared/report.json")
"""DVC's outputs that `publish` needs."""

_LEDGER: Final = Path(".dvc/tmp/registry.jsonl")
"""A ledger for `publish` alone, with the version's number; the clone's own already has all events."""


class CannotRestore(FeropsError):
    """Files of a version are missing, or are not those of its dvc.lock."""


def restore(console: Console, root: Path = Path()) -> bool:
    """Restore every version of reports/registry.jsonl that the registry lacks: run, epochs, metrics, model, events.

    What exists is not changed, so that it can be run again. Versions keep their numbers where those are free. Aliases
    that are not set get the version that they had after the last event.

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
    by_digest: dict[str, list[Event]] = {}
    for event in events:
        by_digest.setdefault(str(event["weights_digest"]), []).append(event)
    if not by_digest:
        console.out(f"{path} names no version: there is nothing to restore", highlight=False)
        return True
    dvc_locks = DvcLockHistory(root)
    is_complete = True
    with store.session() as opened:
        for digest in _in_order(opened, by_digest):
            own = by_digest[digest]
            name = f"version {own[0]['version']}"
            with console.status(f"{name}, {len(by_digest)} in all"):
                try:
                    result = _restore_version(opened, dvc_locks, own, root)
                    _restore_events(opened, digest, own)
                except TrackingUnreachable:
                    raise
                except FeropsError as error:
                    result, is_complete = f"cannot be restored: {error}", False
            console.out(f"{name:<12}{result}", highlight=False)
        for line in _set_aliases(opened, events):
            console.out(line, highlight=False)
        ledger.sync(opened, path)
    return is_complete


def _in_order(opened: Store, by_digest: Mapping[str, Sequence[Event]]) -> list[str]:
    """Sort digests by version number, since MLflow only counts upwards; those whose number is taken come last."""
    taken = set(range(_highest(opened) + 1))
    free: list[str] = []
    late: list[str] = []
    for digest, events in sorted(by_digest.items(), key=lambda item: int(item[1][0]["version"])):
        number = int(events[0]["version"])
        (late if number in taken else free).append(digest)
        taken.add(number)
    return free + late


def _highest(opened: Store) -> int:
    versions = opened.client.search_model_versions(f"name = '{MODEL}'")
    return max((int(version.version) for version in versions), default=0)


def _restore_version(opened: Store, dvc_locks: DvcLockHistory, events: Sequence[Event], root: Path) -> str:
    """Restore the version of these events where it is not complete; return a description of the result.

    Raises:
        CannotRestore: naming the reason for each training that led to its weights.
    """
    number, digest = int(events[0]["version"]), str(events[0]["weights_digest"])
    found = versions.find(opened, digest)
    if found is not None and _is_complete(opened, found):
        return "exists already" + _if_renumbered(int(found.version), number)
    # several trainings may have led to the same weights: the first is the one that they were registered from
    trainings = [event for event in events if event["event"] in ("registered", "reproduced")]
    failed = []
    for training in (*trainings[:1], *reversed(trainings[1:])):
        source = dvc_locks.source(str(training["training"]), training.get("dvc_lock"))
        known: list[Event] = [{**trainings[0], "training": training["training"]}]
        if found is None and number <= _highest(opened):  # its number is taken: let publish choose one that is new
            known = [event for event in ledger.lines(root / ledger.REGISTRY) if event["weights_digest"] != digest]
        try:
            if source is None:
                raise CannotRestore("no commit, no DVC experiment and not the workspace holds its dvc.lock")
            version = _publish(source, known, trainings[0].get("experiment"), root)
        except (CannotRestore, RepositoryError) as error:
            failed.append(str(error))
        else:
            return f"restored from {source_name(source)}{_if_renumbered(version, number)}"
    raise CannotRestore("; ".join(dict.fromkeys(failed)) or f"{ledger.REGISTRY} does not say what registered it")


def _publish(source: Source, known: Sequence[Event], experiment: str | None, root: Path) -> int:
    """Publish the outputs of a commit with a ledger of its own that has only `known`; return the version's number."""
    with worktree(source.commit, root) as folder:
        _fetch_files(folder, source)
        values = _params(folder, source)
        core, kernel, path = folder / "models/core.keras", values["preprocess.median_kernel"], folder / _LEDGER
        ledger.append(path, known)
        with _as_experiment(experiment):
            with quiet_imports():
                from ferops.model.serving import load_raw_model
            published = publish(values, lambda: load_raw_model(core, kernel), folder, path=path, set_challenger=False)
    if published.version is None:
        raise CannotRestore("its network is not a Keras graph")
    return published.version.number


def _params(folder: Path, source: Source) -> dict[str, Any]:
    """Return the flattened parameters of a commit, those of its dvc.lock first; today's ferops may not know them."""
    path = folder / "params.yaml"
    try:
        values = params.flatten(params.load(path))
    except BadParams:
        values = params.flat(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    used = {key: value for stage in origins.chain(source.dvc_lock) for key, value in stage.params.items()}
    return values | {key: value for key, value in used.items() if values.get(key) != value}


def _if_renumbered(number: int, before: int) -> str:
    return "" if number == before else f", as version {number}: the number {before} is taken"


def _is_complete(opened: Store, version: Any) -> bool:
    """Return whether a version has its run with all artifacts; an interrupted restore goes on where it was."""
    run = versions.run_of(opened, version)
    return run is not None and tags.ATTACHED in run.data.tags and version.tags.get(tags.STATE) == "registered"


def _fetch_files(folder: Path, source: Source) -> None:
    """Fetch the pipeline's outputs of a commit from DVC's cache, else from its default remote.

    Raises:
        CannotRestore: naming the files that neither has, or that are not those of its dvc.lock.
    """
    # `publish` needs the former, and logs the latter where they exist
    outs = {out.path: out.md5 for stage in origins.chain(source.dvc_lock) for out in stage.outs}
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


def _restore_events(opened: Store, digest: str, events: Sequence[Event]) -> None:
    """Put the events of the ledger on a version; its restoration is no event."""
    version = versions.find(opened, digest)
    if version is None:
        return
    existing = {(event["time"], event["event"]): event for event in ledger.history(version)}
    for event in events:
        if existing.get((event["time"], event["event"])) != event:
            ledger.tag(opened, int(version.version), event)
    if tags.WAS_CHALLENGER not in version.tags and any(event.get("alias") == CHALLENGER for event in events):
        opened.client.set_model_version_tag(MODEL, version.version, tags.WAS_CHALLENGER, "true")


def _set_aliases(opened: Store, events: Sequence[Event]) -> Iterator[str]:
    """Set the aliases of the ledger that the registry does not have; yield a line for each."""
    existing = versions.aliases(opened)
    for alias, digest in sorted(ledger.aliases(events).items()):
        version = versions.find(opened, digest)
        if alias in existing:
            yield f"@{alias:<11}is on version {existing[alias]} already"
        elif version is None:
            yield f"@{alias:<11}not set: its weights {digest[:12]} are missing"
        else:
            opened.client.set_registered_model_alias(MODEL, alias, version.version)
            yield f"@{alias:<11}set on version {version.version}"
