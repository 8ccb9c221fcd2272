"""TensorFlow's environment: oneDNN, an allocator that keeps its memory, and silence on stderr while it loads."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MALLOC: Final = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2, "MALLOC_MMAP_THRESHOLD_": -3}
"""glibc's variable -> mallopt's number for it (malloc.h).

The padding keeps memory where the threshold of trimming does not: TensorFlow 2.21 sets that back to 128 KiB for the
first data set that comes from Python."""

_KEPT: Final = 256 << 20
"""Bytes for each: more than the greatest array of a training step, and a bound on the memory that is kept."""

_OLD_MAXIMUM: Final = 32 << 20
"""Greatest mmap threshold in bytes that glibc before 2.35 accepts."""


def configure() -> None:
    """Turn oneDNN on and have the C allocator keep its memory; call it before TensorFlow is loaded.

    On processors without AVX-512 TensorFlow leaves oneDNN off, and spends half of its time on page faults: glibc gives
    the memory of each training step back to the kernel. The user's own TF_ENABLE_ONEDNN_OPTS, MALLOC_* and
    GLIBC_TUNABLES win; a C library without `mallopt` (musl, macOS) stays as it is.
    """
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
    """Import Keras, or what imports it, in here: TensorFlow is configured, and its greeting on stderr is dropped.

    Native code greets before it reads a log level (TensorFlow 2.21). Where Keras was imported, its first operation is
    done in here too: its backend then looks for a GPU, and reports on it.
    """
    configure()
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
        if "keras" in sys.modules:
            sys.modules["keras"].ops.zeros(())
    finally:
        os.dup2(kept, 2)
        os.close(kept)
