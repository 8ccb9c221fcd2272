"""The servers of a team, as compose.yaml starts them: here as processes, on free ports of 127.0.0.1."""

import os
import pwd
import re
import shlex
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
from faults.servers import free_port, server
from ruamel.yaml import YAML
from support import ROOT

SECRETS = {"POSTGRES_PASSWORD": "pg-secret", "S3_KEY": "team", "S3_SECRET": "a secret"}
"""What .env sets; the S3 server accepts any keys."""

BUCKET = "ferops"
COMPOSE = (ROOT / "compose.yaml").read_text()


@dataclass(frozen=True)
class Team:
    """The running servers.

    Fields:
        addresses: host and port in compose.yaml -> on this machine.
        database: URI of a database of PostgreSQL.
    """

    addresses: dict[str, str]
    database: str

    @property
    def mlflow(self) -> str:
        """Address of MLflow's server; publishing needs no other."""
        return f"http://{self.addresses['mlflow:5000']}"

    @property
    def s3(self) -> str:
        """Address of the S3 server, with the bucket ferops."""
        return f"http://{self.addresses['s3:8333']}"

    def keys(self, folder: str) -> list[str]:
        """Return the names of the objects in a folder of the bucket: mlflow or dvc."""
        return [item.key.removeprefix(f"{folder}/") for item in self._objects(folder)]

    def empty(self) -> None:
        """Delete all content while the servers run."""
        self.lose()
        self._objects("dvc").delete()

    def lose(self) -> None:
        """Delete the content of MLflow's server while it runs: its database and its objects."""
        _recreate(self.database, "mlflow", template="empty")
        self._objects("mlflow").delete()

    def service(self, name: str) -> tuple[list[str], dict[str, str]]:
        """Return the command and the environment of a service of compose.yaml, on this machine's addresses."""
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda secret: SECRETS[secret[1]], COMPOSE)
        for theirs, ours in self.addresses.items():
            text = re.sub(f"(//|@){theirs}", rf"\g<1>{ours}", text)
            if theirs.startswith(f"{name}:"):
                (_, listens), (host, port) = theirs.split(":"), ours.split(":")
                text = text.replace(f"--host 0.0.0.0 --port {listens}", f"--host {host} --port {port}")
        found = YAML(typ="safe", pure=True).load(text)["services"][name]
        return shlex.split(found["command"]), found["environment"]

    def _objects(self, folder: str) -> Any:
        return _s3(self.s3).Bucket(BUCKET).objects.filter(Prefix=f"{folder}/")


@contextmanager
def team(folder: Path) -> Iterator[Team]:
    """Start PostgreSQL, S3 and MLflow's server, and end them after the block."""
    with _postgresql() as database, _s3_server(folder) as s3:
        with _connected(database) as cursor:
            for statement in (ROOT / "compose.sql").read_text().split(";")[:-1]:
                cursor.execute(statement)
        _recreate(database, "empty")
        mlflow.MlflowClient(_named(database, "empty")).search_experiments()  # makes the tables
        _recreate(database, "mlflow", template="empty")
        addresses = {
            "postgres:5432": database.partition("@")[2].partition("/")[0],
            "s3:8333": s3.removeprefix("http://"),
            "mlflow:5000": f"127.0.0.1:{free_port()}",
            "prefect:4200": f"127.0.0.1:{free_port()}",
        }
        running = Team(addresses, database)
        command, environment = running.service("mlflow")
        with server(command, f"{running.mlflow}/health", folder / "mlflow.log", **environment):
            yield running


def _named(database: str, name: str) -> str:
    """Return the URI of another database on the same server."""
    return f"{database.rpartition('/')[0]}/{name}"


def _recreate(database: str, name: str, template: str = "template1") -> None:
    """Create a database anew from a template; connections to either are closed."""
    with _connected(database) as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (template,))
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


@contextmanager
def _connected(database: str) -> Iterator[Any]:
    with closing(psycopg2.connect(database.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


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
        (folder / "password").write_text(SECRETS["POSTGRES_PASSWORD"])
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
        uri = f"postgresql+psycopg2://ferops:{SECRETS['POSTGRES_PASSWORD']}@127.0.0.1:{port}/postgres"

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
    """moto's server, which speaks S3 and keeps everything in memory; with an empty bucket."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with server(["moto_server", "-H", "127.0.0.1", "-p", str(port)], f"{address}/moto-api/", folder / "s3.log"):
        _s3(address).create_bucket(Bucket=BUCKET)
        yield address


def _s3(address: str) -> Any:
    return boto3.resource(
        "s3",
        endpoint_url=address,
        aws_access_key_id=SECRETS["S3_KEY"],
        aws_secret_access_key=SECRETS["S3_SECRET"],
        region_name="us-east-1",
    )
