"""Versions of the registered model `fer-vgg16`: look-ups by weights, number or alias; promotion and rollback."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from ferops.errors import FeropsError
from ferops.tracking.queries import or_none, read_artifact, search_runs
from ferops.tracking.registry import ledger, mutex
from ferops.tracking.store import MODEL, Store
from ferops.tracking.tags import TRAINING, WEIGHTS_DIGEST

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"

PREDICTIONS: Final = "evaluation/predictions.parquet"


class UnknownVersion(FeropsError):
    """No version has this number or alias."""


class MissingArtifact(FeropsError):
    """The run of a version, or a file of that run, is missing in MLflow."""


class Overtaken(FeropsError):
    """Another promotion was faster, or is under way."""


class NothingToRollBack(FeropsError):
    """There is no champion, or no previous one."""


class ScoredVersion(NamedTuple):
    """A version with its metrics and predictions, which the promotion gate needs.

    Fields:
        version: its number. weights_digest: of its weights. training: identity of its training.
        metrics: headline figures, `val/accuracy`, `test/accuracy`, ...
        run_id: of its training. aliases: of this version.
        predictions: predictions.parquet.
    """

    version: int
    weights_digest: str
    training: str
    metrics: Mapping[str, float]
    run_id: str
    aliases: tuple[str, ...]
    predictions: pd.DataFrame


def find(store: Store, digest: str) -> "ModelVersion | None":
    """Return the version with these weights, None where there is none."""
    found = store.client.search_model_versions(f"name = '{MODEL}' and tags.`{WEIGHTS_DIGEST}` = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def aliases(store: Store) -> dict[str, int]:
    """Return every alias with the number of its version; empty where the model is not registered."""
    model = or_none(store.client.get_registered_model, MODEL)
    return {str(alias): int(number) for alias, number in model.aliases.items()} if model else {}


def aliases_of(store: Store, number: int) -> tuple[str, ...]:
    """Return the aliases of a version, sorted."""
    return tuple(sorted(alias for alias, other in aliases(store).items() if other == number))


def resolve(store: Store, reference: str) -> "ModelVersion":
    """Return the version that `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER` names.

    Raises:
        UnknownVersion: naming the versions and aliases that exist.
    """
    parts = re.fullmatch(rf"{MODEL}(?:@([\w-]+)|/([0-9]+))", reference)
    if parts is None:
        raise UnknownVersion(f"{reference}: expected {MODEL}@ALIAS or {MODEL}/NUMBER, as in {MODEL}@{CHAMPION}")
    get = store.client.get_model_version_by_alias if parts[1] else store.client.get_model_version
    version = or_none(get, MODEL, parts[1] or parts[2])
    if version is not None:
        return version
    numbers = sorted(int(version.version) for version in store.client.search_model_versions(f"name = '{MODEL}'"))
    if not numbers:
        raise UnknownVersion(
            f"{reference}: {store.address} has no version of {MODEL}; `dvc repro` registers one, `ferops restore` "
            "restores those of reports/registry.jsonl"
        )
    known = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(aliases(store).items()))
    raise UnknownVersion(
        f"{reference}: there is none; versions: {', '.join(map(str, numbers))}; aliases: {known or 'none'}"
    )


def run_of(store: Store, version: "ModelVersion") -> "Run | None":
    """Return the run of a version's training, searched by its identity: a deleted and rebuilt run has another id."""
    found = search_runs(store, f"tags.`{TRAINING}` = '{version.tags.get(TRAINING)}'")
    return found[-1] if found else None


def scored_version(store: Store, reference: str) -> ScoredVersion:
    """Return a version with its metrics and predictions.

    Raises:
        UnknownVersion: no version has this number or alias.
        MissingArtifact: its run or its predictions are missing in MLflow.
    """
    version = resolve(store, reference)
    run = run_of(store, version)
    way_out = f"`dvc repro` on its commit restores it; `ferops trace {MODEL}/{version.version}` names the commit"
    if run is None:
        raise MissingArtifact(f"{MODEL} version {version.version} has lost its run in MLflow; {way_out}")
    try:
        predictions = pd.read_parquet(io.BytesIO(read_artifact(store, run.info.run_id, PREDICTIONS) or b""))
    except (OSError, ValueError):
        raise MissingArtifact(
            f"{MODEL} version {version.version} has no {PREDICTIONS} that can be read in MLflow; {way_out}"
        ) from None
    metrics = {key: float(value) for key, value in version.tags.items() if re.match(r"(val|test)/", key)}
    return ScoredVersion(
        version=int(version.version),
        weights_digest=str(version.tags.get(WEIGHTS_DIGEST)),
        training=str(version.tags.get(TRAINING)),
        metrics=metrics,
        run_id=str(run.info.run_id),
        aliases=aliases_of(store, int(version.version)),
        predictions=predictions,
    )


