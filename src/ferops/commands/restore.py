"""`ferops restore`: an empty or lost registry, rebuilt from reports/registry.jsonl, git and DVC's cache or remote."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from ruamel.yaml import YAML

from ferops import params
from ferops.errors import FeropsError
from ferops.machine.git import RepositoryError
from ferops.machine.tensorflow import quiet_imports
from ferops.machine.worktrees import dvc, worktree
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
"""What `publish` reads of DVC's outputs."""

_WANTED: Final = "reports/validate/"
"""What it also takes where it is there."""

_TRAININGS: Final = ("registered", "reproduced")
"""Events that name a training and its dvc.lock."""

_LEDGER: Final = Path(".dvc/tmp/registry.jsonl")
"""What publish is told of the version, and writes to; the clone's own ledger knows all of it."""


class CannotRestore(FeropsError):
    """A version's files are not all there."""


def restore(console: Console, root: Path = Path()) -> bool:
    """Bring back every version of reports/registry.jsonl that the registry lacks: run, epochs, figures, model, events.

    What stands is left as it is, so that it can be run again. Numbers are kept where they are free. Aliases are set as
    the events leave them, but for those that stand.

    Args:
        console: where each version's line is shown.
        root: the repository's root.

    Returns:
        Whether every version is there now.

    Raises:
        BadParams: this is not the repository's root.
        BadLedger: reports/registry.jsonl is damaged.
        TrackingUnreachable, TrackingFailed: the store does not answer, or refuses.
    """
    params.load(root / "params.yaml")  # elsewhere MLflow would make an empty store
    path = root / ledger.REGISTRY
    events = ledger.lines(path)
    told: dict[str, list[Event]] = {}
    for event in events:
        told.setdefault(str(event["weights_digest"]), []).append(event)
    if not told:
        _say(console, f"{path} names no version: there is nothing to restore")
        return True
    locks = DvcLockHistory(root)
    is_whole = True
    with store.session() as opened:
        for digest in _in_order(opened, told):
            own = told[digest]
            name = f"version {own[0]['version']}"
            with console.status(f"{name}, {len(told)} in all"):
                try:
                    how = _version(opened, locks, own, root)
                except TrackingUnreachable:
                    raise
                except FeropsError as error:
                    how, is_whole = f"cannot be brought back: {error}", False
                else:
                    _remember(opened, digest, own)
            _say(console, f"{name:<12}{how}")
        for line in _aliases(opened, events):
            _say(console, line)
        ledger.sync(opened, path)
    return is_whole


def _in_order(opened: Store, told: Mapping[str, Sequence[Event]]) -> list[str]:
    """Digests by their numbers, which MLflow only counts upwards; last those whose number is not to be had."""
    taken = set(range(_highest(opened) + 1))
    free: list[str] = []
    late: list[str] = []
    for digest, events in sorted(told.items(), key=lambda item: int(item[1][0]["version"])):
        number = int(events[0]["version"])
        (late if number in taken else free).append(digest)
        taken.add(number)
    return free + late


def _highest(opened: Store) -> int:
    versions = opened.client.search_model_versions(f"name = '{MODEL}'")
    return max((int(version.version) for version in versions), default=0)


def _version(opened: Store, locks: DvcLockHistory, events: Sequence[Event], root: Path) -> str:
    """Bring the version of these events back where it is not there in full; how, in words.

    Raises:
        CannotRestore: for each training that led to its weights, why not.
    """
    number, digest = int(events[0]["version"]), str(events[0]["weights_digest"])
    found = versions.find(opened, digest)
    if found is not None and _is_in_full(opened, found):
        return "there already" + _if_another(int(found.version), number)
    # weights may have come out of several trainings: it is the first that they were registered from
    trainings = [event for event in events if event["event"] in _TRAININGS]
    failed = []
    for training in (*trainings[:1], *reversed(trainings[1:])):
        source = locks.source(str(training["training"]), training.get("dvc_lock"))
        known: list[Event] = [{**trainings[0], "training": training["training"]}]
        if found is None and number <= _highest(opened):  # then one that the ledger has not used
            known = [event for event in ledger.lines(root / ledger.REGISTRY) if event["weights_digest"] != digest]
        try:
            if source is None:
                raise CannotRestore("no commit, no DVC experiment and not the workspace holds its dvc.lock")
            version = _publish(source, known, trainings[0].get("experiment"), root)
        except (CannotRestore, RepositoryError) as error:
            failed.append(str(error))
        else:
            return f"back as before, from {_words(source)}{_if_another(version, number)}"
    raise CannotRestore("; ".join(dict.fromkeys(failed)) or f"{ledger.REGISTRY} does not say what registered it")


