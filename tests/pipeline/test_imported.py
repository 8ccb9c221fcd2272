"""A network that was trained elsewhere: `ferops weights import`, then the pipeline with no epoch."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from support import Ferops, refused, shell

from ferops import params
from ferops.labels import NAMES
from ferops.model import weights

BY = "two epochs on a laptop"


@pytest.fixture
def folder(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reproduced pipeline, and elsewhere.keras: its network with weights that nothing here has trained."""
    folder = Path(shutil.copytree(committed, tmp_path / "pipeline", symlinks=True))
    network = keras.models.load_model(folder / "models/core.keras", compile=False)
    network.set_weights([np.float32(0.9) * array for array in network.get_weights()])
    network.save(folder / "elsewhere.keras")
    monkeypatch.chdir(folder)
    return folder


def test_an_imported_network_is_evaluated_and_registered_as_it_is(folder: Path, ferops: Ferops) -> None:
    digest = weights.digest(keras.models.load_model("elsewhere.keras", compile=False))
    (folder / "train.py").write_text("train()\n", encoding="utf-8")
    done = ferops(
        "weights", "import", "elsewhere.keras", "weights/mine.keras", "--trained-by", BY, "--script", "train.py"
    )
    assert done.code == 0, done.err
    assert digest in done.out

    values = {"model": {"weights": "weights/mine.keras"}, "train": {"epochs": 0}, "promotion": {"floors": {}}}
    params.merge(values, folder / "params.yaml")
    shell(folder, "dvc", "repro")
    training = json.loads((folder / "models/training.json").read_text())
    assert (training["weights_digest"], training["epochs"], training["best_epoch"]) == (digest, 0, 0)
    assert training["base_weights"]["trained_by"] == BY
    record = json.loads((folder / "weights/mine.keras.json").read_text())
    assert record["weights"] == digest
    assert record["sha256"] == training["base_weights"]["sha256"]
    table = pd.read_parquet(folder / "predictions.parquet").query("split == 'validation'")
    right = (table[list(NAMES)].to_numpy().argmax(axis=1) == table["label"]).mean()
    temperature = json.loads((folder / "metrics/calibration.json").read_text())["temperature"]
    assert record["measured"] == {
        "dataset": "sample", "split": "official", "median_kernel": 3, "n": len(table), "accuracy": round(right, 4),
        "temperature": pytest.approx(temperature, rel=0.01),
    }  # fmt: skip
    card = ferops("card", f"fer-lean-cnn/{digest[:12]}").out
    assert f"started from: weights/mine.keras ({BY})" in card
    assert "trained: elsewhere" in card
    assert BY in ferops("results").out
    assert (folder / "reports/train/history.csv").read_text().startswith("epoch,time,train/loss")
    shell(folder, "dvc", "plots", "show", "--out", "plots")


def small_network(name: str, outputs: int, activation: str) -> keras.Model:
    faces = keras.Input((48, 48), name="faces")
    answer = keras.layers.Dense(outputs, activation=activation)(keras.layers.Flatten()(faces))
    return keras.Model(faces, answer, name=name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("elsewhere.keras", "weights/lean_cnn.keras"), "weights/lean_cnn.keras exists"),
        (("elsewhere.keras", "mine.h5"), "ends in .keras"),
        (("junk.keras", "mine.keras"), "junk.keras is no .keras model"),
        (("short.keras", "mine.keras"), "short.keras is no .keras model: it is cut short"),
        (("flipped.keras", "mine.keras"), "flipped.keras is no .keras model: Bad CRC-32"),
        (("infinite.keras", "mine.keras"), "has weights that are infinite or no numbers"),
        (("five.keras", "mine.keras"), "'lean_cnn' does not answer faces of 48 x 48 pixels with seven probabilities"),
        (("logits.keras", "mine.keras"), "'lean_cnn' does not answer faces of 48 x 48 pixels with seven probabilities"),
        (("other.keras", "mine.keras"), "other.keras is 'vgg17'; expected one of vgg16_transfer"),
        (("elsewhere.keras", "kept.keras"), "kept.keras.json exists and is kept"),
        (("elsewhere.keras", "mine.keras", "--script", "nowhere.py"), "nowhere.py does not exist"),
    ],
)
def test_a_network_that_cannot_be_imported_is_one_line(
    folder: Path, ferops: Ferops, words: tuple[str, ...], says: str
) -> None:
    whole = (folder / "elsewhere.keras").read_bytes()
    middle = len(whole) // 2
    (folder / "junk.keras").write_bytes(b"junk")
    (folder / "short.keras").write_bytes(whole[:middle])
    (folder / "flipped.keras").write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    (folder / "kept.keras.json").write_text("{}")
    infinite = keras.models.load_model("elsewhere.keras", compile=False)
    infinite.set_weights([np.full_like(array, np.inf) for array in infinite.get_weights()])
    infinite.save("infinite.keras")
    small_network("lean_cnn", 5, "softmax").save("five.keras")
    small_network("lean_cnn", 7, "linear").save("logits.keras")
    small_network("vgg17", 7, "softmax").save("other.keras")
    assert says in refused(ferops, "weights", "import", *words, "--trained-by", BY)


def test_without_validation_images_a_network_is_not_imported(folder: Path, ferops: Ferops) -> None:
    shutil.rmtree(folder / "data/prepared")
    said = refused(ferops, "weights", "import", "elsewhere.keras", "mine.keras", "--trained-by", BY)
    assert "data/prepared" in said
    assert "validation images" in said


def test_a_record_of_another_file_stops_the_training(folder: Path) -> None:
    shutil.copy("elsewhere.keras", "weights/mine.keras")
    Path("weights/mine.keras.json").write_text('{"sha256": "0", "trained_by": "nobody"}', encoding="utf-8")
    params.merge({"model": {"weights": "weights/mine.keras"}}, folder / "params.yaml")
    done = shell(folder, "python", "-m", "ferops.stages", "train", check=False)
    assert done.returncode == 1
    assert "weights/mine.keras.json is no record of mine.keras" in done.stderr
