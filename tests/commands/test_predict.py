"""`ferops predict` as users type it: on photographs, folders, streams, and on what is no picture."""

import csv
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from forms import forms, saved
from PIL import Image
from predict.pictures import encoded, frames, moving, portrait, temple, video
from support import Ferops, refused

from ferops.labels import NAMES

WEIGHTS = Path(__file__).parents[2] / "weights"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user works, with photographs."""
    (tmp_path / "photos/more").mkdir(parents=True)
    (tmp_path / "photos/hopper.jpg").write_bytes(encoded(portrait(), ".jpg"))
    (tmp_path / "photos/more/temple.png").write_bytes(encoded(temple()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _lines(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_photograph_gives_a_table_and_says_which_network_answered(folder: Path, ferops: Ferops) -> None:
    done = ferops("predict", "photos/hopper.jpg")
    assert done.code == 0
    (row,) = [line for line in done.out.splitlines() if "hopper.jpg" in line]
    assert any(name in row for name in NAMES)
    assert "lean_cnn/76c1901ad3f1: accuracy 0.691 on FER2013's PublicTest" in done.out
    assert done.err == ""


def test_a_network_trained_elsewhere_says_what_its_record_measured(folder: Path, ferops: Ferops) -> None:
    done = ferops("predict", "photos/hopper.jpg", "--model", str(WEIGHTS / "vgg16_best.keras"))
    assert done.code == 0
    assert "vgg16_best/4903a79e0d41: accuracy 0.703 on 3,588 validation images of fer2013" in done.out


def test_no_face_is_said_and_is_no_error(folder: Path, ferops: Ferops) -> None:
    done = ferops("predict", "photos/more/temple.png")
    assert done.code == 0
    assert "no face" in done.out


def test_a_folder_is_searched_and_each_picture_is_a_line_of_json(folder: Path, ferops: Ferops) -> None:
    done = ferops("predict", "photos", "--json")
    assert done.code == 0
    assert [(line["path"], len(line["faces"])) for line in _lines(done.out)] == [
        ("photos/hopper.jpg", 1),
        ("photos/more/temple.png", 0),
    ]


def test_a_pattern_is_its_files(folder: Path, ferops: Ferops) -> None:
    assert len(_lines(ferops("predict", "photos/**/*.png", "photos/*.jpg", "--json").out)) == 2
    assert "no file is named as *.tiff" in refused(ferops, "predict", "*.tiff")


def test_a_picture_on_standard_input_is_read(folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("ferops")), "predict", "--json", "-"]
    done = subprocess.run(command, input=(folder / "photos/hopper.jpg").read_bytes(), capture_output=True, check=True)
    (line,) = _lines(done.stdout.decode())
    assert (line["path"], len(line["faces"])) == ("", 1)


def test_a_csv_has_a_row_for_each_face_and_for_each_picture_without(folder: Path, ferops: Ferops) -> None:
    (folder / "photos/z.jpg").write_text("no picture")
    done = ferops("predict", "photos", "--csv", "faces.csv", "--json")
    row, bad, faceless = csv.DictReader(io.StringIO((folder / "faces.csv").read_text()))
    assert (faceless["path"], faceless["label"], faceless["error"]) == ("photos/more/temple.png", "", "")
    assert (bad["path"], bad["label"], bad["error"]) == ("photos/z.jpg", "", "no image that is read here")
    (face,) = _lines(done.out)[0]["faces"]
    assert [int(row[name]) for name in ("left", "top", "width", "height")] == face["box"]
    assert {name: float(row[name]) for name in NAMES} == face["probabilities"]
    assert (row["path"], row["label"], row["uncertain"]) == ("photos/hopper.jpg", face["label"], str(face["uncertain"]))


def test_annotated_copies_keep_their_folders_and_the_originals_stay(folder: Path, ferops: Ferops) -> None:
    before = {path: path.read_bytes() for path in (folder / "photos").rglob("*.*g")}
    assert ferops("predict", "photos", "--save", "drawn").code == 0
    assert {path: path.read_bytes() for path in before} == before
    drawn = cv2.imread(str(folder / "drawn/hopper.jpg"))
    assert drawn.shape == (600, 512, 3)
    changed = np.abs(drawn.astype(int) - cv2.cvtColor(portrait(), cv2.COLOR_RGB2BGR)).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert 100 < rows.min() < rows.max() < 350
    assert 150 < columns.min() < columns.max() < 400
    assert np.array_equal(cv2.imread(str(folder / "drawn/more/temple.png"))[..., ::-1], temple())


def test_an_explanation_colours_the_face_and_nothing_else(folder: Path, ferops: Ferops) -> None:
    assert ferops("predict", "photos", "--save", "plain").code == 0
    assert ferops("predict", "photos", "--save", "explained", "--explain").code == 0
    plain, explained = (cv2.imread(f"{name}/hopper.jpg").astype(int) for name in ("plain", "explained"))
    changed = np.argwhere(np.abs(plain - explained).max(axis=2) > 60)
    assert len(changed) > 300
    assert changed.min(axis=0).tolist() > [105, 150]
    assert changed.max(axis=0).tolist() < [330, 385]
    temples = [Path(f"{name}/more/temple.png").read_bytes() for name in ("plain", "explained")]
    assert temples[0] == temples[1], "there is no face"


def test_the_numbers_of_an_explanation_are_in_the_json(folder: Path, ferops: Ferops) -> None:
    (face,) = _lines(ferops("predict", "photos/hopper.jpg", "--json", "--explain").out)[0]["faces"]
    heat = np.array(face["heat"])
    assert heat.shape == (12, 12)
    assert (heat.min(), heat.max()) == (0, 1)
    (left, top), (right, _), (_, bottom) = face["crop"]
    assert 140 < left < 170 < 367 < right < 385
    assert 95 < top < 139 < 320 < bottom < 340
    (plain,) = _lines(ferops("predict", "photos/hopper.jpg", "--json").out)[0]["faces"]
    assert plain == {key: value for key, value in face.items() if key not in ("crop", "heat")}


def test_an_explanation_that_nothing_would_show_is_a_mistake(folder: Path, ferops: Ferops) -> None:
    assert "give --save FOLDER, or --json" in refused(ferops, "predict", "photos/hopper.jpg", "--explain")


def test_two_pictures_of_one_name_are_not_saved_over_each_other(folder: Path, ferops: Ferops) -> None:
    (folder / "hopper.jpg").write_bytes(encoded(portrait(), ".jpg"))
    assert "hopper.jpg and photos/hopper.jpg would both be saved as hopper.jpg" in refused(
        ferops, "predict", "hopper.jpg", "photos/hopper.jpg", "--save", "drawn"
    )


def test_a_file_that_exists_is_never_written_over(folder: Path, ferops: Ferops) -> None:
    assert "photos/hopper.jpg exists and is kept" in refused(ferops, "predict", "photos", "--save", "photos")
    assert "hopper.jpg exists and is kept" in refused(ferops, "predict", "photos", "--csv", "photos/hopper.jpg")


def test_the_table_has_what_was_answered_before_the_command_ends_early(folder: Path, ferops: Ferops) -> None:
    assert ferops("predict", "nowhere.jpg", "--csv", "none.csv").code == 1
    assert "nowhere.jpg" in (folder / "none.csv").read_text()
    command = "ferops predict photos/hopper.jpg empty.jpg --json --csv faces.csv > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (folder / "faces.csv").read_text().count("hopper.jpg") == 1


def test_a_copy_that_cannot_be_written_is_named_and_the_others_are_done(folder: Path, ferops: Ferops) -> None:
    long = "a" * 251 + ".jpg"
    shutil.copy(folder / "photos/hopper.jpg", folder / "photos" / long)
    done = ferops("predict", f"photos/{long}", "photos/hopper.jpg", "--save", "drawn", "--csv", "faces.csv")
    assert done.code == 3
    assert "cannot be written" in done.err
    assert (folder / "drawn/hopper.jpg").is_file()
    assert "cannot be written" in (folder / "faces.csv").read_text()
    assert "would be written twice" in refused(
        ferops, "predict", "photos/hopper.jpg", "--save", "more", "--csv", "more/hopper.jpg"
    )


def test_one_picture_is_saved_under_the_name_given(folder: Path, ferops: Ferops) -> None:
    assert ferops("predict", "photos/hopper.jpg", "--save", "mine.png").code == 0
    assert (folder / "mine.png").read_bytes().startswith(b"\x89PNG")
    assert "mine.png exists and is kept" in refused(ferops, "predict", "photos/hopper.jpg", "--save", "mine.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_no_picture_and_is_not_waited_for(folder: Path, ferops: Ferops) -> None:
    for name in ("photos/pipe", "photos/pipe.mp4"):
        os.mkfifo(folder / name)
    assert ferops("predict", "photos").code == 0
    assert "no such file" in ferops("predict", "photos/pipe.mp4").err


def test_a_name_that_begins_with_a_tilde_is_a_name(folder: Path, ferops: Ferops) -> None:
    shutil.copy(folder / "photos/hopper.jpg", folder / "~nobody.jpg")
    assert ferops("predict", "~nobody.jpg").code == 0


def test_a_picture_of_another_format_keeps_its_name_in_its_copys(folder: Path, ferops: Ferops) -> None:
    (folder / "photos/hopper.webp").write_bytes(saved(HOPPER, "WEBP"))
    assert ferops("predict", "photos", "--save", "drawn").code == 0
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == ["hopper.jpg", "hopper.webp.png", "more"]


def test_files_in_a_folder_that_are_no_pictures_are_passed_over(folder: Path, ferops: Ferops) -> None:
    (folder / "photos/notes.txt").write_text("a note")
    (folder / "photos/scan").write_bytes(saved(HOPPER, "TIFF"))
    done = ferops("predict", "photos", "--json")
    assert (done.code, done.err) == (0, "")
    assert [Path(line["path"]).name for line in _lines(done.out)] == ["hopper.jpg", "scan", "temple.png"]


def test_the_table_is_whole_where_another_program_reads_it(folder: Path, ferops: Ferops) -> None:
    deep = folder / ("a" * 90) / ("b" * 90)
    deep.mkdir(parents=True)
    (deep / "two.png").write_bytes(encoded(np.concatenate([portrait(), portrait()], axis=1)))
    out = ferops("predict", str(deep)).out
    assert out.count(str(deep / "two.png")) == 2


def test_a_path_comes_back_as_it_was_given(folder: Path, ferops: Ferops) -> None:
    name = "a\tb [bold]\n.jpg"
    (folder / name).write_bytes(encoded(portrait(), ".jpg"))
    assert _lines(ferops("predict", name, "--json").out)[0]["path"] == name
    assert "a?b [bold]?.jpg" in ferops("predict", name).out


def test_a_picture_longer_than_opencv_can_warp_is_named_and_the_rest_is_done(folder: Path, ferops: Ferops) -> None:
    (folder / "photos/wide.png").write_bytes(encoded(np.zeros((20, 33_000), np.uint8)))
    done = ferops("predict", "photos", "--json", "--detector", "none")
    assert done.code == 3
    assert "wide.png: a picture of 33,000 x 20 pixels, more than 32,000 a side" in done.err


def _claiming(width: int, height: int) -> bytes:
    """A PNG whose header declares another size."""
    whole = encoded(np.zeros((4, 4), np.uint8))
    header = b"IHDR" + struct.pack(">II", width, height) + whole[24:29]
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


def _many() -> bytes:
    """200 faces in rows, each 140 pixels wide."""
    face = cv2.resize(portrait()[110:360, 140:390], (140, 140), interpolation=cv2.INTER_AREA)
    framed = np.pad(face, ((5, 5), (5, 5), (0, 0)), mode="edge")
    return encoded(np.tile(framed, (10, 20, 1)), ".jpg")


HOPPER = Image.fromarray(portrait())
READ = {
    "200 faces": (_many(), 190),
    "1x1": (encoded(np.zeros((1, 1, 3), np.uint8)), 0),
    **{form: (content, 1) for form, (content, _) in forms(HOPPER).items()},
}


@pytest.mark.parametrize("what", READ)
def test_a_picture_of_any_form_is_read(what: str, folder: Path, ferops: Ferops) -> None:
    content, faces = READ[what]
    (folder / "picture").write_bytes(content)
    done = ferops("predict", "picture", "--json")
    assert (done.code, done.err) == (0, "")
    (line,) = _lines(done.out)
    assert faces <= len(line["faces"]) <= faces * 1.1


REFUSED = {
    "20,000x20,000 pixels": (_claiming(20_000, 20_000), "hundreds of millions of pixels"),
    "10,000x9,000 pixels": (_claiming(10_000, 9_000), "more than 80 million"),
    "a truncated JPEG": (encoded(portrait(), ".jpg")[:200], "damaged or cut short"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "no image that is read here"),
    "a zip named .jpg": (b"PK\x03\x04" + bytes(60), "no image that is read here"),
    "a text file": (b"hello", "no image that is read here"),
    "nothing": (b"", "no image that is read here"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_picture_is_named_and_the_rest_is_done(what: str, folder: Path, ferops: Ferops) -> None:
    content, says = REFUSED[what]
    (folder / "photos/bad.jpg").write_bytes(content)
    done = ferops("predict", "photos", "--json")
    assert done.code == 3
    assert done.err.startswith("ferops: photos/bad.jpg: ")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert ["error" in line for line in _lines(done.out)] == [True, False, False]


def test_nothing_but_bad_pictures_is_a_mistake(folder: Path, ferops: Ferops) -> None:
    done = ferops("predict", "nowhere.jpg")
    assert done.code == 1
    assert done.err == "ferops: nowhere.jpg: No such file or directory\nferops: none of the pictures could be read\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["photos/hopper.jpg", "--detector", "yunet"], "expected blazeface, mtcnn, haar, none"),
        (["photos/hopper.jpg", "--model", "models/core.keras"], "models/core.keras does not exist"),
        (["photos/hopper.jpg", "--model", "core.tflite"], "core.tflite does not exist"),
        (["empty"], "empty has no picture in it"),
        ([""], "an empty name was given"),
        (["-", "-"], "standard input is one picture"),
        ([], "give pictures, videos or folders, or --camera 0"),
        (["photos/hopper.jpg", "--camera", "0"], "`--camera` goes with --json, --model, --detector and --tta"),
        (["--camera", "0", "--save", "copy.mp4"], "`--camera` goes with --json, --model, --detector and --tta"),
        (["photos/hopper.jpg", "--every", "5"], "--every is for videos, and none was given"),
        (["photos/hopper.jpg", "--model", "fer-vgg16@champion"], "there is no registry here"),
        (["photos/hopper.jpg", "--save", "copy.mp4"], "copy.mp4 can be the copy of one picture named .png or .jpg"),
        (["a.mp4", "b.mp4", "--save", "copy.mp4"], "can be the copy of one video named .mp4 or .webm; give a folder"),
        (["a.mp4", "--save", "copy.avi"], "copy.avi can be the copy of one video named .mp4 or .webm"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], says: str, folder: Path, ferops: Ferops) -> None:
    (folder / "empty").mkdir()
    assert says in refused(ferops, "predict", *words)


def test_a_file_that_may_not_be_read_is_named(folder: Path, ferops: Ferops) -> None:
    if os.getuid() == 0:
        pytest.skip("root reads everything")
    (folder / "photos/hopper.jpg").chmod(0)
    done = ferops("predict", "photos")
    assert done.code == 3
    assert "hopper.jpg: Permission denied" in done.err


def test_a_video_is_a_summary_of_its_expressions_not_a_row_a_frame(folder: Path, ferops: Ferops) -> None:
    video(folder / "clip.mp4", [*moving(25), *[cv2.resize(temple(), (320, 240))] * 25])
    done = ferops("predict", "clip.mp4", "photos")
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines() if "clip.mp4" in line]
    assert len(rows) <= 9
    assert ["clip.mp4", "no", "face", "5/10", "0:01.0-0:01.8"] in rows
    assert sum(int(row[2].removesuffix("/10")) for row in rows if "face" not in row) == 5
    assert "hopper.jpg" in done.out


def test_each_recognised_frame_is_a_line_of_json_and_a_row_of_the_csv(folder: Path, ferops: Ferops) -> None:
    video(folder / "photos/clip.webm", moving(8))
    done = ferops("predict", "photos", "--every", "3", "--json", "--csv", "faces.csv")
    assert [(line["path"], line.get("frame"), line.get("seconds")) for line in _lines(done.out)] == [
        ("photos/clip.webm", 0, 0),
        ("photos/clip.webm", 3, 0.12),
        ("photos/clip.webm", 6, 0.24),
        ("photos/hopper.jpg", None, None),
        ("photos/more/temple.png", None, None),
    ]
    rows = csv.DictReader(io.StringIO((folder / "faces.csv").read_text()))
    assert [(row["frame"], row["seconds"]) for row in rows] == [("0", "0.0"), ("3", "0.12"), ("6", "0.24")] + 2 * [
        ("", "")
    ]


def test_an_annotated_video_is_a_file_or_lies_in_a_folder_with_the_pictures(folder: Path, ferops: Ferops) -> None:
    video(folder / "photos/clip.avi", moving(12))
    assert ferops("predict", "photos/clip.avi", "--every", "5", "--save", "annotated.mp4").code == 0
    assert len(frames(folder / "annotated.mp4")) == 12
    assert ferops("predict", "photos", "--save", "drawn").code == 0
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == ["clip.avi.mp4", "hopper.jpg", "more"]


def test_a_video_cut_short_is_answered_as_far_as_it_goes(folder: Path, ferops: Ferops) -> None:
    path = video(folder / "clip.webm", moving(50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = ferops("predict", "clip.webm")
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert done.err.startswith("ferops: clip.webm: a video damaged or cut short: ")
    assert "clip.webm" in done.out


def test_what_native_code_complains_of_is_not_shown(folder: Path) -> None:
    content = encoded(portrait(), ".jpg")
    (folder / "scratched.jpg").write_bytes(content[:20_000] + bytes(50) + content[20_050:])  # libjpeg warns of it
    (folder / "bad.mp4").write_bytes(b"no video")  # FFmpeg says so
    command = [str(Path(sys.executable).with_name("ferops")), "predict", "scratched.jpg", "bad.mp4"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        3,
        "ferops: bad.mp4: no video that can be read here, or one without frames\n",
    )


def test_a_camera_that_is_not_there_is_one_line(folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("ferops")), "predict", "--camera", "77"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ferops: camera 77 gives no picture: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("detector", ["haar", "none"])
def test_other_detectors_answer_in_the_same_schema(detector: str, folder: Path, ferops: Ferops) -> None:
    (line,) = _lines(ferops("predict", "photos/hopper.jpg", "--json", "--detector", detector).out)
    assert line["faces"][0]["detector_score"] == 1
    if detector == "none":
        assert line["faces"][0]["box"] == [0, 0, 512, 600]


def test_mtcnn_adds_nothing_to_the_answer_and_its_messages(folder: Path, ferops: Ferops) -> None:
    done = ferops("predict", "photos/hopper.jpg", "--json", "--detector", "mtcnn")
    (line,) = _lines(done.out)
    assert (len(line["faces"]), done.err, done.code) == (1, "", 0)


@pytest.mark.parametrize("number", [150, pytest.param(10_000, marks=pytest.mark.fuzz)])
def test_mutated_pictures_end_as_a_prediction(number: int) -> None:
    from ferops import ExpressionRecognizer

    random = np.random.default_rng(2013)
    small = HOPPER.resize((160, 188))
    whole = [content for content, _ in forms(small).values()]

    def mutated() -> bytes:
        content = bytearray(whole[random.integers(len(whole))])
        for at in random.integers(0, len(content) if random.random() < 0.5 else 64, random.integers(1, 20)):
            content[at] = random.integers(256)
        return bytes(content[: random.integers(1, len(content) + 1)] if random.random() < 0.3 else content)

    recognizer, process = ExpressionRecognizer(), psutil.Process()
    ends: Counter[str] = Counter()
    for count, answer in enumerate(recognizer.stream(mutated() for _ in range(number)), 1):
        ends["error" if answer.error else "face" if answer.faces else "none"] += 1
        if count == number // 2:
            before = process.memory_info().rss
    assert ends.total() == number
    assert min(ends["error"], ends["face"], ends["none"]) > number / 50
    assert process.memory_info().rss - before < 100e6  # one of a claimed 80 million pixels takes three times as much
