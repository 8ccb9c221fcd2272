"""A real MLflow server, and a gateway before it that can be told to misbehave."""

import base64
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from faults.repros import eventually

Mood = Literal["well", "dead", "silent", "error", "lost"]
"""How requests are treated: passed on; cut off; never answered; answered by 500; passed on and the answer cut off."""


class Gateway:
    """An HTTP proxy on a port of its own."""

    def __init__(self, server: str, user: str = "", password: str = "") -> None:
        """Stand before a server; for whoever has user and password, where a user is given."""
        asked = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self.server = server
        """Address of the server behind: always well."""
        self.requests = 0
        """How many were made since `be` was called."""
        self.first_fault = 0.0
        """When, on the monotonic clock, the first request was treated otherwise than well since `be` was called."""
        self._be_from: tuple[Mood, int, str] = ("well", 0, "")
        self._changed = threading.Event()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):  # the client had less patience
                    super().handle_one_request()

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if asked and self.headers.get("Authorization") != f"Basic {asked}":
                    self._answer(401, {"WWW-Authenticate": "Basic"}, b"who are you?")
                    return
                mood, changed = gateway._next(self.path)
                if mood == "error":
                    self._answer(500, {}, b"all is not well")
                    return
                if mood == "silent":
                    changed.wait()
                if mood in ("well", "lost"):
                    answer = self._pass_on(body)
                    if mood == "well":
                        self._answer(*answer)
                        return
                self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do  # noqa: N815  # the base class names them

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection(gateway.server.removeprefix("http://"), timeout=60)
                with suppress(KeyError):
                    del self.headers["Host"]
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                return answer.status, {"Content-Type": answer.getheader("Content-Type", "text/plain")}, content

            def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def be(self, mood: Mood, *, after: int = 0, at: str = "") -> None:
        """Change the mood, once so many more requests were treated well, and from one on whose path holds `at`."""
        self._changed.set()
        self._changed = threading.Event()
        self.requests, self.first_fault, self._be_from = 0, 0.0, (mood, after, at)

    def close(self) -> None:
        self._changed.set()
        self._http.shutdown()
        self._http.server_close()

    def _next(self, path: str) -> tuple[Mood, threading.Event]:
        self.requests += 1
        mood, after, at = self._be_from
        if mood == "well" or self.requests <= after or (not self.first_fault and at not in path):
            return "well", self._changed
        self.first_fault = self.first_fault or time.monotonic()
        return mood, self._changed


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def server(
    command: list[str], health: str, log: Path, folder: Path | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that serves until the block ends, from the moment on that the address `health` is answered.

    Args:
        command: started where its log is, or in `folder`.
        health: answers 200 once it serves.
        log: file for both its outputs.
        folder: where it is started.
        environment: added to this process' own.
    """
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=folder or log.parent, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, f"{command[0]} ended\n{log.read_text()[-3000:]}"
        with suppress(OSError), urllib.request.urlopen(health, timeout=5) as answer:
            return answer.status == 200
        return False

    try:
        eventually(answers, 180, lambda: f"an answer of {command[0]}\n{log.read_text()[-3000:]}")
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def mlflow_server(folder: Path, **environment: str) -> Iterator[str]:
    """MLflow's own server with one worker, and its store and log in a folder; gives its address.

    Args:
        folder: for all that it writes.
        environment: what it is to do otherwise: each option of `mlflow server` has a variable.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'server.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "models"),
        "MLFLOW_WORKERS": "1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **environment,
    }
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    with server(command, f"{address}/health", folder / "mlflow.log", **settings):
        yield address