def promote(
    store: Store,
    version: int,
    *,
    instead_of: int | None,
    decision: Mapping[str, Any],
    path: Path | None = ledger.REGISTRY,
) -> None:
    """Make a version the champion; the one before becomes `previous`.

    Args:
        store: the open store.
        version: number of the one to promote.
        instead_of: number of the champion that it was compared with; None where there was none.
        decision: the gate's decision, for the event.
        path: of registry.jsonl; None writes the event into the version's tag alone.

    Raises:
        Overtaken: the champion has changed in the meantime, or another process is promoting.
        UnknownVersion: the version does not exist.
    """
    promoted = resolve(store, f"{MODEL}/{version}")
    event = ledger.new_event("promoted", promoted, alias=CHAMPION, previous=instead_of, decision=decision)
    with _promotion_lock(store, event, path):
        now = aliases(store).get(CHAMPION)
        if now != instead_of:
            before, after = (f"version {number}" if number else "none" for number in (instead_of, now))
            raise Overtaken(
                f"version {version} was compared with {before}, and by now the champion is {after}: "
                "run `ferops promote` again"
            )
        _set_champion(store, event, path)


def refuse(store: Store, version: int, decision: Mapping[str, Any], path: Path | None = ledger.REGISTRY) -> None:
    """Record that a version was not promoted, and the decision; `path` as for `promote`."""
    refused = resolve(store, f"{MODEL}/{version}")
    ledger.record(store, ledger.new_event("refused", refused, alias=None, decision=decision), path)


def rollback(store: Store, path: Path = ledger.REGISTRY) -> tuple[int, int]:
    """Swap `champion` and `previous`; return the numbers of the new champion and of the old one.

    Raises:
        NothingToRollBack: one of the two is missing, or both are the same version.
        Overtaken: another process is promoting.
    """
    before = aliases(store)
    champion, previous = before.get(CHAMPION), before.get(PREVIOUS)
    if champion is None:
        raise NothingToRollBack(f"{MODEL} has no champion; `ferops promote` sets one")
    if previous is None or previous == champion:
        raise NothingToRollBack(f"version {champion} is the only champion that {MODEL} has had")
    back = resolve(store, f"{MODEL}/{previous}")
    event = ledger.new_event("rolled back", back, alias=CHAMPION, previous=champion)
    with _promotion_lock(store, event, path):
        now = aliases(store)
        if (now.get(CHAMPION), now.get(PREVIOUS)) != (champion, previous):
            raise Overtaken("the aliases have changed meanwhile: check them, and run `ferops rollback` again if needed")
        _set_champion(store, event, path)
    return previous, champion


@contextlib.contextmanager
def _promotion_lock(store: Store, event: ledger.Event, path: Path | None) -> Iterator[None]:
    """Acquire the lock for changes of the champion; complete the change of a process that was killed."""
    if path:
        ledger.lines(path)  # a damaged file is an error before any alias is set
    try:
        with mutex.lock(store, "promotion", "a promotion", note=event) as interrupted:
            if interrupted and aliases(store).get(CHAMPION) == interrupted["version"]:
                _set_champion(store, interrupted, path)
            yield
    except mutex.Busy as busy:
        raise Overtaken(str(busy)) from None


def _set_champion(store: Store, event: ledger.Event, path: Path | None) -> None:
    """Set the aliases and write the event; the champion changes in one step and is never missing. Idempotent."""
    store.client.set_registered_model_alias(MODEL, CHAMPION, str(event["version"]))
    if event["previous"] is not None:
        store.client.set_registered_model_alias(MODEL, PREVIOUS, str(event["previous"]))
    ledger.record(store, event, path)
