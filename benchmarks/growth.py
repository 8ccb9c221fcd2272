"""How the cost grows with the images: `make growth`, or `python benchmarks/growth.py --up-to 100000`.

Each stage is the real command in a process of its own, in a scratch folder below the temporary folder (TMPDIR) that is
deleted: 1,000 to 1,000,000 generated faces from a CSV in FER2013's layout through preprocess, both gates, augment and
evaluate with lean_cnn, and as PNGs through the flow `scoring`, in one process and on a Dask cluster with a worker a
core. A million take 25 GB of that folder. The machine should be quiet. Writes benchmarks/growth.json after each size,
the table of docs/performance.md and docs/images/growth.png.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import commands
import cv2
import measure
import numpy as np
import report
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ferops.data.synthetic import generator
from ferops.labels import USAGES

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = Path(__file__).with_suffix(".json")
BEGIN: Final = "<!-- make growth writes from here -->\n"
SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
FITTED_FROM: Final = 10_000
PART: Final = 1_000
NUMBERS: Final = [f"{level} " for level in range(256)]
STAGES: Final = ("preprocess", "validate prepared", "augment", "validate augmented", "evaluate")
MODEL: Final = "fer-lean-cnn/1"
READ: Final = "from pathlib import Path; from ferops.data.readers import layouts; layouts.read(Path('data/source.csv'))"
Results = dict[str, dict[int, dict[str, float]]]
"""By stage and number of images: seconds, CPU seconds, and peaks of memory in MiB."""
KEPT: Final = "anonymous_mib"
MEMORY: Final = {"RssAnon": KEPT, "RssFile": "mapped_mib"}


def variations(count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield generated faces and labels in parts: 700 synthetic ones warped, brightened and noisy, each differently.

    Of a part one in twenty is a duplicate of another in it, every second of them nearly: as many as in FER2013.
    """
    some = generator.generate_sample(seed=0, counts={"train": 672, "validation": 14, "test": 14})
    for part in range(-(-count // PART)):
        rng, n = np.random.default_rng([1, part]), min(PART, count - part * PART)
        chosen = rng.integers(len(some.images), size=n)
        angle, size = rng.uniform(-15, 15, n), rng.uniform(0.8, 1.2, n)
        shift, gain, offset = rng.uniform(-4, 4, (n, 2)), rng.uniform(0.6, 1.2, n), rng.uniform(-30, 30, n)
        warped = np.empty((n, 48, 48), np.float32)
        for row, image in enumerate(some.images[chosen]):
            matrix = cv2.getRotationMatrix2D((23.5, 23.5), angle[row], size[row])
            matrix[:, 2] += shift[row]
            warped[row] = cv2.warpAffine(image, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE)
        noise = rng.standard_normal(warped.shape, np.float32) * rng.uniform(0, 8, (n, 1, 1)).astype(np.float32)
        changed = (warped - 128) * gain[:, None, None] + 128 + offset[:, None, None] + noise
        images, labels = changed.clip(0, 255).astype(np.uint8), some.labels[chosen]
        copies, originals = np.split(rng.permutation(n)[: n // 20 * 2], 2)
        images[copies], labels[copies] = images[originals], labels[originals]
        images[copies[::2]] ^= 1
        yield images, labels


def write(folder: Path, count: int) -> None:
    """Write the faces as data/source.csv, and each as a PNG in a folder of a thousand."""
    usages = np.random.default_rng(2).choice([*USAGES], count, p=[0.8, 0.1, 0.1])
    row = 0
    with (folder / "data/source.csv").open("w", encoding="ascii") as stream:
        stream.write("emotion,pixels,Usage\n")
        for part, (images, labels) in enumerate(variations(count)):
            pictures = folder / f"pictures/{part:04}"
            pictures.mkdir(parents=True)
            for image, label in zip(images, labels.tolist(), strict=True):
                pixels = "".join(map(NUMBERS.__getitem__, image.ravel().tolist()))
                stream.write(f"{label},{pixels[:-1]},{usages[row]}\n")
                (pictures / f"{row}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
                row += 1


def set_params(folder: Path, **sections: dict[str, Any]) -> None:
    """Merge values into a folder's params.yaml, by the function that recipes are merged with."""
    merge = "import json, sys; from ferops import params; params.merge(json.loads(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", merge, json.dumps(sections)], cwd=folder, check=True)


def prepare(folder: Path, count: int) -> None:
    """Fill a folder: the repository's params.yaml, the sources, and lean_cnn in place of a trained network."""
    (folder / "data").mkdir(parents=True)
    (folder / "models").mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copy(ROOT / "data/overrides.csv", folder / "data")
    few = {"max_kl_divergence": 1.0}  # of a hundred images the class shares are far from any others
    set_params(folder, data={"source": "data/source.csv", "dataset": "other"}, validate=few)
    shutil.copy(ROOT / "weights/lean_cnn.keras", folder / "models/core.keras")
    write(folder, count)


def measured(command: list[str], folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Run a command to its end; return seconds, CPU seconds, and peaks of memory in MiB, child processes included."""
    before, started = os.times(), time.perf_counter()
    peaks = dict.fromkeys(MEMORY.values(), 0.0)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log)
        while process.poll() is None:
            for name, used in memory(process.pid).items():
                peaks[name] = max(peaks[name], used)
            time.sleep(0.05)
    seconds, after = time.perf_counter() - started, os.times()
    if process.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{(folder / 'log.txt').read_text(errors='replace')[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), **{k: round(v, 1) for k, v in peaks.items()}}


def memory(root: int) -> dict[str, float]:
    """Return the memory of a process and of its descendants: anonymous, and pages of files, in MiB."""
    used, waiting = dict.fromkeys(MEMORY.values(), 0.0), [str(root)]
    while waiting:
        place = Path("/proc", waiting.pop())
        try:
            status = (place / "status").read_text(encoding="utf-8")
            waiting += [pid for task in (place / "task").iterdir() for pid in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
        for line in status.splitlines():
            name, _, value = line.partition(":")
            if name in MEMORY:
                used[MEMORY[name]] += int(value.split()[0]) / 1024
    return used


def stages(count: int, pipeline: Path, environment: dict[str, str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each stage and what it takes on a number of images; the flow runs in the pipeline, which has its model."""
    server = environment | {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}
    with tempfile.TemporaryDirectory(prefix="ferops-growth-") as scratch:
        folder = Path(scratch, "work")
        started = time.perf_counter()
        prepare(folder, count)
        typer.echo(f"{count:,} images, generated in {time.perf_counter() - started:.0f} s")
        yield "read", measured([sys.executable, "-c", READ], folder, {})
        for name in STAGES:
            yield name, measured([sys.executable, "-m", "ferops.stages", *name.split()], folder, {})
        for name, more in {"scoring": (), "scoring on Dask": ("--dask", str(os.cpu_count()))}.items():
            output = str(folder / name)
            scoring = ["flows/scoring.py", str(folder / "pictures"), "--output", output, "--model", MODEL, *more]
            yield name, measured([sys.executable, *scoring], pipeline, server)


def slope(points: dict[int, float]) -> float | None:
    """Fit the exponent of the growth from 10,000 images up; None for a single size."""
    sizes = [size for size in points if size >= FITTED_FROM]
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log([points[size] for size in sizes]), 1)[0])


def rendered(results: dict[str, Any]) -> str:
    """Return the table in Markdown, a row a stage, below a line on the machine."""
    machine, stages, slopes = results["machine"], results["stages"], results["slopes"]
    sizes = [f"{int(size):,}" for size in next(iter(stages.values()))]
    rows = [["stage", *(f"CPU s: {size}" for size in sizes), "slope", *(f"MiB: {size}" for size in sizes)]]
    for name, found in stages.items():
        seconds, memory = (
            [f"{one[key]:,.{digits}f}" for one in found.values()] for key, digits in (("cpu_seconds", 1), (KEPT, 0))
        )
        rows.append([name, *seconds, "" if slopes[name] is None else f"{slopes[name]:.2f}", *memory])
    about = (
        f"{report.processor(machine)}; load {machine['load']:.1f} before and {machine['load_after']:.1f} after. "
        f"Commit {machine['commit']}.\n"
    )
    return f"{about}\n{report.table(*rows)}\n"


def plot(path: Path, results: Results) -> None:
    """Draw CPU time and peak of anonymous memory against the number of images, log-log, a line a stage."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ("cpu_seconds", KEPT),
        ("CPU seconds", "peak of anonymous memory, MiB"),
        strict=True,
    ):
        for name, sizes in results.items():
            points = {size: values[key] for size, values in sizes.items()}
            exponent = slope(points)
            fitted = "" if exponent is None else f", slope {exponent:.2f}"
            axes.loglog([*points], [*points.values()], marker="o", label=f"{name}{fitted}")
        axes.set_xlabel("images")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(
    up_to: Annotated[int, typer.Option(help="Images at most.", min=SIZES[0])] = SIZES[-1],
) -> None:
    """Measure every stage on more and more images."""
    before = measure.machine()
    results: Results = {}
    with commands.small_pipeline() as (pipeline, environment):
        for count in (size for size in SIZES if size <= up_to):
            for name, values in stages(count, pipeline, environment):
                results.setdefault(name, {})[count] = values
                typer.echo(f"  {name:<20} " + ", ".join(f"{key} {value:,.1f}" for key, value in values.items()))
            slopes = {
                name: slope({size: v["cpu_seconds"] for size, v in sizes.items()}) for name, sizes in results.items()
            }
            report.write(BEGIN, rendered(measure.save(RESULTS, before, {"stages": results, "slopes": slopes})))
            plot(ROOT / "docs/images/growth.png", results)
    typer.echo("slopes from 10,000 images up: " + ", ".join(f"{n} {s:.2f}" for n, s in slopes.items() if s is not None))


if __name__ == "__main__":
    typer.run(main)
