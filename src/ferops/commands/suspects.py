"""`ferops data suspects`: training labels in doubt, by networks that never saw the images."""

import os
import shutil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ferops import params as parameters
from ferops.data import pictures, prepared
from ferops.data.prepared import Prepared
from ferops.data.preprocessing import label_errors, splits
from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.machine import subprocesses
from ferops.machine.files import SCRATCH, replacing
from ferops.machine.tensorflow import quiet_imports

LIST: Final = Path("reports/suspects.csv")
SHEET: Final = Path("reports/data/suspects.png")  # git-ignored: it shows faces of the data set

_CHECKPOINTS: Final = SCRATCH / "suspects"  # of all networks, until the list is written


class NotJudged(FeropsError):
    """The images are not those of params.yaml, no network can be trained without them, or decisions would be lost."""


def find(count: int, console: Console) -> None:
    """Train the network of params.yaml without each fold of the training images, and list the labels that it doubts.

    Checkpoints of all networks are kept until the list is written: a command that was killed goes on after the last
    epoch. Augmented copies are not used. A list that is there is replaced.

    Args:
        count: of folds, at least 2.
        console: where progress and result are shown.

    Raises:
        NotJudged: `train.epochs` is 0, there is a teacher, there are fewer training images than folds, the list is
            `data.overrides`, or data or parameters have changed since data/prepared was written.
        BadPrepared: data/prepared is missing or damaged.
        BadParams, WeightsMissing, WeightsUnfit, Diverged: as in the stage `train`.
    """
    params, data = parameters.load(), prepared.load(Path("data/prepared"))
    if not params.train.epochs:
        raise NotJudged("train.epochs is 0 in params.yaml; a network has to be trained without each fold")
    if params.train.teacher:
        raise NotJudged("train.teacher in params.yaml has seen these images; set it to ''")
    if Path(params.data.overrides).resolve() == LIST.resolve():
        raise NotJudged(f"{LIST} is data.overrides and would be replaced; copy your decisions into another file")
    manifest = data.manifest[data.rows("train")]
    groups = manifest["duplicate_of"].fillna(-1).to_numpy(np.int64)
    fold = splits.folds(manifest["label"].to_numpy(np.int64), groups, count, params.train.seed)
    if len(np.unique(fold)) < count:
        raise NotJudged(f"data/prepared has {len(manifest):,} training images; expected one or more for each fold")
    status = ("status", "--quiet", "--with-deps", "preprocess")
    if subprocesses.run("dvc", *status, folder=Path(), environment=os.environ, on_line=console.out):
        raise NotJudged("data/prepared is not of the data and parameters that are here; `dvc repro preprocess` first")
    if params.model.weights not in ("none", "imagenet"):
        console.print(f"note: {params.model.weights} must not have seen these images", highlight=False)
    doubtful = label_errors.suspects(manifest, held_out(params, data, fold, console))
    with replacing(LIST) as scratch:
        doubtful.to_csv(scratch, index=False)
    shown = doubtful[: pictures.SUSPECTS]
    names = shown["id"].astype(str) + " " + shown["label"]
    pictures.save_png(
        SHEET, pictures.suspects_sheet(data.images[shown.index], names, shown["suggested"], len(doubtful))
    )
    shutil.rmtree(_CHECKPOINTS, ignore_errors=True)
    console.out(
        f"in doubt   {len(doubtful):,} of {len(manifest):,} training labels: {LIST}\n"
        f"faces      the first {len(shown)}: {SHEET}\n"
        f"next       hash and label, or {label_errors.DROP}, into {params.data.overrides}, then dvc repro",
        highlight=False,
    )


def held_out(
    params: parameters.Params, data: Prepared, fold: NDArray[np.int64], console: Console
) -> NDArray[np.float32]:
    """Return the probabilities, (N, 7), of each training image by a network that was trained without its fold.

    Args:
        params: the network, and how it is trained.
        data: of data/prepared.
        fold: int64 (N,), of each training image.
        console: where it is shown which network is trained.
    """
    with quiet_imports():
        import keras

        from ferops.model.networks import descriptors
        from ferops.model.serving.batches import in_batches
        from ferops.model.training import device, runtime
        from ferops.stages import train as stage
        from ferops.stages.training_progress import TrainingProgress
    precision, (faces, labels) = runtime.precision(params.train.precision), data.split("train")
    device.distribute(min(params.train.batch_size, len(labels)))
    probabilities, count = np.empty((len(labels), len(NAMES)), np.float32), 1 + int(fold.max())
    for number in range(count):
        seen = fold != number
        train, validation = (faces[seen], labels[seen]), data.split("validation")
        core, trainable, base_sha256 = stage.build_networks(params, precision)
        scratch = _CHECKPOINTS / stage.scratch_key(params, precision, train, validation, base_sha256)
        console.print(f"network {number + 1} of {count}", highlight=False)
        with TrainingProgress(params, scratch, is_run=False) as report:
            stage.fit(trainable, params, train, validation, scratch, report)
        core.set_weights(trainable.get_weights())

        def answer(batch: NDArray[np.uint8], core: keras.Model = core) -> NDArray[np.float32]:
            # no `predict`: TensorFlow warns of graphs of several networks
            return np.asarray(keras.ops.convert_to_numpy(core(descriptors.inputs(core, batch), training=False)))

        probabilities[~seen] = in_batches(answer, faces[~seen])
    return probabilities
