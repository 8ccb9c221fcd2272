"""The registered model `fer-vgg16`: versions, found by weights, number or alias, and the champion among them."""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from ferops.errors import FeropsError
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

_PROMOTION: Final = "promotion"


class UnknownVersion(FeropsError):
    """There is no such model, version or alias."""


class MissingArtifact(FeropsError):
    """A version has lost its run or a file of it."""


class Overtaken(FeropsError):
    """Another promotion has won, or is under way."""


class NothingToRollBack(FeropsError):
    """There is no champion, or none before it."""


class ScoredVersion(NamedTuple):
    """A version with what a promotion asks of it.

    Fields:
        version: its number. weights_digest, training: what it is.
        metrics: headline figures, `val/accuracy`, `test/accuracy`, ...
        run_id: of its training. aliases: that stand on it.
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
    """The version with these weights."""
    found = store.client.search_model_versions(f"name = '{MODEL}' and tags.`{WEIGHTS_DIGEST}` = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def aliases(store: Store) -> dict[str, int]:
    """Every alias and the number of its version; empty where there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        model = store.client.get_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {str(alias): int(number) for alias, number in model.aliases.items()}


def aliases_of(store: Store, number: int) -> tuple[str, ...]:
    """The aliases that stand on a version."""
    return tuple(sorted(alias for alias, other in aliases(store).items() if other == number))


def resolve(store: Store, reference: str) -> "ModelVersion":
    """The version that `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER` names.

    Raises:
        UnknownVersion: naming what there is.
    """
    from mlflow.exceptions import MlflowException

    parts = re.fullmatch(rf"{MODEL}(?:@([\w-]+)|/([0-9]+))", reference)
    if parts is None:
        raise UnknownVersion(f"{reference}: expected {MODEL}@ALIAS or {MODEL}/NUMBER, as in {MODEL}@{CHAMPION}")
    try:
        if parts[1]:
            return store.client.get_model_version_by_alias(MODEL, parts[1])
        return store.client.get_model_version(MODEL, parts[2])
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    numbers = sorted(int(version.version) for version in store.client.search_model_versions(f"name = '{MODEL}'"))
    if not numbers:
        raise UnknownVersion(
            f"{reference}: {store.address} has no version of {MODEL}; `dvc repro` makes one, `ferops restore` brings "
            "those of reports/registry.jsonl back"
        )
    standing = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(aliases(store).items()))
    raise UnknownVersion(
        f"{reference}: there is none; versions: {', '.join(map(str, numbers))}; aliases: {standing or 'none'}"
    )


def run_of(store: Store, version: "ModelVersion") -> "Run | None":
    """The run of a version's training: by its identity, since a run that was deleted and rebuilt has another id."""
    found = store.client.search_runs(
        [store.experiment_id], f"tags.`{TRAINING}` = '{version.tags.get(TRAINING)}'", max_results=1
    )
    return found[0] if found else None


def scored_version(store: Store, reference: str) -> ScoredVersion:
    """A version with its predictions.

    Raises:
        UnknownVersion: there is none of that name.
        MissingArtifact: its run or its predictions are gone.
    """
    from mlflow.exceptions import MlflowException

    version = resolve(store, reference)
    run = run_of(store, version)
    heal = f"`dvc repro` on its commit brings it back; `ferops trace {MODEL}/{version.version}` names the commit"
    if run is None:
        raise MissingArtifact(f"{MODEL} version {version.version} has lost its run in MLflow; {heal}")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            file = store.client.download_artifacts(run.info.run_id, PREDICTIONS, scratch)
            predictions = pd.read_parquet(file)
        except (MlflowException, OSError, ValueError):
            raise MissingArtifact(
                f"{MODEL} version {version.version} has no {PREDICTIONS} that can be read in MLflow; {heal}"
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


def artifact(store: Store, one: ScoredVersion, name: str, folder: Path) -> Path | None:
    """A file of a version's run, brought into a folder; None where MLflow does not have it."""
    from mlflow.exceptions import MlflowException

    try:
        return Path(store.client.download_artifacts(one.run_id, name, str(folder)))
    except (MlflowException, OSError):
        return None


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
        decision: what the gate said, for the event.
        path: of registry.jsonl; None keeps the event on the version alone.

    Raises:
        Overtaken: the champion is another by now, or another process is promoting.
        UnknownVersion: the version is gone.
    """
    promoted = resolve(store, f"{MODEL}/{version}")
    happened = ledger.event("promoted", promoted, alias=CHAMPION, previous=instead_of, decision=decision)
    with _moving(store, happened, path):
        now = aliases(store).get(CHAMPION)
        if now != instead_of:
            raise Overtaken(
                f"version {version} was compared with {_words(instead_of)}, and by now the champion is "
                f"{_words(now)}: run `ferops promote` again"
            )
        _move(store, happened, path)


def refuse(store: Store, version: int, decision: Mapping[str, Any], path: Path | None = ledger.REGISTRY) -> None:
    """Record that a version was not promoted, and why; `path` as for `promote`."""
    refused = resolve(store, f"{MODEL}/{version}")
    ledger.record(store, ledger.event("refused", refused, alias=None, decision=decision), path)


def rollback(store: Store, path: Path = ledger.REGISTRY) -> tuple[int, int]:
    """Champion and `previous` change places; gives the numbers of the champion now and before.

    Raises:
        NothingToRollBack: one of the two is missing, or both are the same version.
        Overtaken: another process is promoting.
    """
    standing = aliases(store)
    champion, previous = standing.get(CHAMPION), standing.get(PREVIOUS)
    if champion is None:
        raise NothingToRollBack(f"{MODEL} has no champion; `ferops promote` makes one")
    if previous is None or previous == champion:
        raise NothingToRollBack(f"version {champion} is the only champion that {MODEL} has had")
    back = resolve(store, f"{MODEL}/{previous}")
    happened = ledger.event("rolled back", back, alias=CHAMPION, previous=champion)
    with _moving(store, happened, path):
        now = aliases(store)
        if (now.get(CHAMPION), now.get(PREVIOUS)) != (champion, previous):
            raise Overtaken("the aliases have moved by now: look at them, and run `ferops rollback` again if need be")
        _move(store, happened, path)
    return previous, champion


@contextlib.contextmanager
def _moving(store: Store, happened: ledger.Event, path: Path | None) -> Iterator[None]:
    """The only process that moves the champion; what a killed one had begun is ended first."""
    if path:
        ledger.lines(path)  # a damaged file is found before anything has moved
    try:
        with mutex.lock(store, _PROMOTION, "a promotion", note=happened) as left:
            if left and aliases(store).get(CHAMPION) == left["version"]:
                _move(store, left, path)
            yield
    except mutex.Busy as busy:
        raise Overtaken(str(busy)) from None


def _move(store: Store, happened: ledger.Event, path: Path | None) -> None:
    """The champion changes in one step, and at no moment is there none; can be done again."""
    store.client.set_registered_model_alias(MODEL, CHAMPION, str(happened["version"]))
    if happened["previous"] is not None:
        store.client.set_registered_model_alias(MODEL, PREVIOUS, str(happened["previous"]))
    ledger.record(store, happened, path)


def _words(version: int | None) -> str:
    return "none" if version is None else f"version {version}"
