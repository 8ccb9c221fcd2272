"""Versions of the registered models: look-ups by number, alias, digest or training; their runs, lineage and models."""

import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from ferops.errors import FeropsError
from ferops.tracking import runs
from ferops.tracking.lineage import DVC_LOCK, DvcLockHistory, Source, parse_dvc_lock
from ferops.tracking.record import FACTS, START, TRAINING, WEIGHTS
from ferops.tracking.registry import ledger
from ferops.tracking.store import Store, or_none

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"

EXPORTED: Final = "exported"
"""Folder among the files of a version's model: network.tflite and its card."""
EXPORTED_CARD: Final = f"{EXPORTED}/network.json"

PREDICTIONS: Final = "evaluation/predictions.parquet"

MODEL_CARD: Final = "README.md"
"""Among the files of a version's model: where Hugging Face and GitHub show it."""

_REFERENCE: Final = re.compile(
    r"(?P<model>fer-[a-z0-9-]+)(?:@(?P<alias>[\w-]+)|/(?P<number>[0-9]{1,6})|/(?P<digest>[0-9a-f]{7,64}))"
)


class UnknownVersion(FeropsError):
    """No version has this number, digest or alias."""


class MissingArtifact(FeropsError):
    """The run of a version, or a file of its run or model, is missing in MLflow."""


class ScoredVersion(NamedTuple):
    """A version with its metrics and predictions, which the promotion gate needs.

    Fields:
        model: its registered model. version: its number. weights_digest: of its weights.
        training: identity of its training.
        metrics: headline figures, `val/accuracy`, `test/accuracy`, ...
        run_id: of its training. aliases: of this version.
        predictions: predictions.parquet.
    """

    model: str
    version: int
    weights_digest: str
    training: str
    metrics: Mapping[str, float]
    run_id: str
    aliases: tuple[str, ...]
    predictions: pd.DataFrame

    @property
    def reference(self) -> str:
        """Return its name, as in `fer-vgg16/3`."""
        return f"{self.model}/{self.version}"


@dataclass(frozen=True)
class Trace:
    """The lineage of a version.

    Fields:
        version: in the registry. aliases: of the version.
        run: of its training; None where MLflow has lost it.
        source: its dvc.lock in git; None where no commit, experiment or workspace has it.
        dvc_lock: its content, from the run or else from git; empty where both have lost it.
        events: of the version, oldest first.
    """

    version: "ModelVersion"
    aliases: tuple[str, ...]
    run: "Run | None"
    source: Source | None
    dvc_lock: Mapping[str, Any]
    events: tuple[ledger.Event, ...]

    @property
    def reference(self) -> str:
        """Return the version's name, as in `fer-vgg16/3`."""
        return f"{self.version.name}/{self.version.version}"

    @property
    def facts(self) -> dict[str, Any]:
        """Return hashes, software and figures of the version."""
        return facts(self.version.tags)

    @property
    def start(self) -> dict[str, Any]:
        """Return what the start of its training knew: `requirements`, `changes`; empty where the run is lost."""
        return dict(json.loads(self.run.data.tags.get(START, "{}"))) if self.run else {}


def facts(tags: Mapping[str, str]) -> dict[str, Any]:
    """Return `Outputs.facts` from the tags of a run or version."""
    return dict(json.loads(tags.get(FACTS, "{}")))


