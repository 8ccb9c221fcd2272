"""The plots."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context

from ferops.data import pictures
from ferops.model import plots

COUNTS = np.arange(49).reshape(7, 7)
CURVE = pd.DataFrame({"confidence": [0.2, 0.8], "accuracy": [0.3, 0.7], "n": [3, 4]})
HISTORY = [
    {"epoch": epoch, **{f"{split}/{name}": 1 / epoch for split in ("train", "val") for name in plots.CURVES}}
    for epoch in (1, 2)
]


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.curves(path, HISTORY, 1),
        lambda path: plots.confusion(path, COUNTS, normalised=True),
        lambda path: plots.reliability(path, CURVE, 0.1),
        lambda path: pictures.plot_class_distribution(path, COUNTS[0], COUNTS[1]),
    ],
    ids=["curves", "confusion", "reliability", "class distribution"],
)
def test_a_plot_is_the_same_whatever_the_users_matplotlibrc_says(draw: Callable[[Path], None], tmp_path: Path) -> None:
    draw(tmp_path / "usual.png")
    with rc_context({"text.usetex": True, "font.size": 20, "axes.facecolor": "black", "savefig.dpi": 30}):
        draw(tmp_path / "styled.png")
    assert (tmp_path / "styled.png").read_bytes() == (tmp_path / "usual.png").read_bytes()
