"""Silence for native libraries that greet on stderr while they load."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Drop what native code writes to stderr: TensorFlow 2.21 greets before it reads a log level.

    Keras, where it was imported, also does its first operation in here: its backend then looks for a GPU, and tells.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
