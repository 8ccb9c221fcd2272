"""`fer` from PyPI and `ferops predict` side by side: accuracy, time, memory and size, the table of docs/results.md.

Run it in the repository's root: `python benchmarks/against_fer.py fer2013.csv`. `fer` needs an environment of its own:
its OpenCV is another one. It is made in .scratch/fer at the first run: pip fetches 3 GB.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import compare
from numpy.typing import NDArray

ROUNDS = 5
ENVIRONMENT = Path(".scratch/fer")
COLD = {
    "fer": [str(ENVIRONMENT / "bin/python"), "-m", "fer.fer", "--image"],
    "ferops": [str(Path(sys.executable).with_name("ferops")), "predict"],
}
Faces = NDArray[np.uint8]


def main(copy: Path) -> None:
    """Measure both by turns, and print a row for each measurement: medians, and how many times `fer` needs ours."""
    from ferops.data.readers import layouts
    from ferops.predict import networks

    if not ENVIRONMENT.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([ENVIRONMENT / "bin/pip", "install", "fer"], check=True)
    data = layouts.read(copy)
    public = np.asarray(data.usages) == "PublicTest"
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "faces.npy"), data.images[public])
        one, ten = pictures(Path(folder))
        pythons = {"fer": ENVIRONMENT / "bin/python", "ferops": sys.executable}
        workers = {name: Worker([str(python), __file__, "--worker", name, folder]) for name, python in pythons.items()}
        answers = {name: np.array(worker.ask("classify")) for name, worker in workers.items()}
        accuracy = {name: float((found == data.labels[public]).mean()) for name, found in answers.items()}
        tasks = {
            "ms a face, one at a time": ["batch", 1],
            "ms a face, 64 at once": ["batch", 64],
            "ms a photograph with 1 face": ["picture", str(one)],
            "ms a photograph with 10 faces": ["picture", str(ten)],
        }
        found = {row: compare(workers, ROUNDS, lambda one, task=task: one.ask(*task)) for row, task in tasks.items()}
        loaded = {name: [worker.ask("loaded")] for name, worker in workers.items()}
        cold = compare(COLD, ROUNDS, lambda command: from_the_shell([*command, str(one)]))
    print(f"| | fer | ferops, {networks.load().name} | ratio |\n| --- | --- | --- | --- |")
    print(f"| accuracy on PublicTest, n = {public.sum():,} | {accuracy['fer']:.3f} | {accuracy['ferops']:.3f} | |")
    for row, measured in found.items():
        note = ", ".join(f"{runs[-1][1]}" for runs in measured.values())
        times = {name: [1000 * seconds for seconds, _ in runs] for name, runs in measured.items()}
        show(f"{row} (found: {note})" if "photograph" in row else row, times)
    for at, row in enumerate(("seconds from the shell to the answer", "MiB of memory at most on the way")):
        show(row, {name: [run[at] for run in runs] for name, runs in cold.items()})
    show("MB of the packages that were loaded", loaded)
    show("MB of the environment", {"fer": [size(ENVIRONMENT)], "ferops": [size(Path(sys.prefix))]})


def show(row: str, measured: dict[str, list[float]]) -> None:
    """Print the medians of a row."""
    theirs, ours = (statistics.median(measured[name]) for name in ("fer", "ferops"))
    print(f"| {row} | {theirs:,.3g} | {ours:,.3g} | {theirs / ours:.1f} |")


def pictures(folder: Path) -> tuple[Path, Path]:
    """Write matplotlib's portrait, and a photograph of sklearn's with the portrait's head in it ten times."""
    from matplotlib import cbook
    from sklearn.datasets import load_sample_image

    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        content = stream.read()
    portrait = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    head = cv2.resize(portrait[60:400, 110:430], (200, 212), interpolation=cv2.INTER_AREA)
    crowd = cv2.resize(load_sample_image("china.jpg")[..., ::-1], (1200, 900))
    for number in range(10):
        left, top = 20 + 235 * (number % 5), 150 + 400 * (number // 5)
        crowd[top : top + 212, left : left + 200] = head
    one, ten = folder / "one.jpg", folder / "ten.jpg"
    one.write_bytes(content)
    cv2.imwrite(str(ten), crowd)
    return one, ten


class Worker:
    """A process with one of the two loaded, that answers a line of JSON with another."""

    def __init__(self, command: list[str]) -> None:
        """Start it, and wait until it is ready."""
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *task: str | int) -> Any:
        """Return its answer."""
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def work(name: str, folder: Path) -> None:
    """Answer the tasks on standard input: `classify`, `batch` with a size, `picture` with a path, `loaded`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a package prints is no answer
    faces = np.load(folder / "faces.npy")
    classify, find = {"fer": fer, "ferops": ferops}[name]()
    for line in sys.stdin:
        match json.loads(line):
            case ["classify"]:
                answer = np.concatenate([classify(faces[at : at + 64]) for at in range(0, len(faces), 64)]).tolist()
            case ["batch", batch]:
                parts = [faces[at : at + batch] for at in range(0, 640, batch)]
                answer = min(timed(lambda part=part: classify(part), batch) for part in parts)  # other work only adds
            case ["picture", path]:
                find(path)
                answer = timed(lambda: find(path), 1)
            case ["loaded"]:
                of_module = metadata.packages_distributions()
                packages = {package for module in sys.modules for package in of_module.get(module, ())}
                files = {Path(file.locate()) for package in packages for file in metadata.files(package)}
                answer = sum(file.lstat().st_size for file in files if file.exists()) / 1e6
        print(json.dumps(answer), file=answers, flush=True)


def timed(call: Callable[[], Any], number: int) -> tuple[float, int]:
    """Return the seconds that a call takes for each of so many, and its result where that is a number."""
    start = time.perf_counter()
    result = call()
    return (time.perf_counter() - start) / number, result if isinstance(result, int) else 0


def fer() -> tuple[Callable[[Faces], Any], Callable[[str], int]]:
    """Return how `fer` names the expressions of crops, uint8 (N, 48, 48), and how many faces it finds in a file.

    Crops go through what its `detect_emotions` does with a face that it has found: 64 x 64 pixels, -1 to 1. Its classes
    are numbered as FER2013's are.
    """
    from fer.fer import FER

    recognizer = FER()

    def classify(faces: Faces) -> NDArray[np.int64]:
        enlarged = np.array([cv2.resize(face, (64, 64)) for face in faces], "float32")
        return recognizer._classify_emotions((enlarged / 255 - 0.5) * 2).argmax(axis=1)

    return classify, lambda path: len(recognizer.detect_emotions(path))


def ferops() -> tuple[Callable[[Faces], Any], Callable[[str], int]]:
    """Return the same of ours."""
    from ferops import ExpressionRecognizer

    recognizer = ExpressionRecognizer()
    return (
        lambda faces: recognizer.network.probabilities(faces).argmax(axis=1),
        lambda path: len(recognizer.predict(path)[0].faces),
    )


def from_the_shell(command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command takes, and the MiB of memory that it needs at most.

    Another process starts it: a child begins with the memory of its parent, which has the images here.
    """
    code = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True, check=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def size(environment: Path) -> float:
    """Return the MB of a virtual environment."""
    return sum(file.lstat().st_size for file in environment.rglob("*")) / 1e6


if __name__ == "__main__":
    if sys.argv[1] == "--worker":
        work(sys.argv[2], Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]))
