"""The MLflow store: its address, relocatable artifacts, connections without telemetry, log output or long timeouts.

MLflow writes the absolute path of every artifact into its database, so a clone that is moved loses its models. Its own
server avoids that: it stores `mlflow-artifacts:/...` and keeps the files in `mlartifacts`. ferops stores the same URIs,
and `artifact_repository` resolves them without a server too: with the store `sqlite:///DIR/mlflow.db`,
`mlflow-artifacts:` is `DIR/mlartifacts`.
"""

import logging
import os
import re
import socket
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from ferops.errors import FeropsError
from ferops.tracking.pages.saved_view import saved_view

if TYPE_CHECKING:  # MLflow loads this module while it is being imported itself
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

_T = TypeVar("_T")

EXPERIMENT: Final = "fer-vgg16"

ARTIFACTS: Final = "mlartifacts"
"""Name of the artifact folder beside the database: the one that `mlflow ui` serves by default."""

_LAYOUT: Final = ("x-ferops.layout", "2")
"""Tag of the experiment: a store without it was written by an earlier ferops, with other tags and names."""

_MISSING: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # of an alias MLflow says the second

_SCHEME: Final = "mlflow-artifacts"
_NO_TELEMETRY: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_TIMEOUTS: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "PGCONNECT_TIMEOUT": "5",
}
_SECONDS: Final = 5.0
_SLOW: Final = "where it needs longer, set MLFLOW_HTTP_REQUEST_TIMEOUT (in seconds)"
_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class TrackingUnreachable(FeropsError):
    """The MLflow store cannot be opened or does not answer."""


class NoStore(FeropsError):
    """There is no database here, and what was asked for would not be in a new one."""


class TrackingFailed(FeropsError):
    """The MLflow store refused a request."""


class EarlierStore(FeropsError):
    """The store was written by an earlier version of ferops."""


class Store(NamedTuple):
    """An open store: its client, the id of the experiment `fer-vgg16`, and its address without credentials."""

    client: "MlflowClient"
    experiment_id: str
    address: str


def registered_model(system: str) -> str:
    """Return the name of the registered model of a system: `fer-vgg16` for all VGGs, else as in `fer-lean-cnn`."""
    return "fer-vgg16" if system.startswith(("vgg16_", "vgg_")) else f"fer-{system.replace('_', '-')}"


def root() -> Path:
    """Return the root of the repository that the store belongs to.

    DVC sets DVC_ROOT for every stage; in queued and `--temp` experiments, which run in a copy below .dvc/tmp, it still
    names the repository that they were started from. Without DVC_ROOT it is the nearest folder above with a `.dvc` or
    `.git`.
    """
    named = os.environ.get("DVC_ROOT")
    if named:
        return Path(named).resolve()
    here = Path.cwd()
    return next(
        (folder for folder in (here, *here.parents) if any((folder / x).exists() for x in (".dvc", ".git"))), here
    )


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, by default mlflow.db in the repository's root.

    A relative `sqlite:///` path is relative to that root, not to the working directory, which an experiment may change.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    database = sqlite_file(uri)
    if database is None or database.is_absolute() or str(database) in ("", "."):
        return uri
    query = uri.partition("?")
    return f"sqlite:///{(root() / database).as_posix()}{query[1]}{query[2]}"


def address(uri: str) -> str:
    """Return a URI without user and password, so that it can be shown."""
    return re.sub(r"(?<=//)[^/@]*@", "", uri)


def how_to_see(shown: str) -> str:
    """Return the command or address that opens the UI of a store, given its address without credentials."""
    database = sqlite_file(shown)
    if database is None:
        return shown
    if database == root() / "mlflow.db":
        return "make ui"
    return f"mlflow ui --backend-store-uri {shown} --artifacts-destination {database.parent / ARTIFACTS}"


