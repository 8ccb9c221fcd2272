"""A real MLflow server, and an HTTP proxy in front of it that injects faults."""

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

Behavior = Literal["normal", "dead", "silent", "error", "lost"]
"""What happens to a request: forwarded; disconnected; never answered; answered with 500; forwarded, answer lost."""


class Gateway:
    """An HTTP proxy on a port of its own."""

    def __init__(self, server: str, user: str = "", password: str = "") -> None:
        """Start the proxy in front of a server; it demands user and password where a user is given."""
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self.server = server
        """Address of the server behind the proxy, without faults."""
        self.requests = 0
        """Number of requests since `behave` was called."""
        self.first_fault = 0.0
        """Monotonic time of the first fault since `behave` was called."""
        self._behavior: tuple[Behavior, int, str] = ("normal", 0, "")
        self._changed = threading.Event()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):  # the client timed out earlier
                    super().handle_one_request()

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if credentials and self.headers.get("Authorization") != f"Basic {credentials}":
                    self._answer(401, {"WWW-Authenticate": "Basic"}, b"who are you?")
                    return
                behavior, changed = gateway._next(self.path)
                if behavior == "error":
                    self._answer(500, {}, b"injected fault")
                    return
                if behavior == "silent":
                    changed.wait()
                if behavior in ("normal", "lost"):
                    answer = self._forward(body)
                    if behavior == "normal":
                        self._answer(*answer)
                        return
                self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do  # noqa: N815  # the base class names them

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
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

    def behave(self, behavior: Behavior, *, after: int = 0, at: str = "") -> None:
        """Change the behavior, after a number of normal requests and from the first one whose path contains `at`."""
        self._changed.set()
        self._changed = threading.Event()
        self.requests, self.first_fault, self._behavior = 0, 0.0, (behavior, after, at)

    def close(self) -> None:
        self._changed.set()
        self._http.shutdown()
        self._http.server_close()

    def _next(self, path: str) -> tuple[Behavior, threading.Event]:
        self.requests += 1
        behavior, after, at = self._behavior
        if behavior == "normal" or self.requests <= after or (not self.first_fault and at not in path):
            return "normal", self._changed
        self.first_fault = self.first_fault or time.monotonic()
        return behavior, self._changed


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def server(
    command: list[str], health: str, log: Path, folder: Path | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for a block of code, which begins once the address `health` answers.

    Args:
        command: run in `folder`, or where its log is.
        health: answers 200 once the server is ready.
        log: file for both its outputs.
        folder: its working directory.
        environment: added to this process's own.
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
    """Run MLflow's own server with one worker, with store and log in a folder; yield its address.

    Args:
        folder: for everything that it writes.
        environment: settings that differ: each option of `mlflow server` has a variable.
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
