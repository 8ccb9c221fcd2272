"""How long a network takes for a face, in each form and size of batch, on one thread and on two, as medians of one run.

    python benchmarks/inference.py [--all] [--systems NAME,...] [--fer2013 PATH]

Every form is the same graph, from raw faces to calibrated probabilities, median filter included (lean_cnn has none), in
a process of its own for each number of threads; the processes take turns. The networks are weights/lean_cnn.keras,
models/core.keras of this clone where it is the system, else random weights, of which no accuracy is told. Faces are
FER2013's PublicTest for lean_cnn where PATH or the variable FER2013_MINI names a copy, else the generated sample's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import measure
import numpy as np

from ferops import params
from ferops.data.readers import layouts
from ferops.data.synthetic import generator
from ferops.model.serving.batches import in_batches

RESULTS = Path(__file__).with_suffix(".json")
BEGIN = "<!-- benchmarks/inference.py writes from here -->\n"
SAMPLE = Path("data/sample/fer2013.csv")
KERNELS = {"lean_cnn": 1}
"""Median filter of the network that was trained without one; the others have 3."""
FEW = "lean_cnn,vgg16_transfer,vgg16_best"
FORMS = {
    "Keras, predict": "core.keras",
    "Keras, predict_on_batch": "core.keras",
    "SavedModel": "saved",
    "ONNX": "network.onnx",
    "LiteRT": "network.tflite",
    "LiteRT with maps": "maps.tflite",
    "LiteRT, int8": "int8.tflite",
}
"""Their files; Keras predict is the usual way. `evaluate` exports LiteRT with the maps of Grad-CAM."""
THREADS = (1, 2)
CALLS = {1: 5, 64: 1}
"""Calls in a measurement, by the size of the batch."""
ROUNDS = 5
AGREE = 512
"""Faces on which a form is compared with Keras, at most, where the network has no labels to be right about."""


def untrained(system: str) -> params.Model:
    """Return the parameters of a network with random weights."""
    return params.Model(name=system, weights="none", frozen_blocks=0, noise=0.0)


def make(system: str, folder: Path, fer2013: str | None) -> None:
    """Write a network in every form that it has, and the faces and labels that it is asked about, into a folder."""
    from ferops.machine.tensorflow import quiet_imports

    with quiet_imports():
        import keras
    from ferops.model import conversion, gradcam
    from ferops.model.networks import descriptors, systems
    from ferops.model.serving.graph import raw_model

    file = Path("weights/lean_cnn.keras" if system == "lean_cnn" else "models/core.keras")
    core = keras.models.load_model(file, compile=False) if file.is_file() else None
    is_trained = core is not None and core.name == system
    if not is_trained:
        keras.utils.set_random_seed(0)
        core = systems.build(untrained(system))
    if system == "lean_cnn":
        data, split = layouts.read(Path(fer2013)) if fer2013 else None, "FER2013's PublicTest"
    else:
        data, split = layouts.read(SAMPLE) if is_trained else None, "the sample's validation"
    if data is None:
        is_trained, split = False, "generated faces"
        data = generator.generate_sample(seed=0, counts={"train": 224, "validation": AGREE, "test": 14})
        validation, training = data.splits == "validation", data.splits == "train"
    else:
        validation, training = data.usages == "PublicTest", data.usages == "Training"
    faces, labels = data.images[validation], data.labels[validation]
    np.savez(folder / "faces.npz", faces=faces, labels=labels)
    about: dict[str, Any] = {"images": len(faces), "split": split, "is_trained": is_trained}
    if descriptors.is_served(core):
        kernel = KERNELS.get(system, 3)
        raw = raw_model(core, kernel)
        raw.predict_on_batch(faces[:1])
        raw.save(folder / "core.keras")
        conversion.export(raw, folder / "network.tflite")
        conversion.export(raw, folder / "int8.tflite", data.images[training][:200])
        conversion.export(raw, folder / "network.onnx")
        conversion.export(raw, folder / "saved")
        try:
            explained = raw_model(gradcam.explained(core), kernel)
            conversion.export(explained, folder / "maps.tflite")
        except gradcam.NotExplainable:
            pass
    else:
        core.save(folder / "core.keras")
    (folder / "about.json").write_text(json.dumps(about))


def load(form: str, file: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a form's function from raw faces to probabilities."""
    if form.startswith("LiteRT"):
        from ferops.model.serving import litert

        network = litert.Network(file.read_bytes(), threads)
        return lambda faces: litert.answers(network, faces)[0]
    if form == "ONNX":
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda faces: session.run(None, {session.get_inputs()[0].name: faces})[0]
    from ferops.machine.tensorflow import quiet_imports

    with quiet_imports():
        import keras
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    if form == "SavedModel":
        saved = tensorflow.saved_model.load(str(file))
        return lambda faces: saved.serve(faces).numpy()
    from ferops.model.networks import descriptors

    model = keras.models.load_model(file, compile=False)
    raw = [tensor.name for tensor in model.inputs] == ["raw_faces"]
    inputs = (lambda faces: faces) if raw else (lambda faces: descriptors.inputs(model, faces))
    if form == "Keras, predict":
        return lambda faces: model.predict(inputs(faces), batch_size=len(faces), verbose=0)
    return lambda faces: model.predict_on_batch(inputs(faces))


