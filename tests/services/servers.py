"""The servers of a team: PostgreSQL, an S3 server, and MLflow's server on both; on free ports of 127.0.0.1."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import mlflow
import psycopg2
import pytest
from faults.repros import eventually
from faults.servers import free_port, mlflow_server, server

KEYS = {"AWS_ACCESS_KEY_ID": "team", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_DEFAULT_REGION": "us-east-1"}
"""Keys of the S3 server, which accepts any."""

PASSWORD = "pg-secret"
BUCKETS = ("mlflow", "data")


@dataclass(frozen=True)
class Team:
    """The running servers.

    Fields:
        mlflow: address of MLflow's server; publishing needs no other.
        s3: address of the S3 server, with the buckets of BUCKETS.
        database: URI of PostgreSQL, as MLflow's server has it.
    """

    mlflow: str
    s3: str
    database: str

    def keys(self, bucket: str) -> list[str]:
        """Return the names of the objects in a bucket."""
        return [item.key for item in self._bucket(bucket).objects.all()]

    def empty(self) -> None:
        """Delete all content while the servers run."""
        self.lose()
        self._bucket("data").objects.all().delete()

    def lose(self) -> None:
        """Delete the content of MLflow's server while it runs: its database and its bucket."""
        _recreate(self.database, "mlflow", template="empty")
        self._bucket("mlflow").objects.all().delete()

    def _bucket(self, name: str) -> Any:
        return _s3(self.s3).Bucket(name)


@contextmanager
def team(folder: Path) -> Iterator[Team]:
    """Start all servers, and end them after the block."""
    with _postgresql() as database, _s3_server(folder) as s3:
        _recreate(database, "empty")
        mlflow.MlflowClient(_named(database, "empty")).search_experiments()  # makes the tables
        _recreate(database, "mlflow", template="empty")
        settings = {
            "MLFLOW_BACKEND_STORE_URI": _named(database, "mlflow"),
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow",
            "MLFLOW_S3_ENDPOINT_URL": s3,
            "MLFLOW_WORKERS": "2",
        }
        with mlflow_server(folder, **settings, **KEYS) as address:
            yield Team(address, s3, database)


def _named(database: str, name: str) -> str:
    """Return the URI of another database on the same server."""
    return f"{database.rpartition('/')[0]}/{name}"


def _recreate(database: str, name: str, template: str = "template1") -> None:
    """Create a database anew from a template; connections to either are closed."""
    with closing(psycopg2.connect(database.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (template,)
            )
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


@contextmanager
def _postgresql() -> Iterator[str]:
    """Run a PostgreSQL cluster with a password; yield the URI of its database `postgres` as MLflow takes it."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name), reverse=True)
    programs = os.pathsep.join([*map(str, newest), os.environ["PATH"]])
    if shutil.which("initdb", path=programs) is None:
        pytest.exit("PostgreSQL is missing; Debian and Ubuntu: apt-get install postgresql", returncode=1)
    initdb, postgres = (str(shutil.which(name, path=programs)) for name in ("initdb", "postgres"))
    # it refuses to run as root; Debian's package makes a user for it
    user = pwd.getpwnam("postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
    as_user: dict[str, Any] = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    with tempfile.TemporaryDirectory(prefix="ferops-postgresql-") as temporary:
        folder, port = Path(temporary), free_port()
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
        made = subprocess.run(
            [initdb, "-D", "data", "-U", "ferops", "--auth=scram-sha-256", "--pwfile=password", "-E", "UTF8", "-N"],
            cwd=folder, capture_output=True, text=True, check=False, **as_user,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [postgres, "-D", "data", "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"],
                cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **as_user,
            )  # fmt: skip
        uri = f"postgresql+psycopg2://ferops:{PASSWORD}@127.0.0.1:{port}/postgres"

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with suppress(psycopg2.OperationalError):
                psycopg2.connect(uri.replace("+psycopg2", "")).close()
                return True
            return False

        try:
            eventually(answers, 60, lambda: f"an answer of PostgreSQL\n{(folder / 'log').read_text()}")
            yield uri
        finally:
            process.send_signal(signal.SIGINT)  # "fast shutdown": it ends its own processes, which are in other groups
            process.wait(60)


@contextmanager
def _s3_server(folder: Path) -> Iterator[str]:
    """moto's server, which speaks S3 and keeps everything in memory; with empty buckets."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with server(["moto_server", "-H", "127.0.0.1", "-p", str(port)], f"{address}/moto-api/", folder / "s3.log"):
        for bucket in BUCKETS:
            _s3(address).create_bucket(Bucket=bucket)
        yield address


def _s3(address: str) -> Any:
    return boto3.resource(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=KEYS["AWS_DEFAULT_REGION"],
    )
