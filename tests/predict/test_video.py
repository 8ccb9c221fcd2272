"""Videos: which frames are recognised, what their copies show, and files that are none; and the camera's lines."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from predict.pictures import frames, moving, portrait, temple, video
from rich.console import Console

from ferops import ExpressionRecognizer
from ferops.commands import camera
from ferops.labels import NAMES
from ferops.predict.recognizer import Prediction
from ferops.predict.video import Frame, recognise, save

BLUE = np.array([37, 99, 168])
"""Colour of the boxes, darker in gray where uncertain."""


@pytest.fixture(scope="module")
def recognizer() -> ExpressionRecognizer:
    return ExpressionRecognizer()


@pytest.fixture(scope="module")
def whole() -> ExpressionRecognizer:
    """Takes each frame for a face, and is fast."""
    return ExpressionRecognizer(detector="none")


def _numbers(answers: Iterator[Prediction]) -> list[int | None]:
    return [answer.frame for answer in answers]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".mkv"])
def test_every_so_many_frames_are_recognised_as_they_are_alone(
    suffix: str, recognizer: ExpressionRecognizer, tmp_path: Path
) -> None:
    path = video(tmp_path / f"clip{suffix}", moving(16))
    answers = list(recognise(recognizer, path, 5))
    assert [(each.frame, each.seconds) for each in answers] == [(0, 0), (5, 0.2), (10, 0.4), (15, 0.6)]
    assert {each.path for each in answers} == {str(path)}
    alone = recognizer.predict([picture for number, picture in enumerate(frames(path)) if number % 5 == 0])
    assert [each.faces for each in answers] == [each.faces for each in alone]
    lefts = [each.faces[0].box[0] for each in answers]
    assert lefts == sorted(lefts)


@pytest.mark.parametrize(("rate", "step"), [(4, 1), (10, 2), (24, 5), (25, 5), (29.97, 6), (60, 12)])
def test_about_five_frames_a_second_are_recognised_by_default(
    rate: float, step: int, whole: ExpressionRecognizer, tmp_path: Path
) -> None:
    path = video(tmp_path / "clip.avi", [np.zeros((48, 64, 3), np.uint8)] * 61, rate)
    assert _numbers(recognise(whole, path)) == list(range(0, 61, step))


def test_a_frame_says_its_number_and_time_in_the_schema(whole: ExpressionRecognizer, tmp_path: Path) -> None:
    *_, last = recognise(whole, video(tmp_path / "a.webm", moving(10)), 9)
    answer = last.as_json()
    assert list(answer) == ["schema", "path", "frame", "seconds", "model", "faces"]
    assert (answer["frame"], answer["seconds"]) == (9, 0.36)


def _lying(path: Path) -> Path:
    """Say in a video's header that it is to be turned by 90 degrees, as phones do."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    turned = [0, 1, 0, -1, 0, 0, 0, 0, 1]
    for place, value in enumerate(turned):
        one = 1 << 30 if place % 3 == 2 else 1 << 16
        content[matrix + 4 * place : matrix + 4 * place + 4] = (value * one).to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path


def test_a_phones_video_is_turned_upright(recognizer: ExpressionRecognizer, tmp_path: Path) -> None:
    upright = [cv2.resize(portrait(), (256, 300))] * 3
    path = _lying(video(tmp_path / "a.mp4", [np.ascontiguousarray(np.rot90(picture)) for picture in upright]))
    copy = tmp_path / "copy.mp4"
    answers = list(save(path, copy, recognise(recognizer, path, 1)))
    assert [len(each.faces) for each in answers] == [1, 1, 1]
    left, top, width, height = answers[0].faces[0].box
    assert (abs(left + width / 2 - 132), abs(top + height / 2 - 118)) < (20, 20)
    assert frames(copy)[0].shape == (300, 256, 3)


@pytest.mark.parametrize(("suffix", "size"), [(".mp4", (320, 240)), (".webm", (320, 240)), (".mp4", (321, 243))])
def test_a_copy_has_every_frame_with_the_faces_as_last_recognised(
    suffix: str, size: tuple[int, int], recognizer: ExpressionRecognizer, tmp_path: Path
) -> None:
    path = video(tmp_path / f"clip{suffix}", moving(14, size))
    copy = tmp_path / f"copy{suffix}"
    answers = list(save(path, copy, recognise(recognizer, path, 6)))
    assert _numbers(iter(answers)) == [0, 6, 12]
    before, after = frames(path), frames(copy)
    assert len(after) == len(before) == 14
    for number, (plain, drawn) in enumerate(zip(before, after, strict=True)):
        left, top, width, height = answers[number // 6].faces[0].box
        bottom = drawn[top + height - 1, left + 5 : left + width - 5].astype(int)
        unlike = np.abs(bottom - plain[top + height - 1, left + 5 : left + width - 5]).mean()
        assert unlike > 20, f"frame {number}: its box is not drawn in"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".new")] == []


