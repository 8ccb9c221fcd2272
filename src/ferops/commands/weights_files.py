"""`ferops weights fold` and `shrink`: write a trained network as a file that another training or user starts from."""

import hashlib
from pathlib import Path
from typing import Any

from rich.console import Console

from ferops.errors import FeropsError
from ferops.machine.files import replacing
from ferops.machine.tensorflow import quiet_imports


class NotWritable(FeropsError):
    """The output file exists, is in no folder, or has not the suffix by which Keras recognizes its format."""


class NotAModel(FeropsError):
    """A file is no .keras model."""


def fold(model: Path, out: Path, console: Console) -> None:
    """Fold the batch norms of a trained vgg16_best into its convolutions, and save them as initial weights.

    Args:
        model: a .keras file, as `train` writes it.
        out: the .weights.h5 file to write, which must not exist: a params.yaml may name it.
        console: where digest, size and next step are shown.

    Raises:
        NotWritable: the output file cannot have this name.
        NotAModel: the model cannot be loaded.
        NotFoldable: it is not vgg16_best.
    """
    _check_names(model, out, ".weights.h5")
    with quiet_imports():
        from ferops.model import conversion
    base = conversion.fold(load_model(model))
    with replacing(out) as scratch:
        base.save_weights(scratch, overwrite=True)
    console.out(
        f"written   {_described(out)}\n"
        f"next      set model.weights: {out} in params.yaml, and the model.scaling that the network was trained with",
        highlight=False,
    )


def shrink(model: Path, out: Path, console: Console) -> None:
    """Save a trained network with its kernels in half precision, in a file of half the size.

    Args:
        model: a .keras file, as `train` writes it.
        out: the .keras file to write, which must not exist.
        console: where size, digests and the greatest change of a weight are shown.

    Raises:
        NotWritable: the output file cannot have this name.
        NotAModel: the model cannot be loaded.
    """
    _check_names(model, out, ".keras")
    with quiet_imports():
        from ferops.model import conversion, weights
    before = load_model(model)
    with replacing(out) as scratch:
        conversion.shrink(model, scratch)
    after = load_model(out)
    change = conversion.greatest_change(before, after)
    console.out(
        f"written   {_described(out)}\n"
        f"weights   {weights.digest(before)} before\n"
        f"          {weights.digest(after)} now, no weight changed by more than {change:.2%} of its kernel's greatest",
        highlight=False,
    )


def load_model(path: Path) -> Any:
    """Load the Keras model in a .keras file.

    Raises:
        NotAModel: it is none.
    """
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise NotAModel(f"{path} is no .keras model: {str(error).splitlines()[0]}") from None


def _check_names(model: Path, out: Path, suffix: str) -> None:
    """Check that the input exists and that the output can be written, before anything is loaded."""
    if not out.name.endswith(suffix):
        raise NotWritable(f"{out}: Keras expects a name that ends in {suffix}")
    if out.exists():
        raise NotWritable(f"{out} exists and is kept; remove it, or give another name")
    if not out.parent.is_dir():
        raise NotWritable(f"{out}: there is no folder {out.parent}")
    if not model.is_file():
        raise NotAModel(f"{model} does not exist; `dvc repro` writes models/core.keras")


def _described(out: Path) -> str:
    """Return the name of a file, its size and digest for people."""
    content = out.read_bytes()
    return f"{out}, {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}"
