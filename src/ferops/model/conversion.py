"""Trained networks converted: batch norms folded into convolutions, kernels in half precision, other formats."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
from numpy.typing import NDArray

from ferops.errors import MissingPackage
from ferops.machine.environment import muted_stderr
from ferops.model.serving import litert
from ferops.model.serving.batches import Answer


def shrink(model: Path, out: Path) -> None:
    """Write a .keras file with its kernels rounded to float16 and compressed; Keras loads it like any other.

    Biases and batch norms, which are small and may exceed float16, stay float32.

    Args:
        model: a .keras file.
        out: the file to write.
    """
    with zipfile.ZipFile(model) as whole, zipfile.ZipFile(out, "w") as smaller:
        for name in whole.namelist():
            content = whole.read(name)
            smaller.writestr(name, _halved(content) if name == "model.weights.h5" else content)


def export(model: keras.Model, out: Path, samples: NDArray[np.uint8] | None = None) -> Answer:
    """Write a network in the format that the name tells, and return what runs it there.

    Args:
        model: from raw uint8 faces (N, 48, 48) to probabilities (N, 7); it was called before.
        out: NAME.tflite for LiteRT, NAME.onnx, or another name for the folder of a SavedModel of TensorFlow.
        samples: faces on which the ranges of 8-bit integers are measured, for convolutions in these in a .tflite file;
            what goes in and comes out keeps its type.

    Raises:
        MissingPackage: the format needs a package that is not installed.
    """
    with muted_stderr():  # the converters report on themselves
        if out.suffix == ".tflite":
            options = {} if samples is None else _quantised(samples)
            model.export(str(out), format="litert", verbose=False, **options)  # Keras takes no Path
            network = litert.Network(out.read_bytes())
            return lambda faces: litert.answers(network, faces)[0]
        if out.suffix == ".onnx":
            return _export_onnx(model, out)
        model.export(out, format="tf_saved_model", verbose=False)
        saved = keras.layers.TFSMLayer(out)
        return lambda faces: np.asarray(saved(faces))


def greatest_change(before: keras.Model, after: keras.Model) -> float:
    """Return the greatest change of a weight, as a fraction of the greatest magnitude in its variable."""
    pairs = zip(before.get_weights(), after.get_weights(), strict=True)
    return max(float(np.abs(one - other).max() / (np.abs(one).max() or 1.0)) for one, other in pairs)


def _quantised(samples: NDArray[np.uint8]) -> dict[str, Any]:
    """Return what makes LiteRT's converter use 8-bit integers; Keras hands it on, and has no name of its own for it."""
    import tensorflow

    return {
        "optimizations": [tensorflow.lite.Optimize.DEFAULT],
        "representative_dataset": lambda: ([face[None]] for face in samples),
    }


def _export_onnx(model: keras.Model, out: Path) -> Answer:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it looks up hosts when it is imported
    try:
        import onnxruntime
        import tf2onnx  # noqa: F401  # Keras imports it
    except ModuleNotFoundError as error:
        raise MissingPackage(f"{error.name} is not installed: `pip install 'ferops[onnx]'`") from None
    model.export(out, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda faces: session.run(None, {given.name: faces})[0]


def _halved(content: bytes) -> bytes:
    """Copy an HDF5 file, with float32 arrays of two axes or more as compressed float16."""
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
