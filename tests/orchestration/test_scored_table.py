import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from copies import draw

from ferops.data.preprocessing.filters import median
from ferops.data.readers.image_files import ImageFile, UnreadableFile
from ferops.data.statistics import measure
from ferops.labels import NAMES
from ferops.orchestration.monitoring import scored_table


def part(run: str, seed: int = 0, count: int = 10, weights: str = "ours") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    faces = [
        ImageFile(f"{number}.png", f"{seed}-{number}", 48, 48, pixels) for number, pixels in enumerate(draw(rng, count))
    ]
    predicted = rng.dirichlet(np.ones(7), count).astype(np.float32)
    return scored_table.make_part(faces, predicted, kernel=3, version=1, weights_digest=weights, run=run)


def test_pandas_reads_the_folder_as_one_table(tmp_path: Path) -> None:
    run = scored_table.new_run()
    for seed in range(3):
        scored_table.add(tmp_path, part(run, seed), seed)
    scored_table.add_bad(tmp_path, run, [UnreadableFile("a.txt", "no image")])
    table = pd.read_parquet(tmp_path)
    assert len(table) == 30
    assert {name: str(kind) for name, kind in table.dtypes.items()} == scored_table.COLUMNS


def test_a_row_says_what_was_predicted_of_which_image() -> None:
    table = part("run")
    predicted = table[list(NAMES)].to_numpy()
    assert table["label"].tolist() == [NAMES[code] for code in predicted.argmax(axis=1)]
    assert np.array_equal(table["probability"], predicted.max(axis=1))
    pixels = draw(np.random.default_rng(0), 10)
    assert np.allclose(table[["mean", "sharpness"]], measure(median(pixels, 3))[["mean", "sharpness"]])


def test_what_other_weights_have_scored_is_not_known(tmp_path: Path) -> None:
    scored_table.add(tmp_path, part("a", seed=1), 0)
    scored_table.add(tmp_path, part("b", seed=2, weights="theirs"), 0)
    assert scored_table.scored_digests(tmp_path, "ours") == {f"1-{number}" for number in range(10)}
    assert scored_table.scored_digests(tmp_path / "nothing", "ours") == set()


def test_latest_is_the_newest_run_and_as_many_before_it_as_are_needed(tmp_path: Path) -> None:
    for seed, run in enumerate(["a", "b", "b", "c"]):
        scored_table.add(tmp_path, part(run, seed), seed)
    scored_table.add(tmp_path, part("d", 4, weights="theirs"), 0)
    assert set(scored_table.latest(tmp_path, "ours", 5)["run"]) == {"c"}
    both = scored_table.latest(tmp_path, "ours", 11)
    assert both["run"].tolist() == ["b"] * 20 + ["c"] * 10
    assert len(scored_table.latest(tmp_path, "ours", 1000)) == 40
    assert list(scored_table.latest(tmp_path / "nothing", "ours", 5)) == list(scored_table.COLUMNS)


def test_an_image_that_two_runs_scored_at_once_counts_once(tmp_path: Path) -> None:
    for run in ("a", "b"):
        scored_table.add(tmp_path, part(run, seed=1), 0)
    assert len(scored_table.latest(tmp_path, "ours", 20)) == 10


def test_runs_are_named_in_their_order() -> None:
    names = [scored_table.new_run() for _ in range(50)]
    assert sorted(names) == names
    assert len(set(names)) == 50


def test_an_old_temporary_file_of_a_killed_scoring_is_deleted(tmp_path: Path) -> None:
    old, young = tmp_path / ".new.a-00000.parquet", tmp_path / ".new.b-00000.parquet"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    scored_table.add(tmp_path, part("c"), 0)
    assert len(pd.read_parquet(tmp_path)) == 10
    scored_table.delete_stale_parts(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_a_damaged_part_is_named_in_one_line(tmp_path: Path) -> None:
    path = scored_table.add(tmp_path, part("a"), 0)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(scored_table.BadScoredTable, match=path.name) as error:
        scored_table.scored_digests(tmp_path, "ours")
    assert "\n" not in str(error.value)
