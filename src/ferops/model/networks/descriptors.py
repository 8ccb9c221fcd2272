"""Hand-made descriptors of faces, and the inputs of a network that takes them."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from ferops.labels import SIDE

HOG_LENGTH: Final = 900
"""Numbers in a face's HOG descriptor: 25 blocks of 4 cells of 9 orientations."""

ORB_LENGTH: Final = 4096
"""Bits in a face's ORB descriptors: 256 of each of 16 regions."""


def hog(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute histograms of oriented gradients (Dalal and Triggs, 2005) of uint8 (N, 48, 48): float32 (N, 900).

    Blocks of 2 x 2 cells of 8 x 8 pixels, each of norm 1 at most; 9 orientations without sign.
    """
    descriptor = cv2.HOGDescriptor((SIDE, SIDE), (16, 16), (8, 8), (8, 8), 9)
    return np.array([descriptor.compute(face) for face in faces], np.float32).reshape(-1, HOG_LENGTH)


def orb(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute ORB descriptors (Rublee et al., 2011) of 4 x 4 regions of uint8 (N, 48, 48): bits, float32 (N, 4096).

    A keypoint is in the middle of each region, whatever the face shows: those that ORB detects differ in number, and a
    flat face has none. They are upright, as the faces are, and 31 pixels wide, as ORB's own pattern is: a linear
    classifier of 5,000 faces got 37.8% of PublicTest right with them, 37.0% and 36.1% with 15 and 9 pixels.
    """
    # the outer regions are closer to the border than half a patch; OpenCV mirrors the face there
    extractor = cv2.ORB.create(edgeThreshold=0, nlevels=1)
    middles = range(SIDE // 8, SIDE, SIDE // 4)
    keypoints = [cv2.KeyPoint(x, y, extractor.getPatchSize(), 0) for y in middles for x in middles]
    bits = [np.unpackbits(extractor.compute(face, keypoints)[1]) for face in faces]
    return np.array(bits, np.float32).reshape(-1, ORB_LENGTH)


_MAKERS: Final[dict[str, Callable[[Any], Any]]] = {
    "faces": np.asarray,
    "features": partial(np.asarray, dtype=np.float32),  # else TensorFlow convolves in float16, slowly
    "hog": hog,
    "orb": orb,
}


def is_served(network: keras.Model) -> bool:
    """Tell whether a network takes faces alone; descriptors, computed outside its graph, cannot be served."""
    return [tensor.name for tensor in network.inputs] == ["faces"]


def inputs(network: keras.Model, faces: NDArray[np.uint8]) -> Any:
    """Compute a network's inputs from faces, uint8 (N, 48, 48): the faces themselves, or an array by input name."""
    if is_served(network):
        return faces
    return {tensor.name: _MAKERS[tensor.name](faces) for tensor in network.inputs}
