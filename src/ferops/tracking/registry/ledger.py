"""The ledger: every event of a registered version, as a tag on the version and as a line of reports/registry.jsonl.

The file is in git and append-only: an empty registry is rebuilt from it and DVC's cache. The tags hold the events that
other clones' files lack: `sync` appends them.
"""

import json
import time
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ferops.errors import FeropsError, describe_os_error
from ferops.tracking.record import TRAINING, WEIGHTS
from ferops.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Event = Mapping[str, Any]
"""`time` (Unix seconds), `event`, `model`, `version`, `weights_digest`, `training`, and what the kind of event adds.

The digest identifies the version; its number is that of the store at the time, and another after a restore.
"""

REGISTRY: Final = Path("reports/registry.jsonl")

_TAG: Final = "x-ferops.event."  # followed by its time in milliseconds
_key: Final = itemgetter("time", "event", "weights_digest")


class BadLedger(FeropsError):
    """A line of registry.jsonl is not an event."""


class LedgerNotWritten(FeropsError):
    """registry.jsonl cannot be written."""


def new_event(kind: str, version: "ModelVersion", **facts: Any) -> Event:
    """Return an event of a version, with the time now.

    Args:
        kind: `registered`, `alias set`, `reproduced`, `promoted`, `refused` or `rolled back`.
        version: of the registered model.
        facts: what this kind of event adds.
    """
    return {
        "time": round(time.time(), 3),
        "event": kind,
        "model": version.name,
        "version": int(version.version),
        "weights_digest": version.tags.get(WEIGHTS),
        "training": version.tags.get(TRAINING),
    } | facts


def lines(path: Path) -> list[Event]:
    """Read the events of a registry.jsonl, sorted by time and without duplicates; none where there is no file.

    git's union merge puts the lines of two branches one after the other, and may repeat a line.

    Raises:
        BadLedger: naming the file and the line.
    """
    if not path.is_file():
        return []
    found: dict[tuple[Any, ...], Event] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            found.setdefault(_key(line), line)
        except (ValueError, KeyError, TypeError):
            raise BadLedger(
                f"{path}: line {number} is not an event of the registry; delete it, or `git checkout` the file"
            ) from None
    return sorted(found.values(), key=lambda line: float(line["time"]))


def aliases(events: Iterable[Event]) -> dict[str, dict[str, str]]:
    """Return the aliases of each registered model after a sequence of events, each with the digest of its weights."""
    models: dict[str, dict[str, str]] = {}
    for line in events:
        if line.get("alias") is None:
            continue
        digests = models.setdefault(line["model"], {})
        if line["alias"] == "champion" and "champion" in digests:
            digests["previous"] = digests["champion"]
        digests[line["alias"]] = line["weights_digest"]
    return models


def history(version: "ModelVersion") -> list[Event]:
    """Return the events in a version's tags, oldest first."""
    events = [json.loads(value) for key, value in version.tags.items() if key.startswith(_TAG)]
    return sorted(events, key=lambda line: float(line["time"]))


def record(store: Store, version: "ModelVersion", event: Event, path: Path | None) -> None:
    """Write an event: as a tag, then as a line of the file unless `path` is None. Repeating it changes nothing."""
    key = f"{_TAG}{round(1000 * float(event['time']))}"
    if version.tags.get(key) != (value := json.dumps(event)):
        store.client.set_model_version_tag(version.name, version.version, key, value)
    if path:
        append(path, [event])


def append(path: Path, events: Iterable[Event]) -> None:
    """Append the events that the file lacks, in one write: several processes may do so at once.

    Raises:
        BadLedger: the file has a line that is no event.
        LedgerNotWritten: disk full, no permission.
    """
    has = {_key(line) for line in lines(path)}
    missing = [event for event in events if _key(event) not in has]
    if not missing:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{json.dumps(event)}\n" for event in missing))
    except OSError as error:
        raise LedgerNotWritten(
            f"MLflow has the event, {path} gets it with the next `dvc repro`: {describe_os_error(error)}"
        ) from None


def sync(store: Store, path: Path) -> None:
    """Append to the file the events of the store that it lacks: of other clones."""
    versions = store.client.search_model_versions("name LIKE 'fer-%'")
    append(path, sorted((e for version in versions for e in history(version)), key=lambda line: float(line["time"])))