def test_a_copy_lasts_as_long_where_the_frame_rate_cannot_be_believed(
    whole: ExpressionRecognizer, tmp_path: Path
) -> None:
    path = video(tmp_path / "a.avi", moving(200), 1000 / 3)
    copy = tmp_path / "copy.mp4"
    list(save(path, copy, recognise(whole, path)))
    capture = cv2.VideoCapture(str(copy))
    assert capture.get(cv2.CAP_PROP_FPS) == 30
    assert len(frames(copy)) == pytest.approx(200 / (1000 / 3) * 30, abs=1)


def _cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize("suffix", [".webm", ".avi", ".mkv"])
def test_a_video_cut_short_is_answered_to_where_it_ends(
    suffix: str, whole: ExpressionRecognizer, tmp_path: Path
) -> None:
    path = _cut(video(tmp_path / f"a{suffix}", moving(40)), 0.6)
    copy = tmp_path / "copy.mp4"
    *read, last = save(path, copy, recognise(whole, path, 1))
    assert len(read) == len(frames(path)) == len(frames(copy))
    assert 10 < len(read) < 38
    assert last.error == f"a video damaged or cut short: {len(read)} of 40 frames"
    assert list(last.as_json()) == ["schema", "path", "model", "error"]


NO_VIDEOS = {
    "text": lambda path: path.write_text("no video"),
    "nothing": lambda path: path.touch(),
    "a picture": lambda path: path.write_bytes(cv2.imencode(".png", np.zeros((9, 9)))[1].tobytes()[:60]),
    "an MP4 without its end": lambda path: _cut(video(path, moving(9)), 0.6),
    "a header without frames": lambda path: _cut(video(path.with_suffix(".webm"), moving(9)), 0.01).rename(path),
}


@pytest.mark.parametrize("what", NO_VIDEOS)
def test_a_file_without_frames_is_one_error_and_no_copy(what: str, whole: ExpressionRecognizer, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    NO_VIDEOS[what](path)
    (answer,) = save(path, tmp_path / "copy.mp4", recognise(whole, path))
    assert answer.error == "no video that can be read here, or one without frames"
    assert not (tmp_path / "copy.mp4").exists()


def test_memory_stays_flat_in_a_long_video_with_a_copy(whole: ExpressionRecognizer, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", (picture for _ in range(8) for picture in moving(100, (640, 480))))
    memory, process = [], psutil.Process()
    for answer in save(path, tmp_path / "copy.mp4", recognise(whole, path, 10)):
        if answer.frame in (200, 790):
            memory.append(process.memory_info().rss)
    assert memory[1] - memory[0] < 30e6  # 590 frames of 0.9 MB


def test_a_copy_that_does_not_fit_on_the_disk_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", moving(100))
    ferops = Path(sys.executable).with_name("ferops")
    command = f"ulimit -f 64; {ferops} predict a.mp4 --detector none --save copy.mp4"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "ferops: copy.mp4 cannot be written; is the disk full?\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def _camera(*pictures: np.ndarray) -> Iterator[Frame]:
    """A camera that sees these pictures, at 10 frames a second, until somebody presses Ctrl-C."""
    for number, picture in enumerate(pictures):
        yield Frame(number, number / 10, picture)
    signal.raise_signal(signal.SIGINT)


def _said(recognizer: ExpressionRecognizer, capsys: pytest.CaptureFixture[str], as_json: bool = False) -> list[str]:
    seen = [temple(), temple(), portrait(), portrait(), portrait(), temple()]
    camera.say(_camera(*seen), recognizer, Console(), as_json=as_json, has_window=False)
    return capsys.readouterr().out.splitlines()


def test_a_camera_gives_a_line_as_faces_change_and_ends_on_ctrl_c(
    recognizer: ExpressionRecognizer, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody, somebody, nobody_again, summary = _said(recognizer, capsys)
    assert nobody.split() == ["0.0", "s", "no", "face"]
    assert somebody.split()[:2] == ["0.2", "s"]
    assert any(name in somebody for name in NAMES)
    assert nobody_again.split() == ["0.5", "s", "no", "face"]
    assert summary == "6 frames in 0.5 s"


def test_a_camera_gives_json_for_each_frame(
    recognizer: ExpressionRecognizer, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in _said(recognizer, capsys, as_json=True)]
    assert [(line["frame"], line["seconds"]) for line in lines] == [(number, number / 10) for number in range(6)]
    assert [len(line["faces"]) for line in lines] == [0, 0, 1, 1, 1, 0]