def _publish(source: Source, known: Sequence[Event], experiment: str | None, root: Path) -> int:
    """Publish what a commit holds, with a ledger of its own that knows only so much; the number of the version."""
    with worktree(source.commit, root) as folder:
        _bring_files(folder, source)
        values = _params(folder, source)
        ledger.append(folder / _LEDGER, known)
        with _as_experiment(experiment):
            serve = partial(_raw_model, folder / "models/core.keras", values["preprocess.median_kernel"])
            published = publish(values, serve, folder, path=folder / _LEDGER, set_challenger=False)
    if published.version is None:
        raise CannotRestore("its network is not a Keras graph")
    return published.version.number


def _raw_model(core: Path, median_kernel: int) -> Any:
    with quiet_imports():
        from ferops.model.serving import load_raw_model

        return load_raw_model(core, median_kernel)


def _params(folder: Path, source: Source) -> dict[str, Any]:
    """The flattened parameters of a commit, those of its dvc.lock above all; of another time they may not be valid."""
    path = folder / "params.yaml"
    try:
        values = params.flatten(params.load(path))
    except BadParams:
        values = params.flat(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    used = {key: value for stage in origins.chain(source.dvc_lock) for key, value in stage.params.items()}
    return values | {key: value for key, value in used.items() if values.get(key) != value}


def _words(source: Source) -> str:
    if source.commit is None:
        return "the workspace"
    return f"experiment {source.experiment}" if source.experiment else f"commit {source.commit[:12]}"


def _if_another(number: int, before: int) -> str:
    return "" if number == before else f", as version {number}: {before} is another now"


def _is_in_full(opened: Store, version: Any) -> bool:
    """Whether a version has its run and all of it; a restore that was cut off goes on where it was."""
    run = versions.run_of(opened, version)
    return run is not None and tags.ATTACHED in run.data.tags and version.tags.get(tags.STATE) == "registered"


def _bring_files(folder: Path, source: Source) -> None:
    """The pipeline's outputs of a commit: from DVC's cache, else from its default remote.

    Raises:
        CannotRestore: naming what is nowhere, or is not what its dvc.lock says.
    """
    outs = {out.path: out.md5 for stage in origins.chain(source.dvc_lock) for out in stage.outs}
    wanted = [*_NEEDED, *(path for path in outs if path.startswith(_WANTED))]
    for word in ("checkout", "pull"):
        if missing := [name for name in wanted if not (folder / name).exists()]:
            dvc(folder, word, *missing)
    if missing := [name for name in _NEEDED if not (folder / name).exists()]:
        raise CannotRestore(f"{', '.join(missing)}: neither in DVC's cache nor in a default remote")
    if strange := [path for path, md5 in outs.items() if _is_another(folder / path, md5)]:
        raise CannotRestore(f"its commit has another {', '.join(strange)} than its {DVC_LOCK} names")


def _is_another(path: Path, md5: str) -> bool:
    """Whether a file is there and is not the one that dvc.lock names; folders are not asked."""
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5


@contextmanager
def _as_experiment(name: str | None) -> Iterator[None]:
    """What an experiment's training is published as: under its name, and no challenger."""
    before = os.environ.pop("DVC_EXP_NAME", None)
    if name:
        os.environ["DVC_EXP_NAME"] = name
    try:
        yield
    finally:
        os.environ.pop("DVC_EXP_NAME", None)
        if before is not None:
            os.environ["DVC_EXP_NAME"] = before


def _remember(opened: Store, digest: str, events: Sequence[Event]) -> None:
    """Put what happened to a version back on it; that it was restored is no event."""
    version = versions.find(opened, digest)
    if version is None:
        return
    has = {(event["time"], event["event"]): event for event in ledger.history(version)}
    for event in events:
        if has.get((event["time"], event["event"])) != event:
            ledger.tag(opened, int(version.version), event)
    if tags.WAS_CHALLENGER not in version.tags and any(event.get("alias") == CHALLENGER for event in events):
        opened.client.set_model_version_tag(MODEL, version.version, tags.WAS_CHALLENGER, "true")


def _aliases(opened: Store, events: Sequence[Event]) -> Iterator[str]:
    """Set the aliases that the events leave and that stand on nothing; a line for each."""
    standing = versions.aliases(opened)
    for alias, digest in sorted(ledger.aliases(events).items()):
        version = versions.find(opened, digest)
        if alias in standing:
            yield f"@{alias:<11}stands on version {standing[alias]}"
        elif version is None:
            yield f"@{alias:<11}stood on weights {digest[:12]}, which are not back: it is not set"
        else:
            opened.client.set_registered_model_alias(MODEL, alias, version.version)
            yield f"@{alias:<11}on version {version.version} again"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
