"""The environment of Keras and TensorFlow: the backend, oneDNN, an allocator that keeps its memory, quiet imports."""

import ctypes
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ferops.errors import FeropsError
from ferops.machine.environment import muted_stderr

_BACKENDS: Final = ("tensorflow", "jax", "torch")

_DROPPED: Final = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "TF_USE_LEGACY_KERAS")
"""They cut every training short, or give MLflow another Keras."""

_MALLOC: Final = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}
"""glibc's variable -> mallopt's number for it (malloc.h).

The padding keeps memory where the threshold of trimming does not: TensorFlow 2.21 sets that back to 128 KiB for the
first data set that comes from Python."""

_KEPT: Final = 256 << 20
"""Bytes for each: more than the greatest array of a training step, and a bound on the memory that is kept."""

_OLD_MAXIMUM: Final = 32 << 20
"""Greatest mmap threshold in bytes that glibc before 2.35 accepts."""


class MissingBackend(FeropsError):
    """KERAS_BACKEND names no backend that trains, or one that is not installed."""


class BadKerasConfig(FeropsError):
    """Keras refuses the user's keras.json."""


def configure() -> None:
    """Choose Keras' backend, turn oneDNN on and have the C allocator keep its memory; call it before Keras is loaded.

    The backend is TensorFlow unless KERAS_BACKEND names another.

    On processors without AVX-512 TensorFlow leaves oneDNN off, and spends half of its time on page faults: glibc gives
    the memory of each training step back to the kernel. The user's own TF_ENABLE_ONEDNN_OPTS, MALLOC_* and
    GLIBC_TUNABLES win; a C library without `mallopt` (musl, macOS) stays as it is.

    Raises:
        MissingBackend: it is unknown, or its package is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND") or _BACKENDS[0]
    if backend not in _BACKENDS:
        raise MissingBackend(f"KERAS_BACKEND is {backend!r}; expected one of {', '.join(_BACKENDS)}, or unset it")
    if importlib.util.find_spec(backend) is None:
        raise MissingBackend(
            f"KERAS_BACKEND: the package {backend} is not installed; `pip install {backend}`, or unset the variable"
        )
    # these win over keras.json; NNX needs flax
    os.environ |= {"KERAS_BACKEND": backend, "KERAS_NNX_ENABLED": "false"}
    for name in _DROPPED:
        os.environ.pop(name, None)
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings only
    # glibc reads its variables before main(): only mallopt reaches a process that runs already
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    for variable, option in _MALLOC.items():
        if variable not in os.environ and not mallopt(option, _KEPT):
            mallopt(option, _OLD_MAXIMUM)


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Import Keras, or what imports it, in here: both are configured, and TensorFlow's greeting on stderr is dropped.

    Native code greets before it reads a log level (TensorFlow 2.21). Where Keras was imported, its own defaults replace
    those of the user's keras.json when the block ends, and its first operation is done in here too: its backend then
    looks for a GPU, and reports on it.

    Raises:
        MissingBackend: KERAS_BACKEND is unknown, or its package is not installed.
        BadKerasConfig: keras.json has a value that is never valid.
    """
    configure()
    with muted_stderr():
        try:
            yield
        except (ValueError, AttributeError) as error:  # Keras reads its file while it is imported
            if "keras" not in traceback.extract_tb(error.__traceback__)[-1].filename:
                raise
            raise BadKerasConfig(f"{error}; correct keras.json in ~/.keras or KERAS_HOME") from None
        if keras := sys.modules.get("keras"):
            keras.config.set_image_data_format("channels_last")
            keras.config.set_floatx("float32")
            keras.config.set_epsilon(1e-7)
            keras.ops.zeros(())
