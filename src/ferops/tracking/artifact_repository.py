"""Relocatable artifacts: `mlflow-artifacts:` URIs resolved to the folder beside an SQLite file.

MLflow writes the absolute path of every artifact into its database, so a clone that is moved loses its models. Its own
server avoids that: it stores `mlflow-artifacts:/...` and keeps the files in `mlartifacts`. ferops stores the same URIs,
and this module resolves them without a server too: with the store `sqlite:///DIR/mlflow.db`, `mlflow-artifacts:` is
`DIR/mlartifacts`.

`repository` is MLflow's plug-in (entry point group `mlflow.artifact_repository`, name `mlflow-artifacts`): with ferops
installed, any MLflow process opens `models:/fer-vgg16@challenger` from the database file, from any folder.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:  # MLflow loads this module while it is being imported itself
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

SCHEME: Final = "mlflow-artifacts"

FOLDER: Final = "mlartifacts"
"""Name of the artifact folder beside the database: the one that `mlflow ui` serves by default."""


def repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> "ArtifactRepository":
    """Return the repository of an `mlflow-artifacts:` URI: a folder beside SQLite, otherwise MLflow's own client."""
    from mlflow import get_tracking_uri
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    database = sqlite_file(tracking_uri or get_tracking_uri())
    if database is None or urlsplit(artifact_uri).netloc:
        return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
    inside = unquote(urlsplit(artifact_uri).path).lstrip("/")
    folder = (database.parent / FOLDER / inside).resolve()
    return LocalArtifactRepository(folder.as_uri(), tracking_uri, registry_uri)


def register() -> None:
    """Register the repository in this process, for an installation whose entry points do not name the plug-in."""
    from mlflow.store.artifact import artifact_repository_registry

    registry: Any = artifact_repository_registry._artifact_repository_registry
    registry.register(SCHEME, repository)


def sqlite_file(uri: str) -> Path | None:
    """Return the database file of an `sqlite:///` URI; None for any other URI."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None
