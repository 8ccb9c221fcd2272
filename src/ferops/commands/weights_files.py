"""`ferops weights shrink` and `import`: write a trained network as a file that another training starts from."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import get_args

from rich.console import Console

from ferops.data import prepared
from ferops.errors import FeropsError
from ferops.machine.files import replacing
from ferops.machine.tensorflow import quiet_imports
from ferops.model.serving.batches import in_batches
from ferops.params import SystemName
from ferops.tracking.outputs import dataset_description


class NotWritable(FeropsError):
    """The output file exists, is in no folder, or has not the suffix by which Keras recognizes its format."""


class NotMeasured(FeropsError):
    """There are no validation images on which a network's accuracy could be measured."""


class NotAModel(FeropsError):
    """A file does not exist, or its network is none of the systems."""


def shrink(model: Path, out: Path, console: Console) -> None:
    """Save a trained network with its kernels in half precision, in a file of half the size.

    Args:
        model: a .keras file, as `train` writes it.
        out: the .keras file to write, which must not exist.
        console: where size, digests and the greatest change of a weight are shown.

    Raises:
        NotWritable: the output file cannot have this name.
        NotAModel: there is no such file.
        WeightsUnfit: it is no .keras model.
    """
    _check_names(model, out)
    with quiet_imports():
        from ferops.model import conversion, weights
    before = weights.load_model(model)
    with replacing(out) as scratch:
        conversion.shrink(model, scratch)
    after = weights.load_model(out)
    change = conversion.greatest_change(before, after)
    console.out(
        f"written   {_described(out)}\n"
        f"weights   {weights.digest(before)} before\n"
        f"          {weights.digest(after)} now, no weight changed by more than {change:.2%} of its kernel's greatest",
        highlight=False,
    )


def bring(model: Path, out: Path, trained_by: str, script: Path | None, console: Console) -> None:
    """Copy a network that was trained elsewhere, and write its record: what it is, from where, how good it is here.

    Its accuracy is measured on the validation images of data/prepared, PublicTest where these are FER2013's, and its
    temperature is fitted to them.

    Args:
        model: a .keras file of one of the systems.
        out: the .keras file to write, which must not exist: a params.yaml may name it.
        trained_by: how, how long and on which hardware, for people.
        script: that trained it; the record has its digest.
        console: where accuracy, digests and next step are shown.

    Raises:
        NotWritable: the output file cannot have this name, or there is a record of that name.
        NotAModel: there is no such file, or it is none of the systems.
        WeightsUnfit: it is damaged, or no network from faces to the seven probabilities.
        NotMeasured: data/prepared has no validation images.
    """
    _check_names(model, out)
    if script and not script.is_file():
        raise NotAModel(f"{script} does not exist; --script names what trained the network")
    folder = Path("data/prepared")
    try:
        data = prepared.load(folder)
    except prepared.BadPrepared as error:
        raise NotMeasured(f"{error}; the accuracy is measured on its validation images") from None
    faces, labels = data.split("validation")
    if not len(labels):
        raise NotMeasured(f"{folder} has no validation images, on which the accuracy is measured")
    with quiet_imports():
        from ferops.model import calibration, weights
        from ferops.model.networks import descriptors
    record_file = weights.record_file(out)
    _check_absent(record_file)
    network = weights.load_network(model)
    if network.name not in get_args(SystemName):
        raise NotAModel(f"{model} is {network.name!r}; expected one of {', '.join(get_args(SystemName))}")
    answers = in_batches(lambda part: network.predict_on_batch(descriptors.inputs(network, part)), faces)
    accuracy = float((answers.argmax(axis=1) == labels).mean())
    record = {
        "schema": "ferops.weights/1",
        "system": network.name,
        "weights": weights.digest(network),
        "sha256": _sha256(model),
        "trained_by": trained_by,
        "script": {"name": script.name, "sha256": _sha256(script)} if script else None,
        "measured": {
            "dataset": data.report["dataset"],
            "split": data.report["split"],
            "median_kernel": data.report["median_kernel"],
            "n": len(labels),
            "accuracy": round(accuracy, 4),
            "temperature": calibration.fit_temperature(labels, answers),
        },
    }
    with replacing(out) as scratch, replacing(record_file) as beside:
        beside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(model, scratch)
    where = dataset_description(data.report["dataset"])
    console.out(
        f"written   {_described(out)}\n"
        f"          {record_file}, its record\n"
        f"weights   {record['weights']}\n"
        f"accuracy  {accuracy:.3f} of {len(labels):,} validation images of {where}\n"
        f"next      set model.weights: {out} in params.yaml; with train.epochs: 0 it is evaluated as it is",
        highlight=False,
    )


def _check_names(model: Path, out: Path) -> None:
    """Check that the input exists and that the output can be written, before anything is loaded."""
    if out.suffix != ".keras":
        raise NotWritable(f"{out}: Keras expects a name that ends in .keras")
    _check_absent(out)
    if not out.parent.is_dir():
        raise NotWritable(f"{out}: there is no folder {out.parent}")
    if not model.is_file():
        raise NotAModel(f"{model} does not exist; `dvc repro` writes models/core.keras")


def _check_absent(out: Path) -> None:
    if out.exists():
        raise NotWritable(f"{out} exists and is kept; remove it, or give another name")


def _described(out: Path) -> str:
    """Return the name of a file, its size and digest for people."""
    return f"{out}, {out.stat().st_size / 1e6:.1f} MB, sha256 {_sha256(out)}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
