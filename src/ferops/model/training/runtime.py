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


def precision(wanted: str) -> str:
    """Resolve `auto` of train.precision: bfloat16 where the accelerator, or else the processor, computes in it."""
    if wanted != "auto":
        return wanted
    backend = keras.config.backend()
    found = _computes_bfloat16(backend) if _accelerator(backend) else has_bfloat16(_cpuinfo("flags"))
    return "mixed_bfloat16" if found else "float32"


def has_bfloat16(flags: str) -> bool:
    """Tell whether a processor computes in bfloat16, by the flags in Linux' /proc/cpuinfo."""
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


def milliseconds(network: keras.Model, face: NDArray[np.uint8]) -> float:
    """Measure the median latency of a prediction for one face, uint8 (1, 48, 48), descriptors included, in ms."""
    seconds = timeit.repeat(lambda: network.predict_on_batch(descriptors.inputs(network, face)), number=1, repeat=30)
    return 1000 * statistics.median(seconds[5:])  # the first ones trace the graph and fill caches


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str:
    """Return what Linux says of the first processor; empty where the system is another."""
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^{field}\s*: (.*)", path.read_text(encoding="utf-8"), re.M) if path.is_file() else None
    return found[1].strip() if found else ""


def _accelerator(backend: str) -> str | None:
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        return str(jax.devices()[0].device_kind) if jax.default_backend() != "cpu" else None
    return ", ".join(keras.distribution.list_devices("gpu")) or None


def _computes_bfloat16(backend: str) -> bool:
    """Tell whether the accelerator computes in bfloat16: a TPU, NVIDIA's from compute capability 8.0 (Ampere) on."""
    if backend == "torch":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        major = str(getattr(device, "compute_capability", "")).partition(".")[0]  # AMD's is a name
        return device.platform == "tpu" or (major.isdecimal() and int(major) >= 8)
    import tensorflow

    gpus = tensorflow.config.list_physical_devices("GPU")
    details = [tensorflow.config.experimental.get_device_details(gpu) for gpu in gpus]
    return all(one.get("compute_capability", (0, 0)) >= (8, 0) for one in details)
