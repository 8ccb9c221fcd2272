"""Stage `publish`: log the run, its evaluation and its model to MLflow. Always run, and idempotent."""

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ferops import params
from ferops.machine.files import SCRATCH
from ferops.machine.tensorflow import quiet_imports
from ferops.tracking import store
from ferops.tracking.outputs import MissingOutput
from ferops.tracking.publishing import Publication, publish
from ferops.tracking.store import TrackingUnreachable

if TYPE_CHECKING:
    import keras

CORE: Final = Path("models/core.keras")
TRAINING: Final = Path("models/training.json")


def main() -> None:
    """Publish the outputs of the other stages; where a DVC experiment cannot reach MLflow, the next publish does it."""
    values = params.load()
    try:
        published = publish(params.flatten(values), partial(load_model, CORE, values.preprocess.median_kernel))
    except TrackingUnreachable as error:
        if not (experiment := os.environ.get("DVC_EXP_NAME")):
            raise
        print(f"{error}; experiment {experiment} is not in MLflow yet: the next `dvc repro` on it will publish it")
        return
    print("\n".join(summary(published)))
    # only now: a training that was killed before DVC wrote dvc.lock resumes from this folder
    shutil.rmtree(SCRATCH / json.loads(TRAINING.read_text(encoding="utf-8"))["scratch_key"], ignore_errors=True)


def load_model(core: Path, median_kernel: int, temperature: float) -> "keras.Model":
    """Load the trained core between its median filter and its temperature: the model that is registered.

    Args:
        core: the .keras file that `train` wrote.
        median_kernel: side of the filter in pixels.
        temperature: that calibrates its probabilities.

    Raises:
        MissingOutput: the core is not there.
    """
    if not core.is_file():
        raise MissingOutput(f"{core} is missing; run `dvc checkout` or `dvc repro`")
    with quiet_imports():
        from ferops.model.serving.graph import load_raw_model
    return load_raw_model(core, median_kernel, temperature)


def summary(published: Publication) -> list[str]:
    """Return lines for the terminal: run, version, how to see them."""
    outputs, training, run = published.outputs, published.training, published.evaluation.run
    done = {"found": "up to date", "adopted": "logged live", "created": "rebuilt from the files"}[training.state]
    if training.state == "found" and (training.is_changed or published.evaluation.is_changed):
        done = "evaluation updated"
    lines = [f"run    {run.info.run_name} ({run.info.run_id[:8]}), {done}"]
    if version := published.version:
        accuracies = {key: value for key, value in outputs.headline.items() if key.endswith("/accuracy")}
        figures = ", ".join(f"{key} {value:.3f}" for key, value in accuracies.items())
        aliases = " ".join(f"@{alias}" for alias in published.aliases) or "no alias"
        name = f"{version.name} version {version.version} ({aliases}{', new' if published.is_new else ''})"
        lines.append(f"model  {name}: {figures} on {outputs.dataset_description}")
    address, page = published.store.address, store.page(published.store, run.info.run_id)
    started = "" if page.startswith(address) else f"{store.how_to_see(address)}, then "
    return [*lines, f"see    {started}{page}"]
