"""A Prefect server, a process worker and the deployments of a clone; on loopback, with settings of their own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from faults.repros import eventually
from faults.servers import free_port, server
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

LOOPBACK = Path(__file__).parent / "loopback"
DEPLOY = "prefect work-pool create ferops --type process && prefect --no-prompt deploy --all"
"""As README has it."""

MAKE_SERVER = ["make", "--no-print-directory", "-o", ".venv/.synced", "server"]
"""make with the set-up taken as done."""


@dataclass
class Deployed:
    """What a user has after README's commands.

    Fields:
        clone: the git repository that was deployed.
        elsewhere: the folder in which everything else is typed.
        environment: of all commands.
        client: of the server.
        left: has a line for each attempt to reach another machine.
    """

    clone: Path
    elsewhere: Path
    environment: dict[str, str]
    client: SyncPrefectClient
    left: Path
    _workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def type(self, *command: str, folder: Path | None = None) -> str:
        """What a user types, elsewhere where nothing is said; gives what it printed, and fails where it fails."""
        done = subprocess.run(
            command, cwd=folder or self.elsewhere, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start_worker(self, *command: str) -> None:
        """Start a worker: README's, where no other command is given."""
        with (self.elsewhere / "worker.log").open("a") as log:
            self._workers.append(
                subprocess.Popen(
                    command or ["prefect", "worker", "start", "--pool", "ferops"],
                    cwd=self.elsewhere, env=self.environment, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )  # fmt: skip

    def kill_worker(self) -> None:
        """SIGKILL, to it alone."""
        worker = self._workers.pop()
        worker.kill()
        worker.wait()

    def start(self, deployment: str, **parameters: Any) -> UUID:
        """Start a run of a deployment."""
        before = {run.id for run in self.client.read_flow_runs()}
        given = [word for name, value in parameters.items() for word in ("-p", f"{name}={json.dumps(value)}")]
        self.type("prefect", "deployment", "run", deployment, *given)
        (started,) = [run.id for run in self.client.read_flow_runs() if run.id not in before]
        return started

    def wait(self, run: UUID, *names: str, within: float = 600) -> FlowRun:
        """The run, once its state has one of these names; fails where it ends in another one."""

        def found() -> FlowRun | None:
            time.sleep(0.5)  # the server has more to do than to answer this
            seen = self.client.read_flow_run(run)
            if seen.state and seen.state.name in names:
                return seen
            assert not seen.state or not seen.state.is_final(), f"{seen.state}\n{self.log(run)}"
            return None

        return eventually(found, within, lambda: f"{names}: {self.client.read_flow_run(run).state}\n{self.log(run)}")

    def log(self, run: UUID) -> str:
        return self.type("prefect", "flow-run", "logs", str(run))

    def processes(self, run: UUID) -> list[psutil.Process]:
        """Of a run: its flow's, DVC's, its stages'."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get("PREFECT__FLOW_RUN_ID") == str(run)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def process(self, run: UUID, *words: str) -> psutil.Process:
        """The process of a run that has these words in its command, as soon as there is one."""

        def found() -> psutil.Process | None:
            for process in self.processes(run):
                with suppress(psutil.Error):
                    if set(words) <= set(process.cmdline()):
                        return process
            return None

        return eventually(found, 120, lambda: f"a process {words}\n{self.log(run)}")

    def end(self) -> None:
        """Every process here, flows included, by its own id."""
        home = self.environment["PREFECT_HOME"]
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("PREFECT_HOME") == home:
                    process.send_signal(signal.SIGKILL)
        for worker in self._workers:
            worker.wait()


@contextmanager
def deployed(clone: Path, folder: Path) -> Iterator[Deployed]:
    """`make server`, a work pool, the deployments and a worker; all ended with the block.

    Args:
        clone: a git repository, everything committed.
        folder: for all that they write.
    """
    port = free_port()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT_TRACK"))}
    environment = ours | {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",  # 30 by default
        "PYTHONPATH": os.pathsep.join(filter(None, [str(LOOPBACK), os.environ.get("PYTHONPATH")])),
        "LEFT": str(folder / "left"),
    }
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / "left").touch()
    health = f"{environment['PREFECT_API_URL']}/health"
    with (
        server(MAKE_SERVER, health, folder / "server.log", folder=clone, **environment),
        SyncPrefectClient(environment["PREFECT_API_URL"]) as client,
    ):
        here = Deployed(clone, elsewhere, environment, client, folder / "left")
        try:
            here.type("bash", "-c", DEPLOY, folder=clone)
            here.start_worker()
            yield here
        finally:
            here.end()
