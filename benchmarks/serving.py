"""Compare `ferops serve` with `mlflow models serve` on the same registered model, as ratios measured in one run.

    python benchmarks/serving.py fer-lean-cnn/1

Both get the same faces, one a request: ours as PNG files in forms, MLflow's as lists of numbers in JSON.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from ferops.tracking import store

REQUESTS = 256
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


def main(model: str) -> None:
    """Measure both servers, one after the other, and print a row for each number of concurrent requests."""
    ours = ["ferops", "serve", "--detector", "none", "--model", model]
    theirs = ["mlflow", "models", "serve", "--env-manager", "local", "--model-uri", f"models:/{model}"]
    measured = [
        measure(Server(ours, "/predict", FORM, form)),
        measure(Server(theirs, "/invocations", JSON, numbers)),
    ]
    table = Table("", "ferops serve", "mlflow models serve", "ratio")
    for (name, mine), (_, other) in zip(*measured, strict=True):
        table.add_row(name, f"{mine:,.3g}", f"{other:,.3g}", f"{other / mine:.2f}")
    Console().print(table)


def measure(server: Server) -> list[tuple[str, float]]:
    """Return what is measured of a server: seconds until its first answer, and times and throughput of requests."""
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (REQUESTS, 48, 48), dtype=np.uint8)
    bodies = [server.body(face) for face in faces]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.tracking_uri()}
    command = [*server.command, "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while process.poll() is None and not answers(port, server, bodies[0]):
            time.sleep(0.05)
        rows = [("seconds to the first answer", time.perf_counter() - started)]
        ask(port, server, bodies[:64], 8)  # warm
        for concurrent in CONCURRENT:
            started = time.perf_counter()
            times = ask(port, server, bodies, concurrent)
            seconds = time.perf_counter() - started
            rows += [
                (f"{concurrent} at a time: p50, ms", 1000 * float(np.percentile(times, 50))),
                (f"{concurrent} at a time: p95, ms", 1000 * float(np.percentile(times, 95))),
                (f"{concurrent} at a time: ms a face", 1000 * seconds / len(bodies)),
            ]
        return rows
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # MLflow's server is a child of its command
        process.wait()


def answers(port: int, server: Server, body: bytes) -> bool:
    """Whether the server answers already."""
    try:
        ask(port, server, [body], 1)
    except (OSError, AssertionError):
        return False
    return True


def ask(port: int, server: Server, bodies: list[bytes], concurrent: int) -> list[float]:
    """Post the bodies over so many connections; return the seconds of each."""

    def over_a_connection(own: list[bytes]) -> list[float]:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        times = []
        for body in own:
            started = time.perf_counter()
            connection.request("POST", server.path, body, {"Content-Type": server.kind})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status  # noqa: S101
            times.append(time.perf_counter() - started)
        connection.close()
        return times

    with ThreadPoolExecutor(concurrent) as pool:
        shares = pool.map(over_a_connection, (bodies[at::concurrent] for at in range(concurrent)))
        return [seconds for share in shares for seconds in share]


if __name__ == "__main__":
    main(sys.argv[1])