def work(form: str, folder: Path, threads: int) -> None:
    """Answer a line with the size of a batch by milliseconds a face, and the line `end` by what else is known."""
    with np.load(folder / "faces.npz") as data:
        faces, labels = data["faces"], data["labels"]
    network = load(form, folder / FORMS[form], threads)
    for size in CALLS:
        network(faces[:size])
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        size, calls = int(line), CALLS[int(line)]
        started = time.perf_counter()
        for _ in range(calls):
            network(faces[:size])
        print(1000 * (time.perf_counter() - started) / size / calls, flush=True)
    answers = in_batches(network, faces)
    np.save(folder / f"{form}.npy", answers)
    accuracy = float((answers.argmax(axis=1) == labels).mean())
    print(json.dumps({"mib": measure.peak_memory(), "accuracy": accuracy}), flush=True)


class Form:
    """A form of a network in a process of its own."""

    def __init__(self, form: str, folder: Path, threads: int) -> None:
        """Start the process."""
        command = [sys.executable, __file__, "--work", form, str(folder), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def wait(self) -> None:
        """Wait until it is ready."""
        if self._read() != "ready":
            sys.exit(f"a form cannot be run; try: {' '.join(self._process.args)}")

    def ask(self, line: str) -> Any:
        """Return the answer to a line."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        return self._process.stdout.readline().strip()


def row(system: str, folder: Path, fer2013: str | None) -> dict[str, Any]:
    """Measure a system: its forms, by name."""
    subprocess.run([sys.executable, __file__, "--make", system, str(folder), fer2013 or ""], check=True)
    about = json.loads((folder / "about.json").read_text())
    forms = {
        (form, threads): Form(form, folder, threads)
        for form, file in FORMS.items()
        for threads in THREADS
        if (folder / file).exists()
    }
    for one in forms.values():
        one.wait()
    ways = {(*name, size): (one, size) for name, one in forms.items() for size in CALLS}
    times = measure.compare(ways, ROUNDS, lambda way: way[0].ask(str(way[1])))
    found: dict[str, Any] = {}
    for (form, threads), one in forms.items():
        file = folder / FORMS[form]
        ended = one.ask("end")
        entry = found.setdefault(form, {"megabytes": size_of(file) / 1e6, "milliseconds": {}})
        for size in CALLS:
            entry["milliseconds"][f"{size} on {threads}"] = measure.spread(times[form, threads, size])
        entry |= {"mib": ended["mib"]} | ({"accuracy": ended["accuracy"]} if about["is_trained"] else {})
    usual = np.load(folder / "Keras, predict.npy").argmax(axis=1)
    for form, entry in found.items():
        entry["agreement"] = float((np.load(folder / f"{form}.npy").argmax(axis=1) == usual).mean())
    return {**about, "forms": found}


def size_of(file: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(each.stat().st_size for each in ([file] if file.is_file() else file.rglob("*")))


def rendered(results: dict[str, Any]) -> str:
    """Return the figures as a table in Markdown, a row a form, below a line on the machine."""
    import report  # here, since matplotlib in each process would count as its memory

    machine, systems = results["machine"], results["systems"]
    cases = [(size, threads) for threads in THREADS for size in CALLS]
    names = [f"{size} face{'s' * (size > 1)}, {threads} thread{'s' * (threads > 1)}" for size, threads in cases]
    heads = ["network", "form", *names, "MiB", "MB of file", "named as by Keras", "accuracy"]
    lines = []
    for system, found in systems.items():
        for form, entry in found["forms"].items():
            spreads = [entry["milliseconds"][f"{size} on {threads}"] for size, threads in cases]
            accuracy = f"{entry['accuracy']:.3f} of {found['split']}" if "accuracy" in entry else ""
            lines.append([
                f"`{system}`", form, *(f"{median:.2f} ({lower:.2f}-{upper:.2f})" for lower, median, upper in spreads),
                f"{entry['mib']:,.0f}", f"{entry['megabytes']:.1f}", f"{entry['agreement']:.1%}", accuracy,
            ])  # fmt: skip
    first, *more = dict.fromkeys(found["commit"] for found in systems.values())
    of = {commit: ", ".join(name for name, found in systems.items() if found["commit"] == commit) for commit in more}
    commits = ", ".join([first, *(f"{commit} ({names})" for commit, names in of.items())])
    return f"{report.processor(machine)}. Commit {commits}.\n\n{report.table(heads, *lines)}\n"


def main() -> None:
    """Measure, and write `RESULTS` and the table in docs/performance.md after each system."""
    import report  # here, as in `rendered`

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", default=FEW, help="names of systems, separated by commas; the others' rows stay")
    parser.add_argument("--all", action="store_true", help="all twelve systems")
    parser.add_argument("--fer2013", default=os.environ.get("FER2013_MINI"), help="a copy of FER2013")
    given = parser.parse_args()
    before = measure.machine()
    names = get_args(params.SystemName) if given.all else given.systems.split(",")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))["systems"] if RESULTS.is_file() and not given.all else {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = {"commit": before["commit"], **row(name, Path(folder), given.fer2013)}
        print(rendered({"machine": before, "systems": {name: results[name]}}))
        report.write(BEGIN, rendered(measure.save(RESULTS, before, {"rounds": ROUNDS, "systems": results})))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(sys.argv[2], Path(sys.argv[3]), sys.argv[4] or None)
    elif sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
