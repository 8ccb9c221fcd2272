"""`ferops weights fold`: what a trained vgg16_best learned, as a weights file that the transfers start from."""

import hashlib
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ferops.errors import FeropsError
from ferops.stages.quiet import quiet_imports

_SUFFIX: Final = ".weights.h5"


class NotWritable(FeropsError):
    """The name of the weights file is taken, is in no folder, or is none that Keras saves weights under."""


class NotAModel(FeropsError):
    """A file is no .keras model."""


def fold(model: Path, out: Path, console: Console) -> None:
    """Fold the batch norms of a trained vgg16_best into its convolutions and save them; say how to start from them.

    Args:
        model: a .keras file, as `train` writes it.
        out: the weights file, which must not exist: a params.yaml may name it.
        console: where digest, size and next step are shown.

    Raises:
        NotWritable: the weights file cannot have this name.
        NotAModel: the model cannot be loaded.
        NotFoldable: it is not vgg16_best.
    """
    _check(out)
    if not model.is_file():
        raise NotAModel(f"{model} does not exist; `dvc repro` with the recipe best writes models/core.keras")
    with quiet_imports():
        from ferops.model import folding
    base = folding.fold(_load(model))
    partial = out.with_name(f".partial.{out.name}")
    try:
        base.save_weights(partial, overwrite=True)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    content = out.read_bytes()
    console.print(
        f"written   {out}, {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}\n"
        f"next      set model.weights: {out} in params.yaml, and the model.scaling that the network was trained with",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _check(out: Path) -> None:
    if not out.name.endswith(_SUFFIX):
        raise NotWritable(f"{out}: Keras saves weights only under names that end in {_SUFFIX}")
    if out.exists():
        raise NotWritable(f"{out} exists and is kept; remove it, or give another name")
    if not out.parent.is_dir():
        raise NotWritable(f"{out}: there is no folder {out.parent}")


def _load(path: Path) -> Any:
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise NotAModel(f"{path} is no .keras model: {str(error).splitlines()[0]}") from None
