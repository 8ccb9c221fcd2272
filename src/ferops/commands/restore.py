"""`ferops restore`: an empty or lost registry, rebuilt from reports/registry.jsonl, git and DVC's cache or remote."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from ruamel.yaml import YAML

from ferops import params
from ferops.commands.worktree import environment, worktree
from ferops.errors import FeropsError
from ferops.stages.publish import served
from ferops.tracking import ledger, lineage, registry, store, tags
from ferops.tracking.ledger import Event
from ferops.tracking.lineage import LOCK, Locks, Source
from ferops.tracking.publish import publish
from ferops.tracking.registry import CHALLENGER
from ferops.tracking.store import MODEL, Store, TrackingUnreachable

_NEEDED: Final = ("models/core.keras", "models/training.json", "predictions.parquet", "data/prepared/report.json")
"""What `publish` reads of DVC's outputs."""

_WANTED: Final = "reports/validate/"
"""What it also takes where it is there."""


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
    registered: dict[str, Event] = {}
    for event in events:
        if event["event"] == "registered":
            registered.setdefault(str(event["weights_digest"]), event)
    if not registered:
        _say(console, f"{path} names no version: there is nothing to restore")
        return True
    locks = Locks(root)
    is_whole = True
    with store.session() as opened:
        for digest, event in registered.items():
            name = f"version {event['version']}"
            with console.status(f"{name} of {len(registered)} in {path}"):
                try:
                    how = _version(opened, locks, event, root)
                except TrackingUnreachable:
                    raise
                except FeropsError as error:
                    how, is_whole = f"cannot be brought back: {error}", False
                else:
                    _remember(opened, digest, [one for one in events if one["weights_digest"] == digest])
            _say(console, f"{name:<12}{how}")
        for line in _aliases(opened, events):
            _say(console, line)
    return is_whole


def _version(opened: Store, locks: Locks, event: Event, root: Path) -> str:
    """Bring one version back where it is not there in full; how, in words."""
    found = registry.find(opened, str(event["weights_digest"]))
    if found is not None and _is_in_full(opened, found):
        return "there already" + _as_number(int(found.version), event)
    source = locks.source(str(event["training"]), event.get("lock"))
    if source is None:
        raise CannotRestore("no commit, no DVC experiment and not the workspace holds its dvc.lock")
    with worktree(source.commit or "HEAD", root, b"" if source.commit else lineage.uncommitted(root)) as folder:
        _bring_files(folder, source)
        values = lineage.flat(YAML(typ="safe", pure=True).load((folder / "params.yaml").read_text(encoding="utf-8")))
        with _as_experiment(event.get("experiment")):
            serve = partial(served, folder, values["preprocess.median_kernel"])
            published = publish(values, serve, folder, path=root / ledger.REGISTRY, nominate=False)
    of = f"experiment {source.experiment}" if source.experiment else f"commit {(source.commit or 'workspace')[:12]}"
    return f"back as before, from {of}" + (_as_number(published.version.number, event) if published.version else "")


def _as_number(number: int, event: Event) -> str:
    return "" if number == event["version"] else f", as version {number}: its number is another's"


def _is_in_full(opened: Store, version: Any) -> bool:
    """Whether a version has its run and all of it; a restore that was cut off goes on where it was."""
    run = registry.run_of(opened, version)
    return run is not None and tags.ATTACHED in run.data.tags and version.tags.get(tags.STATE) == "registered"


def _bring_files(folder: Path, source: Source) -> None:
    """The pipeline's outputs of a commit: from DVC's cache, else from its default remote.

    Raises:
        CannotRestore: naming what is nowhere, or is not what its dvc.lock says.
    """
    outs = {out.path: out.md5 for stage in lineage.chain(source.lock) for out in stage.outs}
    wanted = [*_NEEDED, *(path for path in outs if path.startswith(_WANTED))]
    for word in ("checkout", "pull"):
        if missing := [name for name in wanted if not (folder / name).exists()]:
            subprocess.run(
                [sys.executable, "-m", "dvc", word, *missing],
                cwd=folder, env=environment(folder), capture_output=True, check=False,
            )  # fmt: skip
    if missing := [name for name in _NEEDED if not (folder / name).exists()]:
        raise CannotRestore(f"{', '.join(missing)}: neither in DVC's cache nor in a default remote")
    if strange := [path for path, md5 in outs.items() if _is_another(folder / path, md5)]:
        raise CannotRestore(f"its commit has another {', '.join(strange)} than its {LOCK} names")


def _is_another(path: Path, md5: str) -> bool:
    """Whether a file is there and is not the one that dvc.lock names; of folders DVC sees to it."""
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
    """Put what happened to a version back on it."""
    version = registry.find(opened, digest)
    if version is None:
        return
    has = {(event["time"], event["event"]) for event in ledger.history(version)}
    for event in events:
        if (event["time"], event["event"]) not in has:
            ledger.tag(opened, int(version.version), event)
    if tags.NOMINATED not in version.tags and any(event.get("alias") == CHALLENGER for event in events):
        opened.client.set_model_version_tag(MODEL, version.version, tags.NOMINATED, "true")


def _aliases(opened: Store, events: Sequence[Event]) -> Iterator[str]:
    """Set the aliases that the events leave and that stand on nothing; a line for each."""
    standing = registry.aliases(opened)
    for alias, digest in sorted(ledger.standing(events).items()):
        version = registry.find(opened, digest)
        if alias in standing:
            yield f"@{alias:<11}stands on version {standing[alias]}"
        elif version is None:
            yield f"@{alias:<11}stood on weights {digest[:12]}, which are not back: it is not set"
        else:
            opened.client.set_registered_model_alias(MODEL, alias, version.version)
            yield f"@{alias:<11}on version {version.version} again"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
