from pathlib import Path

import cv2
import numpy as np
from orchestration.rows import failed, measured

from ferops.orchestration.sweeps import comparison_report
from ferops.orchestration.sweeps.comparison_report import Rows

BLUE, RED = (42, 111, 151), (193, 18, 31)


def count(folder: Path, color: tuple[int, int, int], rows: Rows) -> int:
    """Pixels of a color in the plot of these rows."""
    comparison_report.draw(folder / "table3.png", rows, "a title")
    picture = cv2.cvtColor(cv2.imread(str(folder / "table3.png")), cv2.COLOR_BGR2RGB)
    return int((np.abs(picture.astype(int) - color).max(axis=2) < 12).sum())


def test_the_picture_has_a_mark_for_each_row_but_the_failed(tmp_path: Path) -> None:
    one, two = measured("lean_cnn", 0.6), measured("alexnet", 0.4)
    assert 0 < count(tmp_path, BLUE, one | failed("alexnet", "why")) < count(tmp_path, BLUE, one | two)


def test_what_the_paper_prints_is_marked_where_it_is_known(tmp_path: Path) -> None:
    assert count(tmp_path, RED, measured("lean_cnn", 0.6)) == 0
    assert count(tmp_path, RED, measured("vgg16_transfer", 0.6)) > 0
    assert count(tmp_path, RED, measured("lean_cnn", 0.6) | failed("vgg16_transfer", "why")) > 0


def test_a_row_without_its_training_has_its_accuracy_all_the_same(tmp_path: Path) -> None:
    assert count(tmp_path, BLUE, measured("lean_cnn", 0.6, training={})) > 0
