"""Initial weights of VGG16's convolutions, and the digest that identifies a trained network."""

import hashlib
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np

from ferops.errors import FeropsError
from ferops.labels import SIDE

IMAGENET_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_MD5 = "6d6bbae143d832006294945121d1f1fc"  # as Keras Applications publishes it


class WeightsMissing(FeropsError):
    """A weights file does not exist and could not be downloaded."""


class WeightsUnfit(FeropsError):
    """A weights file is not VGG16's, or in a format that is not loaded."""


def initialize(model: keras.Model, weights: str, seed: int) -> str | None:
    """Initialize the VGG16 base of a network; one without such a base keeps its random weights.

    Args:
        model: a network of `systems.build`, changed in place.
        weights: `imagenet`, `none` (He's normal initialization), or a file: the .h5 of Keras Applications,
            .weights.h5, or a .keras model that holds VGG16's convolutions.
        seed: of the random weights.

    Returns:
        The sha256 of the file that was loaded, None for random weights.

    Raises:
        WeightsMissing: there is no such file, or ImageNet's cannot be downloaded.
        WeightsUnfit: the file is not VGG16 without top.
    """
    base = next((layer for layer in model.layers if layer.name == "vgg16"), None)
    if base is None:
        return None
    if weights == "none":
        # He et al. (2015): Keras' default (Glorot) halves the variance at every ReLU, thirteen times
        for offset, layer in enumerate(layer for layer in base.layers if layer.weights):
            layer.kernel.assign(keras.initializers.HeNormal(seed=seed + offset)(layer.kernel.shape))
        return None
    path = _imagenet() if weights == "imagenet" else Path(weights)
    if not path.is_file():
        raise WeightsMissing(f"model.weights: {path} does not exist; set a file, imagenet, or none")
    load = _load_convolutions if path.suffix == ".keras" else _load_weights
    load(base, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(model: keras.Model) -> str:
    """Compute the sha256 over shape and float32 bytes of every weight, in order; it identifies a trained network.

    The hash of a .keras file would not: it contains a date.
    """
    total = hashlib.sha256()
    for variable in model.weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable), dtype="<f4")
        total.update(str(array.shape).encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _imagenet() -> Path:
    """Return Keras Applications' file of ImageNet weights, downloaded into Keras' cache where it is not there."""
    path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models" / IMAGENET_FILE
    if not path.is_file():
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(10)  # seconds without an answer
        try:
            keras.applications.VGG16(include_top=False, weights="imagenet", input_shape=(SIDE, SIDE, 3))
        except Exception as error:  # Keras raises a bare Exception where the download fails
            raise WeightsMissing(
                f"model.weights: imagenet: {IMAGENET_FILE} could not be fetched ({error}); put it at {path}, "
                "or set model.weights to a file, or to none with frozen_blocks 0"
            ) from None
        finally:
            socket.setdefaulttimeout(timeout)
    # Keras would delete another file of this name and download its own
    if path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != IMAGENET_MD5:
        raise WeightsUnfit(f"model.weights: {path} is not Keras' file (another md5); move it away")
    return path


def _load_weights(base: keras.Model, path: Path) -> None:
    """Load VGG16's weights from a file of Keras Applications' layout, or of Keras 3's."""
    # Keras infers the layout from the file's name, which people change
    for suffix in (".weights.h5", ".h5"):
        with tempfile.TemporaryDirectory() as folder, suppress(ValueError, KeyError, OSError):
            alias = Path(folder) / f"base{suffix}"
            alias.symlink_to(path.resolve())
            base.load_weights(alias)
            return
    raise WeightsUnfit(f"model.weights: {path} is not VGG16 without top, neither as .h5 nor as .weights.h5")


def _load_convolutions(base: keras.Model, path: Path) -> None:
    """Copy VGG16's convolutions out of a .keras model that is VGG16 or contains it."""
    try:
        source = keras.models.load_model(path, compile=False, safe_mode=True)
        if source.name == "vgg16_best":
            raise WeightsUnfit(f"model.weights: {path} has batch norms; `ferops weights fold` removes them")
        source = next((layer for layer in source.layers if layer.name == "vgg16"), source)
        for layer in base.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
    except (ValueError, OSError) as error:
        raise WeightsUnfit(f"model.weights: {path} holds no VGG16: {str(error).splitlines()[0]}") from None
