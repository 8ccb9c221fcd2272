"""`ferops serve` beside `mlflow models serve`, on the same registered model.

Both get the same faces, one a request: ours as PNG files in forms, MLflow's as lists of numbers in JSON.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from typing import NamedTuple

import cv2
import numpy as np
from measure import Line, compare, seconds

REQUESTS = 64
CONCURRENT = (1, 32)
HEAD = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a.png"\r\n\r\n'
FORM, JSON = "multipart/form-data; boundary=x", "application/json"


class Server(NamedTuple):
    """A server: its command, without the port; where faces are posted; and their form there."""

    command: list[str]
    path: str
    kind: str
    body: Callable[[np.ndarray], bytes]


def form(face: np.ndarray) -> bytes:
    """Return a face as a form with a PNG file."""
    return HEAD + cv2.imencode(".png", face)[1].tobytes() + b"\r\n--x--\r\n"


def numbers(face: np.ndarray) -> bytes:
    """Return a face as MLflow takes it."""
    return json.dumps({"inputs": face[None].tolist()}).encode()


def lines(model: str, environment: dict[str, str]) -> list[Line]:
    """Measure both servers: seconds from the command to the first answer, and milliseconds a face.

    Args:
        model: a registered model, as `fer-lean-cnn/1`.
        environment: names the store that has it.
    """
    servers = {
        "`mlflow models serve`": Server(
            ["mlflow", "models", "serve", "--env-manager", "local", "--model-uri", f"models:/{model}"],
            "/invocations", JSON, numbers,
        ),
        "`ferops serve`": Server(["ferops", "serve", "--detector", "none", "--model", model], "/predict", FORM, form),
    }  # fmt: skip
    faces = np.random.default_rng(0).integers(0, 256, (REQUESTS, 48, 48), dtype=np.uint8)

    def start(server: Server) -> float:
        started = time.perf_counter()
        with running(server, environment):
            return time.perf_counter() - started

    found = {"a server's first answer": ("s", compare(servers, 3, start))}
    with ExitStack() as stack:
        ports = {server.path: stack.enter_context(running(server, environment)) for server in servers.values()}
        bodies = {server.path: [server.body(face) for face in faces] for server in servers.values()}
        for concurrent in CONCURRENT:

            def answer(server: Server, concurrent: int = concurrent) -> float:
                return (
                    1000 * seconds(lambda: ask(ports[server.path], server, bodies[server.path], concurrent)) / REQUESTS
                )

            compare(servers, 1, answer)  # warm
            found[f"a face served, {concurrent} at a time"] = ("ms", compare(servers, figure=answer))
    usual, ours = servers
    return [Line(work, usual, ours, unit, times[usual], times[ours]) for work, (unit, times) in found.items()]


@contextmanager
def running(server: Server, environment: dict[str, str]) -> Iterator[int]:
    """Start a server, and wait until it answers; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*server.command, "--port", str(port)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while not answers(port, server):
            if process.poll() is not None:
                sys.exit(f"{' '.join(server.command)} ended with status {process.returncode}")
            time.sleep(0.05)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # MLflow's server is a child of its command
        process.wait()


def answers(port: int, server: Server) -> bool:
    """Whether the server answers already."""
    try:
        ask(port, server, [server.body(np.zeros((48, 48), np.uint8))], 1)
    except (OSError, AssertionError):
        return False
    return True


def ask(port: int, server: Server, bodies: list[bytes], concurrent: int) -> None:
    """Post the bodies over so many connections."""

    def over_a_connection(own: list[bytes]) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        for body in own:
            connection.request("POST", server.path, body, {"Content-Type": server.kind})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status  # noqa: S101
        connection.close()

    with ThreadPoolExecutor(concurrent) as pool:
        list(pool.map(over_a_connection, (bodies[at::concurrent] for at in range(concurrent))))
