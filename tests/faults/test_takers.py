"""The lock of a killed process, taken over by two others at once."""

from pathlib import Path

import pytest
from services.publishers import TURNS, all_well


@pytest.mark.fuzz
def test_two_takers_of_an_abandoned_lock_are_never_both_its_holder(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    turns = TURNS.replace("COUNT", "500")
    all_well([(folder, turns) for folder in folders], f"sqlite:///{tmp_path / 'mlflow.db'}", seconds=1800)
