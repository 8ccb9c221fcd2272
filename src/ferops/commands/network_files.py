"""Files of networks that a command reads or writes: a mistake is found before anything is done."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ferops.errors import FeropsError
from ferops.machine.files import replacing


class NotWritable(FeropsError):
    """The name of a file is taken, is in no folder, or has not the ending by which Keras knows what is in it."""


class NotAModel(FeropsError):
    """A file is no .keras model."""


def check(model: Path, out: Path, suffix: str) -> None:
    """See that there is a file to read and none where one is to be written.

    Raises:
        NotWritable: the file to write cannot have this name.
        NotAModel: there is no model.
    """
    if not out.name.endswith(suffix):
        raise NotWritable(f"{out}: Keras expects a name that ends in {suffix}")
    if out.exists():
        raise NotWritable(f"{out} exists and is kept; remove it, or give another name")
    if not out.parent.is_dir():
        raise NotWritable(f"{out}: there is no folder {out.parent}")
    if not model.is_file():
        raise NotAModel(f"{model} does not exist; `dvc repro` writes models/core.keras")


def load(path: Path) -> Any:
    """The Keras model in a .keras file.

    Raises:
        NotAModel: it cannot be loaded.
    """
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise NotAModel(f"{path} is no .keras model: {str(error).splitlines()[0]}") from None


def write(out: Path, fill: Callable[[Path], None]) -> str:
    """Have a file written under its name only when it is whole; gives name, size and digest in words."""
    with replacing(out) as partial:
        fill(partial)
    content = out.read_bytes()
    return f"{out}, {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}"
