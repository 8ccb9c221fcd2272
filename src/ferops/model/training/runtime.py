"""Backend, versions and processor of a training, and the latency of its network there."""

import importlib.metadata
import os
import platform
import re
import statistics
import timeit
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ferops.model.networks import descriptors


def describe() -> dict[str, Any]:
    """Return Keras, its backend and the hardware, as recorded beside every trained network."""
    backend = keras.config.backend()
    return {
        "keras": keras.__version__,
        "backend": backend,
        "backend_version": importlib.metadata.version(backend),
        "hardware": f"{_accelerator(backend) or _processor()}, {os.cpu_count()} CPU cores",
    }


def milliseconds(network: keras.Model, face: NDArray[np.uint8]) -> float:
    """Measure the median latency of a prediction for one face, uint8 (1, 48, 48), descriptors included, in ms."""
    seconds = timeit.repeat(lambda: network.predict_on_batch(descriptors.inputs(network, face)), number=1, repeat=30)
    return 1000 * statistics.median(seconds[5:])  # the first ones trace the graph and fill caches


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Linux alone has it
    named = re.search(r"^model name\s*: (.*)", cpuinfo.read_text(encoding="utf-8"), re.M) if cpuinfo.is_file() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def _accelerator(backend: str) -> str | None:
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        return str(jax.devices()[0].device_kind) if jax.default_backend() != "cpu" else None
    return ", ".join(keras.distribution.list_devices("gpu")) or None
