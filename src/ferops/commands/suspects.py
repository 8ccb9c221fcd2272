"""`ferops data suspects`: training labels in doubt, by networks that never saw the images."""

import shutil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ferops import params as parameters
from ferops.data import label_errors, pictures, prepared, splits
from ferops.data.prepared import Prepared
from ferops.errors import FeropsError
from ferops.labels import NAMES
from ferops.machine.files import SCRATCH, replacing
from ferops.machine.tensorflow import quiet_imports

LIST: Final = Path("reports/suspects.csv")
SHEET: Final = Path("reports/data/suspects.png")  # git-ignored: it shows faces of the data set


class NothingToTrain(FeropsError):
    """params.yaml takes a network as it is: none would be trained without the images that it judges."""


def find(count: int, console: Console) -> None:
    """Train the network of params.yaml without each fold of the training images, and list the labels that it doubts.

    Networks that are finished, and epochs of the one that is not, are kept until the list is written: a command that
    was killed goes on there. Augmented copies are not used.

    Args:
        count: of folds, at least 2.
        console: where progress and result are shown.

    Raises:
        NothingToTrain: `train.epochs` is 0.
        BadPrepared: data/prepared is missing: `dvc repro preprocess` makes it.
        BadParams, WeightsMissing, WeightsUnfit, Diverged: as in the stage `train`.
    """
    params, data = parameters.load(), prepared.load(Path("data/prepared"))
    if not params.train.epochs:
        raise NothingToTrain("train.epochs is 0 in params.yaml; a network has to be trained without each fold")
    if params.model.weights not in ("none", "imagenet"):
        console.print(f"note: {params.model.weights} must not have seen these images", highlight=False)
    manifest = data.manifest[data.rows("train")]
    groups = manifest["duplicate_of"].fillna(-1).to_numpy(np.int64)
    fold = splits.folds(manifest["label"].to_numpy(np.int64), groups, count, params.train.seed)
    doubtful = label_errors.suspects(manifest, held_out(params, data, fold, console))
    with replacing(LIST) as scratch:
        doubtful.to_csv(scratch, index=False)
    shown = doubtful[: pictures.SUSPECTS]
    sheet = pictures.suspects_sheet(data.images[shown.index], shown["label"], shown["suggested"], len(doubtful))
    pictures.save_png(SHEET, sheet)
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
        from ferops.model.networks import descriptors
        from ferops.model.serving.batches import in_batches
        from ferops.model.training import device, runtime
        from ferops.stages import train as stage
        from ferops.stages.training_progress import TrainingProgress
    precision, (faces, labels) = runtime.precision(params.train.precision), data.split("train")
    device.distribute(min(params.train.batch_size, len(labels)))
    probabilities, scratches, count = np.empty((len(labels), len(NAMES)), np.float32), [], 1 + int(fold.max())
    for number in range(count):
        seen = fold != number
        train, validation = (faces[seen], labels[seen]), data.split("validation")
        core, trainable, base_sha256 = stage.build_networks(params, precision)
        scratches.append(SCRATCH / stage.scratch_key(params, precision, train, validation, base_sha256))
        console.print(f"network {number + 1} of {count}", highlight=False)
        with TrainingProgress(params, scratches[-1], is_run=False) as report:
            stage.fit(trainable, params, train, validation, scratches[-1], report)
        core.set_weights(trainable.get_weights())
        probabilities[~seen] = in_batches(
            lambda batch, core=core: core.predict_on_batch(descriptors.inputs(core, batch)),  # type: ignore[misc]
            faces[~seen],
        )
    for scratch in scratches:
        shutil.rmtree(scratch)
    return probabilities
