"""A trained network in half the bytes: kernels as float16, the rest as it was."""

import io
import zipfile
from pathlib import Path
from typing import Final

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np

_WEIGHTS: Final = "model.weights.h5"
"""What Keras calls the weights in a .keras file."""


def shrink(model: Path, out: Path) -> None:
    """Write a .keras file again, its kernels rounded to float16 and compressed; Keras loads it as it does the other.

    Biases and batch norms, small and of any size, stay float32.

    Args:
        model: a .keras file.
        out: the file to write.
    """
    with zipfile.ZipFile(model) as whole, zipfile.ZipFile(out, "w") as smaller:
        for name in whole.namelist():
            content = whole.read(name)
            smaller.writestr(name, _halved(content) if name == _WEIGHTS else content)


def greatest_change(before: keras.Model, after: keras.Model) -> float:
    """Of any weight of two networks of the same shapes, as a fraction of its variable's greatest magnitude."""
    pairs = zip(before.get_weights(), after.get_weights(), strict=True)
    return max(float(np.abs(one - other).max() / (np.abs(one).max() or 1.0)) for one, other in pairs)


def _halved(content: bytes) -> bytes:
    """An HDF5 file with its groups and attributes, float32 arrays of two axes or more as compressed float16."""
    halved = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(halved, "w") as new:
        new.attrs.update(old.attrs)

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made = new.require_group(name)
            elif item.dtype == np.float32 and item.ndim >= 2:
                made = new.create_dataset(name, data=item[()], dtype=np.float16, compression="gzip", shuffle=True)
            else:
                made = new.create_dataset(name, data=item[()])
            made.attrs.update(item.attrs)

        old.visititems(copy)
    return halved.getvalue()
