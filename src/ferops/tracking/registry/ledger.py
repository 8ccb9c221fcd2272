"""What happened to the versions: one event, kept as a tag on the version and as a line of reports/registry.jsonl.

The file is in git and is only ever appended to: from it and DVC's cache an empty registry is rebuilt. The tags are what
other clones have not got yet: `sync` brings them into the file.
"""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ferops.errors import FeropsError, describe_os_error
from ferops.tracking.store import MODEL, Store
from ferops.tracking.tags import TRAINING, WEIGHTS_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Event = Mapping[str, Any]
"""`time` (Unix seconds), `event`, `model`, `version`, `weights_digest`, `training`, and what the event adds."""

REGISTRY: Final = Path("reports/registry.jsonl")

_TAG: Final = "ferops.event."  # and its time in milliseconds
_SAME: Final = ("time", "event", "weights_digest")


class BadLedger(FeropsError):
    """A line of registry.jsonl is not an event."""


class LedgerNotWritten(FeropsError):
    """registry.jsonl cannot be written."""


def event(kind: str, version: "ModelVersion", **facts: Any) -> Event:
    """What happens to a version now."""
    return {
        "time": round(time.time(), 3),
        "event": kind,
        "model": MODEL,
        "version": int(version.version),
        "weights_digest": version.tags.get(WEIGHTS_DIGEST),
        "training": version.tags.get(TRAINING),
    } | facts


def lines(path: Path) -> list[Event]:
    """The events of a registry.jsonl in the order of their times, each once; none where there is no file.

    git's union merge may have put the lines of two branches one after the other, and the same line twice.

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
                f"{path}: line {number} is not an event of the registry; take it out, or `git checkout` the file"
            ) from None
    return sorted(found.values(), key=lambda line: float(line["time"]))


def aliases(events: Iterable[Event]) -> dict[str, str]:
    """The aliases as events leave them, each with the digest of its weights."""
    digests: dict[str, str] = {}
    for line in events:
        if line.get("alias") is None:
            continue
        if line["alias"] == "champion" and "champion" in digests:
            digests["previous"] = digests["champion"]
        digests[line["alias"]] = line["weights_digest"]
    return digests


def history(version: "ModelVersion") -> list[Event]:
    """The events on a version's tags, oldest first."""
    events = [json.loads(value) for key, value in version.tags.items() if key.startswith(_TAG)]
    return sorted(events, key=lambda line: float(line["time"]))


def record(store: Store, happened: Event, path: Path | None) -> None:
    """Keep an event: tag, then line, if there is a file. What is there already is left."""
    tag(store, int(happened["version"]), happened)
    if path:
        append(path, [happened])


def tag(store: Store, version: int, happened: Event) -> None:
    """Put an event on a version."""
    key = f"{_TAG}{round(1000 * float(happened['time']))}"
    store.client.set_model_version_tag(MODEL, str(version), key, json.dumps(happened))


def append(path: Path, events: Iterable[Event]) -> None:
    """Add the events that the file lacks, in one write: several processes may do so at once.

    Raises:
        BadLedger: the file has a line that is no event.
        LedgerNotWritten: disk full, no permission.
    """
    has = {_key(line) for line in lines(path)}
    missing = [happened for happened in events if _key(happened) not in has]
    if not missing:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{json.dumps(happened)}\n" for happened in missing))
    except OSError as error:
        raise LedgerNotWritten(
            f"MLflow has the event, {path} has not, and gets it later: {describe_os_error(error)}"
        ) from None


def sync(store: Store, path: Path) -> None:
    """Bring into the file what the store's versions know and it does not: experiments, colleagues, other clones."""
    versions = store.client.search_model_versions(f"name = '{MODEL}'")
    append(path, sorted((e for version in versions for e in history(version)), key=lambda line: float(line["time"])))


def _key(line: Event) -> tuple[Any, ...]:
    return tuple(line[name] for name in _SAME)