def find(store: Store, model: str, digest: str) -> "ModelVersion | None":
    """Return the version of a registered model with these weights, None where there is none."""
    found = store.client.search_model_versions(f"name = '{model}' and tags.`{WEIGHTS}` = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def aliases(store: Store, model: str) -> dict[str, int]:
    """Return every alias with the number of its version; empty where the model is not registered."""
    found = or_none(store.client.get_registered_model, model)
    return {str(alias): int(number) for alias, number in found.aliases.items()} if found else {}


def aliases_of(store: Store, version: "ModelVersion") -> tuple[str, ...]:
    """Return the aliases of a version, sorted."""
    numbers = aliases(store, version.name)
    return tuple(sorted(alias for alias, number in numbers.items() if number == int(version.version)))


def is_reference(text: str) -> bool:
    """Return whether a text names a version, as `resolve` takes it."""
    return _REFERENCE.fullmatch(text) is not None


def resolve(store: Store, reference: str) -> "ModelVersion":
    """Return the version that `fer-vgg16@ALIAS`, `fer-vgg16/NUMBER` or `fer-vgg16/DIGEST` names.

    A digest is that of the weights, or its first seven hex digits or more.

    Raises:
        UnknownVersion: naming the versions and aliases that exist.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise UnknownVersion(
            f"{reference}: expected MODEL@ALIAS, MODEL/NUMBER or MODEL/DIGEST, as in fer-vgg16@{CHAMPION}"
        )
    model = parts["model"]
    every = sorted(store.client.search_model_versions(f"name = '{model}'"), key=lambda version: int(version.version))
    number = parts["number"] or aliases(store, model).get(parts["alias"])
    for version in every:
        if int(version.version) == int(number or 0) or version.tags.get(WEIGHTS, "").startswith(parts["digest"] or "-"):
            return store.client.get_model_version(model, version.version)
    if not every:
        raise UnknownVersion(
            f"{reference}: {store.address} has no version of {model}; `dvc repro` registers one, `ferops restore` "
            "restores those of reports/registry.jsonl"
        )
    known = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(aliases(store, model).items()))
    numbers = ", ".join(str(version.version) for version in every)
    way_out = "; `ferops promote` makes a champion" if parts["alias"] == CHAMPION else ""
    raise UnknownVersion(f"{reference}: there is none; versions: {numbers}; aliases: {known or 'none'}{way_out}")


def run_of(store: Store, version: "ModelVersion") -> "Run | None":
    """Return the run of a version's training, searched by its identity: a deleted and rebuilt run has another id."""
    found = runs.search(store, f"tags.`{TRAINING}` = '{version.tags.get(TRAINING)}'")
    return found[-1] if found else None


def scored_version(store: Store, reference: str) -> ScoredVersion:
    """Return a version with its metrics and predictions.

    Raises:
        UnknownVersion: no version has this number, digest or alias.
        MissingArtifact: its run or its predictions are missing in MLflow.
    """
    version = resolve(store, reference)
    run = run_of(store, version)
    name = f"{version.name} version {version.version}"
    way_out = f"`dvc repro` on its commit restores it; `ferops trace {version.name}/{version.version}` names the commit"
    if run is None:
        raise MissingArtifact(f"{name} has lost its run in MLflow; {way_out}")
    try:
        predictions = pd.read_parquet(io.BytesIO(runs.read_artifact(store, run.info.run_id, PREDICTIONS) or b""))
    except (OSError, ValueError):
        raise MissingArtifact(f"{name} has no {PREDICTIONS} that can be read in MLflow; {way_out}") from None
    return ScoredVersion(
        model=version.name,
        version=int(version.version),
        weights_digest=str(version.tags.get(WEIGHTS)),
        training=str(version.tags.get(TRAINING)),
        metrics=facts(version.tags).get("metrics", {}),
        run_id=str(run.info.run_id),
        aliases=aliases_of(store, version),
        predictions=predictions,
    )


def trace(store: Store, reference: str, root: Path = Path()) -> Trace:
    """Return the lineage of a version.

    Args:
        store: the open store.
        reference: as `resolve` takes it.
        root: the repository's root.

    Raises:
        UnknownVersion: there is no such version.
    """
    version = resolve(store, reference)
    run = run_of(store, version)
    source = DvcLockHistory(root).source(str(version.tags.get(TRAINING)), facts(version.tags).get("dvc_lock"))
    logged = runs.read_artifact(store, run.info.run_id, f"lineage/{DVC_LOCK}") if run else None
    dvc_lock = (parse_dvc_lock(logged) if logged else None) or (source.dvc_lock if source else {})
    return Trace(version, aliases_of(store, version), run, source, dvc_lock, tuple(ledger.history(version)))


def files(uri: str) -> set[str]:
    """Return the names of the files and folders of a model, as `models:/fer-vgg16/1`.

    Raises:
        MissingArtifact: there is no such model, or MLflow cannot list its files.
    """
    with _readable(uri):
        import mlflow.artifacts

        return {file.path for file in mlflow.artifacts.list_artifacts(artifact_uri=uri)}


def download(uri: str, folder: Path) -> Path:
    """Download the files of a model, or a part of them, into a folder; return where they lie.

    Raises:
        MissingArtifact: there is no such model, or its files cannot be read.
    """
    with _readable(uri):
        import mlflow.artifacts

        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError, ValueError) as error:
        raise MissingArtifact(
            f"{uri} has no readable model in MLflow ({' '.join(str(error).split())[:200]}); `dvc repro` on its commit "
            "or `ferops restore` restores it"
        ) from None


def read(version: "ModelVersion", name: str) -> str | None:
    """Return a text among the files of a version's model, as `MODEL_CARD`; None where it has none."""
    with tempfile.TemporaryDirectory() as scratch, suppress(MissingArtifact):
        file = download(f"models:/{version.name}/{version.version}/{name}", Path(scratch))
        return file.read_text(encoding="utf-8")
    return None


def median_kernel(store: Store, version: "ModelVersion", default: int) -> int:
    """Return the side in pixels of a version's median filter, the default where its run, which knows it, is lost."""
    run = run_of(store, version)
    return int((run.data.params if run else {}).get("preprocess.median_kernel", default))
