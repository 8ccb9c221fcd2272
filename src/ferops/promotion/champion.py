"""The alias `champion`: promotion, refusal and rollback, under a lock and recorded in the ledger."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ferops.errors import FeropsError
from ferops.tracking import ledger, mutex, versions
from ferops.tracking.store import Store
from ferops.tracking.versions import CHAMPION, PREVIOUS

_WAIT: Final = 1.0  # seconds: of two promotions at once, the later one finds the result of the earlier


class Overtaken(FeropsError):
    """Another promotion was faster, or is under way."""


class NothingToRollBack(FeropsError):
    """There is no champion, or no previous one."""


def promote(
    store: Store,
    reference: str,
    *,
    instead_of: int | None,
    decision: Mapping[str, Any],
    path: Path | None = ledger.REGISTRY,
) -> None:
    """Make a version the champion of its registered model; the one before becomes `previous`.

    Args:
        store: the open store.
        reference: the version to promote, as in `fer-vgg16/3`.
        instead_of: number of the champion at the time of the decision; None where there was none.
        decision: the gate's decision, for the event.
        path: of registry.jsonl; None writes the event into the version's tag alone.

    Raises:
        Overtaken: the champion has changed in the meantime, or another process is promoting.
        UnknownVersion: the version does not exist.
    """
    version = versions.resolve(store, reference)
    event = ledger.new_event("promoted", version, alias=CHAMPION, previous=instead_of, decision=decision)
    with _lock(store, event, path):
        now = versions.aliases(store, version.name).get(CHAMPION)
        if now != instead_of:
            before, after = (f"version {number}" if number else "none" for number in (instead_of, now))
            raise Overtaken(
                f"version {version.version} was compared with {before}, and by now the champion is {after}: "
                "run `ferops promote` again"
            )
        _set_champion(store, event, path)


def refuse(store: Store, reference: str, decision: Mapping[str, Any], path: Path | None = ledger.REGISTRY) -> None:
    """Record that a version was not promoted, and the decision; `path` as for `promote`."""
    version = versions.resolve(store, reference)
    ledger.record(store, version, ledger.new_event("refused", version, alias=None, decision=decision), path)


def rollback(store: Store, model: str, path: Path = ledger.REGISTRY) -> tuple[int, int]:
    """Swap `champion` and `previous` of a registered model; return the numbers of the new and of the old champion.

    Raises:
        NothingToRollBack: one of the two is missing, or both are the same version.
        Overtaken: another process is promoting.
    """
    before = versions.aliases(store, model)
    champion, previous = before.get(CHAMPION), before.get(PREVIOUS)
    if champion is None:
        raise NothingToRollBack(f"{model} has no champion; `ferops promote` sets one")
    if previous is None or previous == champion:
        raise NothingToRollBack(f"version {champion} is the only champion that {model} has had")
    back = versions.resolve(store, f"{model}/{previous}")
    event = ledger.new_event("rolled back", back, alias=CHAMPION, previous=champion)
    with _lock(store, event, path):
        if versions.aliases(store, model) != before:
            raise Overtaken("the aliases have changed meanwhile: check them, and run `ferops rollback` again if needed")
        _set_champion(store, event, path)
    return previous, champion


@contextlib.contextmanager
def _lock(store: Store, event: ledger.Event, path: Path | None) -> Iterator[None]:
    """Acquire the lock for changes of the champion; complete the changes of processes that were killed."""
    if path:
        ledger.lines(path)  # a damaged file is an error before any alias is set

    def recover(interrupted: ledger.Event | None) -> None:
        if interrupted and versions.aliases(store, interrupted["model"]).get(CHAMPION) == interrupted["version"]:
            _set_champion(store, interrupted, path)

    name = f"promotion-{event['model']}"
    try:
        with mutex.lock(store, name, "a promotion", wait=_WAIT, note=event, recover=recover):
            yield
    except mutex.Busy as busy:
        raise Overtaken(str(busy)) from None


def _set_champion(store: Store, event: ledger.Event, path: Path | None) -> None:
    """Set the aliases and write the event; the champion changes in one step and is never missing. Idempotent."""
    model, number = str(event["model"]), str(event["version"])
    store.client.set_registered_model_alias(model, CHAMPION, number)
    if event["previous"] is not None:
        store.client.set_registered_model_alias(model, PREVIOUS, str(event["previous"]))
    ledger.record(store, store.client.get_model_version(model, number), event, path)
