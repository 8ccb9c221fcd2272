"""Grad-CAM: which parts of a face speak for the answer (Selvaraju et al., 2017, arXiv 1610.02391).

The gradient is taken layer by layer with `keras.ops` instead of by the backend, so that exported networks have it too:
LiteRT has no operation for the gradients of TensorFlow.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import SIDE
from ferops.model.networks import descriptors

MAP_SIDE: Final = 12
"""Rows and columns of a map, which divide the face evenly."""

_LEAST_POSITIONS: Final = 6
"""Positions of the features, each way: 3 x 3, as the last ones of most networks, do not tell an eye from the mouth."""


class NotExplainable(FeropsError):
    """A network has no features with a place in the face, or a layer whose derivative is not implemented."""


class _Step(NamedTuple):
    """A layer or operation of a network, with the symbolic tensors that it takes and returns."""

    layer: Any
    inputs: list[Any]
    outputs: list[Any]


def explained(core: keras.Model) -> keras.Model:
    """Return a network with its Grad-CAM maps as a second output; the weights are shared.

    The features are the last ones of at least 6 x 6 positions. Each channel is weighted by the mean gradient of the
    predicted expression's logit, and what is positive in the sum is the map.

    Args:
        core: from uint8 (N, 48, 48) to probabilities (N, 7).

    Returns:
        A model from the same faces to the same probabilities, and to maps, float32 (N, 12, 12): the greatest value of
        each is 1; where no feature speaks for the answer all are 0.

    Raises:
        NotExplainable: `core` takes descriptors, or a derivative of a layer behind the features is not implemented.
    """
    if not descriptors.is_served(core):
        raise NotExplainable(f"{core.name} takes descriptors; Grad-CAM needs features with a place in the face")
    steps = _steps(core, core.inputs[0])
    last = max((at for at, step in enumerate(steps) if _is_map(step.outputs[0])), default=-1)
    if last < 0:
        raise NotExplainable(f"{core.name} has no features of {_LEAST_POSITIONS} x {_LEAST_POSITIONS} positions")
    (features,), head = steps[last].outputs, steps[last + 1 :]
    known = [*(_has_derivative(step, features) for step in head[:-1]), isinstance(head[-1].layer, layers.Dense)]
    if unknown := next((step.layer.name for step, is_known in zip(head, known, strict=True) if not is_known), ""):
        raise NotExplainable(f"{core.name}: Grad-CAM through its layer {unknown} is not implemented")
    interpolation = ops.convert_to_tensor(_interpolation(steps[: last + 1]))
    symbols = [features, *(output for step in head for output in step.outputs)]

    def maps(tensors: Sequence[Any]) -> Any:
        values = {id(symbol): tensor for symbol, tensor in zip(symbols, tensors, strict=True)}
        weights = _mean_gradient(features, head, values)
        heat = ops.relu(ops.sum(weights[:, None, None] * tensors[0], axis=-1))
        heat = ops.reshape(heat, (-1, interpolation.shape[0])) @ interpolation
        heat = heat / ops.maximum(ops.max(heat, axis=-1, keepdims=True), keras.config.epsilon())
        return ops.reshape(heat, (-1, MAP_SIDE, MAP_SIDE))

    heat = layers.Lambda(maps, (MAP_SIDE, MAP_SIDE), dtype="float32", name="gradcam")(symbols)
    return keras.Model(core.inputs[0], [symbols[-1], heat], name=core.name)


def _steps(network: keras.Model, faces: Any) -> list[_Step]:
    """Apply a network to a symbolic tensor, and return its steps in order, those of nested networks among them."""
    steps: list[_Step] = []

    def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            steps.extend(_steps(layer, x))
            return steps[-1].outputs[0]
        y = layer(x, *args, **kwargs)
        steps.append(_Step(layer, *(each if isinstance(each, list) else [each] for each in (x, y))))
        return y

    keras.models.clone_model(network, faces, clone_function=lambda layer: layer, call_function=call)
    return steps


def _is_map(x: Any) -> bool:
    return len(x.shape) == 4 and min(x.shape[1:3]) >= _LEAST_POSITIONS


def _has_derivative(step: _Step, features: Any) -> bool:
    layer = step.layer
    if _activation(layer) not in ("linear", "relu"):
        return False
    if isinstance(layer, layers.Conv2D) and (layer.groups != 1 or layer.dilation_rate != (1, 1)):
        return False
    if step.inputs[0] is features and isinstance(layer, layers.Conv2D | layers.MaxPooling2D):
        return True  # only the mean of the gradient is needed
    if isinstance(layer, layers.Conv2D):
        is_odd = all(side % 2 for side in layer.kernel_size)
        return bool(is_odd and layer.strides == (1, 1) and layer.padding == "same")
    if isinstance(layer, layers.MaxPooling2D):
        return bool(layer.pool_size == layer.strides and layer.padding == "valid")
    return type(layer).__name__ in _DERIVATIVES


def _activation(layer: Any) -> str:
    return "relu" if isinstance(layer, layers.ReLU) else getattr(layer, "activation", keras.activations.linear).__name__


def _interpolation(steps: Sequence[_Step]) -> NDArray[np.float32]:
    """Return the bilinear interpolation from the last step's positions to a map, a matrix (positions, 144).

    A position lies where the middle of its receptive field is: a 3 x 3 convolution by two, which is padded on the right
    alone, moves it by half a pixel of its input.
    """
    grids: dict[int, tuple[float, int]] = {}  # tensor -> pixel of the face at its first position, pixels to the next
    for layer, (x, *_), (y, *_) in steps:
        first, distance = grids.get(id(x), (0.0, 1))
        if isinstance(layer, layers.Conv2D | layers.MaxPooling2D):
            side = (layer.kernel_size if isinstance(layer, layers.Conv2D) else layer.pool_size)[0]
            padding = max((y.shape[1] - 1) * layer.strides[0] + side - x.shape[1], 0) // 2
            first += distance * ((side - 1) / 2 - padding)
            distance *= layer.strides[0]
        grids[id(y)] = first, distance
    positions = first + distance * np.arange(y.shape[1])
    places = (np.arange(MAP_SIDE) + 0.5) * SIDE / MAP_SIDE - 0.5
    one_axis = [np.interp(places, positions, unit) for unit in np.eye(len(positions))]
    return np.kron(one_axis, one_axis).astype(np.float32)


def _mean_gradient(features: Any, head: Sequence[_Step], values: dict[int, Any]) -> Any:
    """Return the gradient of the predicted expression's logit by the features, averaged over positions: (N, channels).

    Args:
        features: a symbolic tensor.
        head: the steps from there to the probabilities.
        values: of the symbolic tensors, by their ids.
    """
    *between, last = head
    probabilities = values[id(last.outputs[0])]
    predicted = ops.cast(probabilities == ops.max(probabilities, axis=-1, keepdims=True), "float32")
    gradients = {id(last.inputs[0]): predicted @ ops.transpose(last.layer.kernel)}
    for step in reversed(between):
        gradient = ops.concatenate([gradients[id(y)] for y in step.outputs], axis=-1)  # of a split; else of one
        if _activation(step.layer) == "relu":
            gradient = gradient * ops.cast(values[id(step.outputs[0])] > 0, "float32")
        if step.inputs[0] is features and isinstance(step.layer, layers.Conv2D):
            return _mean_through_convolution(step.layer, features.shape, gradient)
        if step.inputs[0] is features and isinstance(step.layer, layers.MaxPooling2D):
            return ops.sum(gradient, axis=(1, 2)) / math.prod(features.shape[1:3])  # whichever positions get it
        for x, back in zip(step.inputs, _DERIVATIVES[type(step.layer).__name__](step, gradient, values), strict=True):
            gradients[id(x)] = gradients[id(x)] + back if id(x) in gradients else back
    return ops.mean(gradients[id(features)], axis=(1, 2))


def _mean_through_convolution(layer: Any, shape: Any, gradient: Any) -> Any:
    """Return the mean over positions of the gradient by a convolution's input of this shape.

    Each weight of the kernel takes the sum of the gradient where it lies on the input: there is no transposed
    convolution, which LiteRT is slow at.
    """
    _, height, width, channels = shape
    _, *positions, filters = gradient.shape
    ones = ops.ones((1, height, width, 1))
    lies = ops.image.extract_patches(ones, layer.kernel_size, layer.strides, padding=layer.padding)
    lies = ops.transpose(ops.reshape(lies, (math.prod(positions), -1)))
    sums = lies @ ops.reshape(gradient, (-1, math.prod(positions), filters))
    kernel = ops.reshape(ops.transpose(layer.kernel, (0, 1, 3, 2)), (-1, channels))
    return ops.reshape(sums, (-1, kernel.shape[0])) @ kernel / (height * width)


def _through_convolution(step: _Step, gradient: Any, _: dict[int, Any]) -> list[Any]:
    """By one pixel and padded: the gradient is convolved with the turned kernel."""
    turned = ops.transpose(ops.flip(step.layer.kernel, (0, 1)), (0, 1, 3, 2))
    return [ops.conv(gradient, turned, padding="same")]


def _through_norm(step: _Step, gradient: Any, _: dict[int, Any]) -> list[Any]:
    norm = step.layer
    return [gradient * (norm.gamma * ops.rsqrt(norm.moving_variance + norm.epsilon))]


def _through_max_pooling(step: _Step, gradient: Any, values: dict[int, Any]) -> list[Any]:
    """Windows that do not overlap: the greatest values of each share its gradient."""
    x, y, window = values[id(step.inputs[0])], values[id(step.outputs[0])], step.layer.pool_size
    height, width = (positions * side for positions, side in zip(y.shape[1:3], window, strict=True))
    is_greatest = ops.cast(x[:, :height, :width] == ops.image.resize(y, (height, width), "nearest"), "float32")
    share = gradient / (math.prod(window) * ops.average_pool(is_greatest, window, window))
    back = is_greatest * ops.image.resize(share, (height, width), "nearest")
    return [ops.pad(back, [[0, 0], [0, x.shape[1] - height], [0, x.shape[2] - width], [0, 0]])]


def _through_average(step: _Step, gradient: Any, _: dict[int, Any]) -> list[Any]:
    shape = step.inputs[0].shape[1:3]
    return [gradient[:, None, None] * ops.full((1, *shape, 1), 1 / math.prod(shape))]


def _through_concatenation(step: _Step, gradient: Any, _: dict[int, Any]) -> list[Any]:
    ends = np.cumsum([x.shape[-1] for x in step.inputs])[:-1]
    return list(ops.split(gradient, ends.tolist(), axis=-1))


def _unchanged(step: _Step, gradient: Any, _: dict[int, Any]) -> list[Any]:
    """In inference, and where both sides of a sum or a split were joined already."""
    return [gradient] * len(step.inputs)


_DERIVATIVES: Final[dict[str, Callable[[_Step, Any, dict[int, Any]], list[Any]]]] = {
    "Add": _unchanged,
    "BatchNormalization": _through_norm,
    "Concatenate": _through_concatenation,
    "Conv2D": _through_convolution,
    "Dense": lambda step, gradient, _: [gradient @ ops.transpose(step.layer.kernel)],
    "Dropout": _unchanged,
    "Flatten": lambda step, gradient, _: [ops.reshape(gradient, (-1, *step.inputs[0].shape[1:]))],
    "GaussianNoise": _unchanged,
    "GlobalAveragePooling2D": _through_average,
    "MaxPooling2D": _through_max_pooling,
    "ReLU": _unchanged,
    "Split": _unchanged,
}
"""Class of a layer or operation -> gradient by its inputs of that by its output, before its activation."""