def page(opened: Store, run_id: str) -> str:
    """Return the address of a run's page in the UI: on the store's server, or on the one that `make ui` starts."""
    server = opened.address.rstrip("/") if opened.address.startswith("http") else "http://127.0.0.1:5000"
    # without the query MLflow's UI shows its pages for language models
    return f"{server}/#/experiments/{opened.experiment_id}/runs/{run_id}?workflowType=machine_learning"


def disable_telemetry() -> None:
    """Turn off MLflow's telemetry and progress output before it is imported; variables that the user has set stay."""
    for name, value in _NO_TELEMETRY.items():
        os.environ.setdefault(name, value)


def connect(uri: str | None = None, *, retries: int = 1) -> Store:
    """Open the store and its experiment; create either where it is missing.

    MLflow's own time limits (120 s a request, up to seven retries; 200 s for a database) are cut to about 10 s.

    Args:
        uri: of the store; `tracking_uri()` by default.
        retries: how often a request that failed or timed out after 5 s is sent again.

    Raises:
        TrackingUnreachable: within 15 s, with the reason.
    """
    disable_telemetry()
    uri = uri or tracking_uri()
    shown = address(uri)
    try:
        import mlflow
        from mlflow import MlflowClient

        # alembic and MLflow's database module log at INFO even where nothing is wrong
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
        # the first logs a traceback of the error that it then raises, and the error becomes one line here; the other
        # warns of a store that went away, which the training says in its own words
        for name in ("mlflow.store.db.utils", "mlflow.system_metrics"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # MLflow writes the URI into the environment too: undone here, or it would override the next call's
        with environment({**_TIMEOUTS, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries), "MLFLOW_TRACKING_URI": uri}):
            _check_database(uri)
            mlflow.set_tracking_uri(uri)
            client = MlflowClient(uri)
            return Store(client, _experiment(client, uri), shown)
    except EarlierStore:
        raise
    except Exception as error:
        raise TrackingUnreachable(f"no MLflow at {shown}: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Return the cause of an error as one short line without credentials: that of socket, file or SQLite, if any."""
    chain = [error]
    while (
        cause := chain[-1].__cause__ or (None if chain[-1].__suppress_context__ else chain[-1].__context__)
    ) is not None:
        chain.append(cause)
    cause_shown = next((link for link in reversed(chain) if isinstance(link, OSError | sqlite3.Error)), error)
    lines = address(str(cause_shown)).strip().splitlines() or [type(cause_shown).__name__]
    return lines[0] if len(lines[0]) <= 200 else f"{lines[0][:197]}..."


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside a block; those that have their value already are not touched."""
    before = {name: os.environ.get(name) for name, value in values.items() if os.environ.get(name) != value}
    os.environ.update({name: values[name] for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def variables(uri: str) -> Iterator[None]:
    """Set inside this block every environment variable that `connect` would set, so that it changes none.

    For a program with threads: one that changes the environment while another reads it, as TensorFlow's native code
    does, crashes the process.
    """
    with environment({**_TIMEOUTS, "MLFLOW_TRACKING_URI": uri}):
        yield


@contextmanager
def no_retries() -> Iterator[None]:
    """Send every request once inside this block: where only the answer was lost, a retry would create a duplicate.

    The next training or publish finds what was created by its tags.
    """
    with environment({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}):
        yield


@contextmanager
def session(*, create: bool = True) -> Iterator[Store]:
    """Open the store for a block of code, and turn an error of MLflow into one line.

    Without `create` a database that does not exist is not made.

    A server that dies in the middle is noticed within seconds, not minutes; time limits that the user has set stay.
    MLflow's functions without an experiment argument use the one of this store.

    Raises:
        NoStore: it does not exist, and is not to be created.
        TrackingUnreachable: the store cannot be opened, or went away.
        TrackingFailed: the store refused a request.
    """
    database = sqlite_file(tracking_uri())
    if not create and database and not database.exists():
        raise NoStore(
            f"there is no registry here: {database} does not exist; `dvc repro` in the repository's root makes one, "
            "or name another in MLFLOW_TRACKING_URI"
        )
    opened = connect()
    from mlflow.exceptions import MlflowException

    timeouts = {name: value for name, value in _TIMEOUTS.items() if name not in os.environ}
    try:
        with environment({**timeouts, "MLFLOW_EXPERIMENT_ID": opened.experiment_id}):
            yield opened
    except (MlflowException, OSError) as error:
        connect(retries=0)  # raises TrackingUnreachable where the server has gone
        why = reason(error)
        hint = f"; {_SLOW}" if "timed out" in why else ""
        raise TrackingFailed(f"MLflow at {opened.address}: {why}{hint}") from error


def or_none(call: Callable[..., _T], *args: str) -> _T | None:
    """Call a method of MLflow's client with a name that may not exist; return None where it does not."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*args)
    except MlflowException as error:
        if error.error_code not in _MISSING:
            raise
        return None


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> "ArtifactRepository":
    """Return the repository of an `mlflow-artifacts:` URI: a folder beside SQLite, otherwise MLflow's own client.

    MLflow's plug-in (entry point group `mlflow.artifact_repository`): with ferops installed, any MLflow process opens
    `models:/fer-vgg16@challenger` from the database file, from any folder.
    """
    from mlflow import get_tracking_uri
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    database = sqlite_file(tracking_uri or get_tracking_uri())
    if database is None or urlsplit(artifact_uri).netloc:
        return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
    inside = unquote(urlsplit(artifact_uri).path).lstrip("/")
    folder = (database.parent / ARTIFACTS / inside).resolve()
    return LocalArtifactRepository(folder.as_uri(), tracking_uri, registry_uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the database file of an `sqlite:///` URI; None for any other URI."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None


def _check_database(uri: str) -> None:
    """Raise at once where a database cannot be opened: MLflow would retry for minutes."""
    database = sqlite_file(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        if not database.exists():
            _create(database)
        with closing(sqlite3.connect(database, timeout=_SECONDS)) as connection:
            connection.execute("PRAGMA schema_version")
        return
    parts = urlsplit(uri)
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if parts.scheme.partition("+")[0] in _PORTS and parts.hostname and port:
        with socket.create_connection((parts.hostname, port), timeout=_SECONDS):
            pass


def _create(database: Path) -> None:
    """Create an empty store under a temporary name, then rename it.

    MLflow creates the tables in many steps: SIGKILL between two would leave a file that it can neither use nor repair.
    `machine.files.replacing` would not do: it replaces a file that is there, and a store that another process created
    in the meantime must stay.
    """
    from mlflow import MlflowClient

    new = database.with_name(f"{database.name}.{uuid.uuid4().hex}.new")
    MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)  # creates the tables
    if database.exists():  # created by another process in the meantime
        new.unlink()
    else:
        new.rename(database)


def _experiment(client: "MlflowClient", uri: str) -> str:
    """Return the id of the experiment, created where it is missing.

    Raises:
        EarlierStore: it has runs of an earlier ferops; nothing of them is changed.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        tags = dict([_LAYOUT]) | saved_view()
        try:
            return str(client.create_experiment(EXPERIMENT, _artifact_location(uri), tags))
        except MlflowException:  # created by another process in the meantime
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    if found.tags.get(_LAYOUT[0]) != _LAYOUT[1]:
        raise EarlierStore(
            f"{address(uri)} was written by an earlier ferops: move it and its {ARTIFACTS}/ away or set "
            "MLFLOW_TRACKING_URI to a new one, then `ferops restore`"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _artifact_location(uri: str) -> str | None:
    """Return the artifact folder: beside SQLite, for another database in the root; None for a server, which has one."""
    if sqlite_file(uri) is not None:
        return f"{_SCHEME}:/{EXPERIMENT}"
    if urlsplit(uri).scheme.partition("+")[0] in _PORTS:
        return (root() / ARTIFACTS / EXPERIMENT).as_uri()
    return None
