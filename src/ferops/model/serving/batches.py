"""A network's answers to any number of faces, a batch at a time: memory grows with the answers alone."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

BATCH: Final = 64
"""Larger ones are no faster, and take more memory."""

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From faces, uint8 (N, 48, 48), N at most `BATCH`, to float32 (N, ...), as probabilities (N, 7)."""


def in_batches(answer: Answer, faces: NDArray[np.uint8], shown: str = "") -> NDArray[Any]:
    """Return a network's answers to faces, float32 (N, ...), N at least 1.

    Args:
        answer: the network.
        faces: uint8 (N, 48, 48); those that are memory-mapped are read as they are needed.
        shown: beside a progress bar in a terminal; without it there is no bar.
    """
    starts: Iterable[int] = range(0, len(faces), BATCH)
    if shown:
        starts = track(starts, shown, transient=True, disable=not Console().is_terminal)
    return np.concatenate([answer(np.array(faces[at : at + BATCH])) for at in starts])
