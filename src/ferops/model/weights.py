"""Initial weights of a network, and the digest that identifies a trained one."""

import hashlib
import json
import os
import socket
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ferops.errors import FeropsError
from ferops.labels import NAMES, SIDE
from ferops.model.networks import descriptors, vggs

IMAGENET_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET_MD5 = "6d6bbae143d832006294945121d1f1fc"  # as Keras Applications publishes it


class WeightsMissing(FeropsError):
    """A weights file does not exist and could not be downloaded."""


class WeightsUnfit(FeropsError):
    """A weights file is damaged, in a format that is not loaded, or of a network that does not fit."""


def initialize(model: keras.Model, weights: str, seed: int, *, is_whole: bool = False) -> str | None:
    """Initialize a network from a file, or at random.

    Args:
        model: a network of `systems.build`, changed in place.
        weights: `none`, random weights: of a VGG16 base He's normal initialization, else those that it has; `imagenet`;
            or a file: a .keras model of the same system, all of whose weights are taken, or one of VGG16 without top,
            which is the base: the .h5 of Keras Applications, .weights.h5, or a .keras model that contains it or is
            vgg16_best, whose batch norms are folded into the convolutions.
        seed: of the random weights.
        is_whole: whether only a model of the same system will do.

    Returns:
        The sha256 of the file that was loaded, None for random weights.

    Raises:
        WeightsMissing: there is no such file, or ImageNet's cannot be downloaded.
        WeightsUnfit: the file is neither.
    """
    base = next((layer for layer in model.layers if layer.name == "vgg16"), None)
    if weights == "none":
        # He et al. (2015): Keras' default (Glorot) halves the variance at every ReLU, thirteen times
        for offset, layer in enumerate(layer for layer in (base.layers if base else ()) if layer.weights):
            layer.kernel.assign(keras.initializers.HeNormal(seed=seed + offset)(layer.kernel.shape))
        return None
    path = _imagenet() if weights == "imagenet" else Path(weights)
    if not path.is_file():
        raise WeightsMissing(f"model.weights: {path} does not exist; set a file, imagenet, or none")
    if path.suffix == ".keras":
        _load_network(model, base, path, is_whole=is_whole)
    elif base:
        _load_weights(base, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_model(path: Path) -> keras.Model:
    """Load the model in a .keras file.

    Raises:
        WeightsUnfit: it is none, is damaged, or has weights that are no numbers.
    """
    if not zipfile.is_zipfile(path):
        raise WeightsUnfit(f"{path} is no .keras model: it is cut short, or of another kind")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # of many kinds, by what is wrong with the file
        raise WeightsUnfit(f"{path} is no .keras model: {str(error).partition(chr(10))[0]}") from None
    for variable in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise WeightsUnfit(f"{path}: {variable.path} has weights that are infinite or no numbers")
    return model


def load_network(path: Path) -> keras.Model:
    """Load a whole network from faces to the seven probabilities: a core as `train` writes it, or a registered model.

    Raises:
        WeightsUnfit: of `load_model`, or it answers a face with something else.
    """
    model = load_model(path)
    network, face = core(model), np.zeros((1, SIDE, SIDE), np.uint8)
    try:
        answer = keras.ops.convert_to_numpy(network(descriptors.inputs(network, face), training=False))
        fits = answer.shape == (1, len(NAMES)) and abs(float(answer.sum()) - 1) < 0.01
    except Exception:  # of many kinds, by what it takes
        fits = False
    if not fits:
        raise WeightsUnfit(
            f"{path}: {model.name!r} does not answer faces of {SIDE} x {SIDE} pixels with seven probabilities; "
            "expected a network as `train` writes it"
        )
    return model


def core(model: keras.Model) -> keras.Model:
    """Return the network that was trained: the model itself, or what a registered model has inside."""
    if [tensor.name for tensor in model.inputs] != ["raw_faces"]:
        return model
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def record_file(path: Path) -> Path:
    """Return the file beside a weights file that `ferops weights import` writes: where the network was trained."""
    return path.with_name(f"{path.name}.json")


def record(path: Path) -> dict[str, Any] | None:
    """Read the record of a weights file: `trained_by`, for people, and what was `measured`; None without one.

    Raises:
        WeightsUnfit: it is that of another file.
    """
    beside = record_file(path)
    if not beside.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        is_of_it = found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        is_measured = {"dataset", "n", "accuracy", "median_kernel"} <= found["measured"].keys()
        if is_of_it and is_measured and "trained_by" in found:
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise WeightsUnfit(f"{beside} is no record of {path.name}; `ferops weights import` writes it")


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


def _load_network(model: keras.Model, base: keras.Model | None, path: Path, *, is_whole: bool) -> None:
    """Copy all weights of a .keras model of the same system, or VGG16's convolutions out of one that contains it."""
    try:
        source = load_model(path)
    except WeightsUnfit as error:
        raise WeightsUnfit(f"model.weights: {error}") from None
    if source.name == model.name:
        shapes, expected = ([tuple(one.shape) for one in each.weights] for each in (source, model))
        if shapes != expected:
            width = "; see model.width" if model.name == "lean_cnn" else ""
            raise WeightsUnfit(
                f"model.weights: {path} is a {model.name} of other shapes: {_difference(source, model)}{width}"
            )
        model.set_weights(source.get_weights())
    elif is_whole or base is None:
        epochs = "; with train.epochs over 0 VGG16's convolutions would do" if is_whole and base else ""
        raise WeightsUnfit(f"model.weights: {path} is {source.name!r}; expected a whole {model.name}{epochs}")
    else:
        _load_convolutions(base, source, path)


def _load_convolutions(base: keras.Model, source: keras.Model, path: Path) -> None:
    try:
        if source.name == "vgg16_best":
            source = vggs.fold(source)
        source = next((layer for layer in source.layers if layer.name == "vgg16"), source)
        for layer in base.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
    except ValueError as error:
        raise WeightsUnfit(f"model.weights: {path} holds no VGG16: {str(error).splitlines()[0]}") from None


def _difference(found: keras.Model, expected: keras.Model) -> str:
    """Return the first weight in which two networks of a system differ, for people."""
    for one, other in zip(found.weights, expected.weights, strict=False):
        if one.shape != other.shape:
            return f"{one.path} has {tuple(one.shape)} in place of {tuple(other.shape)}"
    return f"{len(found.weights)} weights in place of {len(expected.weights)}"
