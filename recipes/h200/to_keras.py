"""Make vgg16_best of what train.py wrote: python recipes/h200/to_keras.py FOLDER NAME OUT.keras.

train.py takes one channel, (gray - 114.799) / 64. That is what `model.scaling: caffe` gives where the first kernel is
the same for the three channels, divided by 3 * 64. Kernels are rounded, after which `ferops weights shrink` makes the
file a third of its size.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ferops.model.networks import systems
from ferops.params import Model

DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions of VGG16's blocks."""
MANTISSA_BITS = 4
"""Of a kernel's weights."""


def main(folder: Path, name: str, out: Path) -> None:
    """Read NAME-1.npz and NAME-2.npz, write a .keras file."""
    arrays = {
        key: array.astype(np.float32) for n in (1, 2) for key, array in np.load(folder / f"{name}-{n}.npz").items()
    }
    network = systems.build(Model(name="vgg16_best", weights="none", frozen_blocks=0, scaling="caffe", noise=0.0))
    place = 0  # among PyTorch's layers: convolution, batch norm, ReLU, and a pooling at a block's end
    for block, depth in enumerate(DEPTHS, start=1):
        for n in range(1, depth + 1):
            kernel = arrays[f"f.{place}.weight"].transpose(2, 3, 1, 0)
            if place == 0:
                kernel = np.repeat(kernel, 3, axis=2) / (3 * 64.0)
            norm = [arrays[f"f.{place + 1}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
            network.get_layer(f"block{block}_conv{n}").set_weights([rounded(kernel)])
            network.get_layer(f"block{block}_conv{n}_norm").set_weights(norm)
            place += 3
        place += 1
    network.get_layer("probabilities").set_weights([rounded(arrays["fc.weight"].T), arrays["fc.bias"]])
    network.save(out)


def rounded(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round every weight to `MANTISSA_BITS`."""
    mantissa, exponent = np.frexp(kernel)
    steps = 2 ** (MANTISSA_BITS + 1)
    return np.asarray(np.ldexp(np.round(mantissa * steps) / steps, exponent), np.float32)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
