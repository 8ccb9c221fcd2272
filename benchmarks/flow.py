"""Measure the overhead of Prefect: the training flow against a bare `dvc repro`, everything up to date (`make bench`).

The least of three times counts. Only `publish` runs, as always, in each of them.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

FLOW = [sys.executable, "flows/training.py"]
REPRO = [sys.executable, "-m", "dvc", "repro"]


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the least of three wall-clock times."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


@contextmanager
def server(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Start a Prefect server on a free port; yields the environment of its clients."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with suppress(OSError):  # it listens once it is ready
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        yield {**environment, "PREFECT_API_URL": address}
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure each way of running, and print a table."""
    if not Path("dvc.lock").is_file():
        sys.exit("run this in the root of the clone, after `dvc repro`")
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment["PREFECT_HOME"] = home
        subprocess.run(REPRO, env=environment, check=True)  # brings everything up to date
        bare = seconds(REPRO, environment)
        rows = [("flows/training.py without a server", seconds(FLOW, environment), 40)]
        with server(environment) as with_server:
            rows.insert(0, ("flows/training.py with a server", seconds(FLOW, with_server), 10))
    table = Table("everything up to date", "seconds", "over dvc repro", "at most")
    table.add_row("dvc repro", f"{bare:.1f}", "", "")
    for name, taken, bound in rows:
        table.add_row(name, f"{taken:.1f}", f"{taken - bare:.1f}", str(bound))
    Console().print(table)


if __name__ == "__main__":
    main()
