"""What a user waits for before any work is done: commands that start, a pipeline that is up to date, Prefect's flow."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from matplotlib import cbook
from measure import Line, compare, seconds

from ferops import params
from ferops.machine import worktrees

SMALL = {
    "sample": {"train": 140, "validation": 70, "test": 70},
    "model": {"name": "lean_cnn", "weights": "none", "frozen_blocks": 0, "noise": 0.0},
    "train": {"epochs": 1},
    "validate": {"max_kl_divergence": 0.3, "count_tolerance": 0.2},
}
ROUNDS = 3


@contextmanager
def small_pipeline() -> Iterator[tuple[Path, dict[str, str]]]:
    """Run `dvc repro` on a few faces in a worktree; yields the folder, and the environment of commands in it.

    Its MLflow store has one registered model: fer-lean-cnn/1.
    """
    with worktrees.worktree(None) as folder, tempfile.TemporaryDirectory() as home:
        params.merge(SMALL, folder / "params.yaml")
        environment = {
            **{name: text for name, text in worktrees.environment(folder).items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": home,
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        }
        run(["dvc", "repro"], folder, environment)
        yield folder, environment


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a command, or end with what it reports."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


@contextmanager
def prefect_server(environment: dict[str, str]) -> Iterator[dict[str, str]]:
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


def lines(folder: Path, environment: dict[str, str]) -> list[Line]:
    """Measure commands in the folder of a pipeline that is up to date; `publish` runs, as always."""
    photo = folder / "portrait.jpg"
    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        photo.write_bytes(stream.read())
    flow, keras = ["python", "flows/training.py"], ["--model", "weights/lean_cnn.keras"]
    with prefect_server(environment) as with_server:
        found = compare(
            {
                "help": (["ferops", "--help"], environment),
                "keras": (["ferops", "predict", photo.name, *keras], environment),
                "predict": (["ferops", "predict", photo.name], environment),
                "repro": (["dvc", "repro"], environment),
                "flow": (flow, with_server),
                "flow alone": (flow, environment),
            },
            ROUNDS,
            lambda way: seconds(lambda: run(way[0], folder, way[1])),
        )
    repro = median(found["repro"])
    return [
        Line("`ferops --help`", "", "", "s", [], found["help"]),
        Line("`ferops predict`, a photograph", "Keras", "LiteRT", "s", found["keras"], found["predict"]),
        Line("`dvc repro`, all up to date", "", "", "s", [], found["repro"]),
        Line("the same as a flow, with a server", "", "", "s", [], found["flow"], floor=repro),
        Line("the same as a flow, without a server", "", "", "s", [], found["flow alone"], floor=repro),
    ]
