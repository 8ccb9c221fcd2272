"""One face through the paper's network: Keras' two ways beside LiteRT, in TensorFlow's own environment."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measure import Line, compare, seconds

from ferops import params

FLOATING_POINT_OPERATIONS = 1.41e9
"""Of VGG16's convolutions at 48 x 48 pixels, a multiplication and an addition counted as two."""
TIMES = 20
WEIGHTS = "weights/vgg16_best.keras"


def lines(faces: np.ndarray, scratch: Path, convolution_rate: float) -> list[Line]:
    """Measure the median of the milliseconds that one face takes.

    Args:
        faces: uint8 (N, 48, 48); a hundred of them give 8-bit integers their ranges.
        scratch: a folder for the exported networks.
        convolution_rate: floating-point operations a second of the fastest convolution.
    """
    from ferops.model import conversion, weights
    from ferops.model.networks import systems
    from ferops.model.serving import litert

    settings = params.Model(name="vgg16_transfer", weights=WEIGHTS)
    network, face = systems.build(settings), faces[:1]
    weights.initialize(network, settings.weights, 0)
    network.predict_on_batch(face)

    def exported(name: str, samples: np.ndarray | None = None) -> Callable[[], Any]:
        conversion.export(network, scratch / name, samples)
        loaded = litert.Network((scratch / name).read_bytes())
        return lambda: litert.answers(loaded, face)

    ways = {
        "`model.predict`": lambda: network.predict(face, verbose=0),
        "`predict_on_batch`": lambda: network.predict_on_batch(face),
        "LiteRT, float32": exported("float.tflite"),
        "LiteRT, 8-bit integers": exported("integers.tflite", faces[:100]),
    }
    found = compare(ways, figure=lambda way: 1000 * median(seconds(way) for _ in range(TIMES)))
    floor = 1000 * FLOATING_POINT_OPERATIONS / convolution_rate
    leads = {("`model.predict`", "LiteRT, float32"): 5, ("`model.predict`", "LiteRT, 8-bit integers"): 29}
    return [
        Line(
            "one image, p50", usual, ours, "ms", found[usual], found[ours], leads.get((usual, ours)),
            floor if "float" in ours else None, "" if "float" in ours else "avx512_vnni",
        )
        for usual in ("`model.predict`", "`predict_on_batch`")
        for ours in ("LiteRT, float32", "LiteRT, 8-bit integers")
    ]  # fmt: skip
