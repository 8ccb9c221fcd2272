"""Stage `publish`: the run, its evaluation and its model into MLflow. Always run, and idempotent."""

import json
import os
import shutil
from pathlib import Path

from ferops import params
from ferops.machine.files import SCRATCH
from ferops.machine.tensorflow import quiet_imports
from ferops.tracking.registry.registration import ServedModel
from ferops.tracking.runs.outputs import MissingOutput
from ferops.tracking.runs.publishing import Publication, publish
from ferops.tracking.store import MODEL, TrackingUnreachable, how_to_see

CORE = Path("models/core.keras")
TRAINING = Path("models/training.json")


def main() -> None:
    """Publish what the other stages wrote; a DVC experiment that cannot reach MLflow leaves it to the next publish."""
    values = params.load()
    try:
        published = publish(params.flatten(values), lambda: served(Path(), values.preprocess.median_kernel))
    except TrackingUnreachable as error:
        experiment = os.environ.get("DVC_EXP_NAME")
        if not experiment:
            raise
        print(f"{error}; experiment {experiment} is not in MLflow yet: the next `dvc repro` on it will publish it")
        return
    print("\n".join(summary(published)))
    # only now: a training that was cut off before dvc.lock knew it goes on from here
    shutil.rmtree(SCRATCH / json.loads(TRAINING.read_text(encoding="utf-8"))["scratch_key"], ignore_errors=True)


def served(root: Path, median_kernel: int) -> ServedModel:
    """The core trained in a folder, behind its median filter, and one synthetic face as the example.

    Args:
        root: the folder that the stages ran in.
        median_kernel: side of the filter in pixels.

    Raises:
        MissingOutput: the core is not there.
    """
    if not (root / CORE).is_file():
        raise MissingOutput(f"{root / CORE} is missing; run `dvc checkout` or `dvc repro`")
    with quiet_imports():
        import keras
        import numpy as np

        from ferops.data.synthetic.portraits import render_face
        from ferops.labels import NAMES
        from ferops.model.serving import serving_model

        core = keras.models.load_model(root / CORE, compile=False)
        example = render_face(NAMES.index("happy"), np.random.default_rng(0))
        return ServedModel(serving_model(core, median_kernel), example[np.newaxis])


def summary(published: Publication) -> list[str]:
    """Lines for the terminal: run, version, how to see them."""
    done = {"found": "up to date", "adopted": "logged live", "rebuilt": "rebuilt from the files"}[published.how]
    if published.how == "found" and published.is_changed:
        done = "evaluation updated"
    lines = [f"run    {published.run_name} ({published.run_id[:8]}), {done}"]
    if version := published.version:
        figures = ", ".join(
            f"{name} {value:.3f}" for name, value in published.headline.items() if name.endswith("/accuracy")
        )
        aliases = " ".join(f"@{alias}" for alias in published.aliases) or "no alias"
        is_new = ", new" if version.is_new else ""
        lines.append(f"model  {MODEL} version {version.number} ({aliases}{is_new}): {figures} on {published.dataset}")
    started = "" if published.page.startswith(published.address) else f"{how_to_see(published.address)}, then "
    return [*lines, f"see    {started}{published.page}"]
