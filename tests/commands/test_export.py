"""`ferops export`: what it writes is what `ferops predict` runs, and answers as the Keras model does."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT, Ferops, refused

from ferops.labels import NAMES


@pytest.fixture
def folder(repro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user works: the pipeline's data and network."""
    for name in ("data", "models", "params.yaml"):
        (tmp_path / name).symlink_to(repro / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_trained_network_is_exported_and_answers_as_keras_does(folder: Path, ferops: Ferops) -> None:
    import keras

    from ferops.model import gradcam, weights
    from ferops.model.serving import graph as serving
    from ferops.predict import networks

    done = ferops("export", "models/core.keras", "mine.tflite")
    assert done.code == 0, done.err
    card = json.loads((folder / "mine.json").read_text())
    core = keras.models.load_model("models/core.keras", compile=False)
    assert (card["network"], card["weights"]) == (core.name, weights.digest(core))
    assert card["split"] == "the synthetic sample's validation split"
    assert card["agreement"] == 1
    assert card["largest_difference"] < 1e-4
    median_kernel = json.loads((folder / "data/prepared/report.json").read_text())["median_kernel"]
    faces = np.random.default_rng(0).integers(0, 256, (20, 48, 48), dtype=np.uint8)
    raw = serving.load_raw_model(Path("models/core.keras"), median_kernel, card["temperature"])
    expected = np.asarray(raw(faces))
    found = networks.load("mine.tflite")
    np.testing.assert_allclose(found.probabilities(faces), expected, atol=1e-4)
    explained = serving.raw_model(gradcam.explained(core), median_kernel, card["temperature"])
    np.testing.assert_allclose(found.maps(faces), explained(faces)[1], atol=1e-4)


def test_a_network_of_an_earlier_export_answers_and_says_how_to_get_its_maps(folder: Path, ferops: Ferops) -> None:
    import keras
    from predict.pictures import encoded, portrait

    from ferops.model import conversion
    from ferops.model.serving import graph

    ferops("export", "models/core.keras", "new.tflite")
    core = keras.models.load_model("models/core.keras", compile=False)
    conversion.export(graph.raw_model(core, 3), Path("old.tflite"))
    card = json.loads((folder / "new.json").read_text())
    card["sha256"] = hashlib.sha256((folder / "old.tflite").read_bytes()).hexdigest()
    (folder / "old.json").write_text(json.dumps(card))
    (folder / "a.png").write_bytes(encoded(portrait()))
    assert ferops("predict", "a.png", "--model", "old.tflite").code == 0
    says = refused(ferops, "predict", "a.png", "--model", "old.tflite", "--json", "--explain")
    assert "has no Grad-CAM maps; `ferops export` writes them into a .tflite file" in says


@pytest.mark.parametrize("name", ["mine.onnx", "mine"])
def test_other_formats_answer_as_keras_does(name: str, folder: Path, ferops: Ferops) -> None:
    import keras
    import onnxruntime

    from ferops.predict import networks

    done = ferops("export", "models/core.keras", name)
    assert (done.code, done.err) == (0, "")
    card = json.loads((folder / "mine.json").read_text())
    assert (card["agreement"], card["temperature"] > 0) == (1, True)
    faces = np.random.default_rng(0).integers(0, 256, (20, 48, 48), dtype=np.uint8)
    if name == "mine.onnx":
        (found,) = onnxruntime.InferenceSession(name).run(None, {"raw_faces": faces})
    else:
        found = np.asarray(keras.layers.TFSMLayer(name)(faces))
    ferops("export", "models/core.keras", "other.tflite")
    np.testing.assert_allclose(found, networks.load("other.tflite").probabilities(faces), atol=1e-4)


def test_without_the_packages_of_onnx_the_way_out_is_named(
    folder: Path, ferops: Ferops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    said = refused(ferops, "export", "models/core.keras", "mine.onnx")
    assert said == "ferops: tf2onnx is not installed: `pip install 'ferops[onnx]'`\n"


def test_its_accuracy_is_that_of_evaluate(folder: Path, repro: Path, ferops: Ferops) -> None:
    ferops("export", "models/core.keras", "mine.tflite")
    card = json.loads((folder / "mine.json").read_text())
    scores = json.loads((repro / "metrics/val.json").read_text())
    assert card["accuracy"] == pytest.approx(scores["accuracy"], abs=1e-4)
    assert card["n"] == scores["n"]


def test_in_8_bit_integers_its_accuracy_is_of_faces_that_were_filtered_once(folder: Path, ferops: Ferops) -> None:
    shipped = str(ROOT / "weights/lean_cnn.keras")
    ferops("export", shipped, "mine.tflite")
    assert ferops("export", shipped, "small.tflite", "--int8").code == 0
    whole, small = (json.loads((folder / f"{name}.json").read_text())["accuracy"] for name in ("mine", "small"))
    assert small == pytest.approx(whole, abs=0.006)


def test_what_was_exported_is_named_in_the_answers(folder: Path, ferops: Ferops) -> None:
    from predict.pictures import encoded, portrait

    ferops("export", "models/core.keras", "mine.tflite")
    (folder / "a.png").write_bytes(encoded(portrait()))
    done = ferops("predict", "a.png", "--model", "mine.tflite", "--json")
    answer = json.loads(done.out)
    card = json.loads((folder / "mine.json").read_text())
    assert answer["model"] == f"{card['network']}/{card['weights'][:12]}"
    assert list(answer["faces"][0]["probabilities"]) == list(NAMES)


def test_a_mistake_is_one_line_and_writes_nothing(folder: Path, ferops: Ferops) -> None:
    (folder / "there.json").write_text("{}")
    (folder / "junk.keras").write_bytes(b"junk")
    assert "expected NAME.tflite, NAME.onnx" in refused(ferops, "export", "models/core.keras", "mine.pt")
    assert "8-bit integers are for NAME.tflite" in refused(ferops, "export", "models/core.keras", "mine.onnx", "--int8")
    assert "there.json exists" in refused(ferops, "export", "models/core.keras", "there.tflite")
    assert "junk.keras is no .keras model" in refused(ferops, "export", "junk.keras", "mine.tflite")
    assert "nowhere.keras does not exist" in refused(ferops, "export", "nowhere.keras", "mine.tflite")
