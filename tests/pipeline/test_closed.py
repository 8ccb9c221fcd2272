"""The test split stays closed to whatever trains or chooses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import shell

from ferops import params


@pytest.fixture
def scrambled(repro: Path, tmp_path: Path) -> Path:
    """The reproduced pipeline with other images and other labels in its test split."""
    folder = Path(shutil.copytree(repro, tmp_path / "scrambled", symlinks=True))
    manifest_file, images_file = (folder / "data/prepared" / name for name in ("manifest.parquet", "images.npy"))
    manifest, images = pd.read_parquet(manifest_file), np.load(images_file)
    test = (manifest["split"] == "test").to_numpy()
    manifest.loc[test, "label"] = (manifest.loc[test, "label"] + 1) % 7
    images[test] = 255 - images[test]
    for file in (manifest_file, images_file):
        file.unlink()  # it may be a link into DVC's cache
    manifest.to_parquet(manifest_file, index=False)
    np.save(images_file, images)
    params.merge({"evaluate": {"test": False}}, folder / "params.yaml")
    return folder


def test_other_test_images_and_labels_give_the_same_network_and_the_same_figures_on_validation(
    repro: Path, scrambled: Path
) -> None:
    for stage in ("train", "evaluate"):
        shell(scrambled, "python", "-m", "ferops.stages", stage)
    kept, again = (json.loads((folder / "models/training.json").read_text()) for folder in (repro, scrambled))
    for key in ("weights_digest", "best_epoch", "scratch_key"):
        assert again[key] == kept[key]
    assert again["started"] > kept["started"], "it was trained anew"
    figures = [json.loads((folder / "metrics/val.json").read_text()) for folder in (repro, scrambled)]
    assert figures[0] == figures[1]
    assert json.loads((scrambled / "metrics/test.json").read_text()) == {}
    assert set(pd.read_parquet(scrambled / "predictions.parquet")["split"]) == {"validation"}
