import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from copies import as_folder, draw, made_up, prefixed_folders
from PIL import Image

from ferops.data.readers import image_files, layouts
from ferops.data.readers.faces import BadFile


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def face() -> np.ndarray:
    return draw(np.random.default_rng(0), 1)[0]


def reasons(folder: Path) -> dict[str, str]:
    return {bad.path: bad.reason for bad in image_files.read(image_files.find(folder), folder)[1]}


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "tiff", "gif", "ppm"])
def test_a_face_is_the_same_in_every_format_without_loss(kind: str, face: np.ndarray, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(face).save(stream, kind, **({"lossless": True} if kind == "webp" else {}))
    (tmp_path / "face").write_bytes(stream.getvalue())  # the content tells the format, not the name
    (read,), bad = image_files.read(image_files.find(tmp_path), tmp_path)
    assert not bad
    assert np.array_equal(read.pixels, face)


def test_files_are_read_to_the_pixel_as_the_training_images_are(tmp_path: Path) -> None:
    as_folder(tmp_path, prefixed_folders(made_up(28)))
    for number, path in enumerate(sorted(tmp_path.rglob("*.png"))):
        large = cv2.resize(cv2.imread(str(path)), (64 + number, 80))
        cv2.imwrite(str(path.with_suffix(".jpg" if number % 2 else ".png")), large)
        if number % 2:
            path.unlink()
    faces, bad = image_files.read(image_files.find(tmp_path), tmp_path)
    assert not bad
    assert {face.pixels.tobytes() for face in faces} == {image.tobytes() for image in layouts.read(tmp_path).images}


def test_size_colour_and_depth_may_be_any(face: np.ndarray, tmp_path: Path) -> None:
    large = cv2.resize(face, (300, 200), interpolation=cv2.INTER_NEAREST)
    colours = np.stack([face] * 3, axis=2)
    for name, pixels in {
        "large": large, "colour": colours, "alpha": np.dstack([colours, np.full_like(face, 255)]),
        "deep": face.astype(np.uint16) << 8,
    }.items():  # fmt: skip
        (tmp_path / f"{name}.png").write_bytes(encoded(pixels, "png"))
    faces, bad = image_files.read(image_files.find(tmp_path), tmp_path)
    assert not bad
    read = {one.path: one for one in faces}
    assert (read["large.png"].width, read["large.png"].height) == (300, 200)
    assert all(one.pixels.shape == (48, 48) for one in faces)
    for name in ("colour", "alpha", "deep"):
        assert np.array_equal(read[f"{name}.png"].pixels, face), name


def test_folders_below_are_read_and_hidden_files_are_not(face: np.ndarray, tmp_path: Path) -> None:
    content = encoded(face, "png")
    as_folder(
        tmp_path, {"b/2.png": content, "a.png": content, "b/c/1.png": content, ".x.png": content, ".d/1": content}
    )
    faces, _ = image_files.read(image_files.find(tmp_path), tmp_path)
    assert [one.path for one in faces] == ["a.png", "b/2.png", "b/c/1.png"]


def test_what_cannot_be_read_is_named_with_the_reason(face: np.ndarray, tmp_path: Path) -> None:
    good = encoded(face, "png")
    as_folder(tmp_path, {
        "good.png": good, "cut.png": good[:-200], "cut.jpg": encoded(face, "jpeg")[:-300], "note.txt": b"no face",
        "empty.png": b"", "huge.png": encoded(np.zeros((10, 5000), np.uint8), "png"),
        "fractions.tiff": encoded(face / np.float32(255), "tiff"),
        "zeros.png": bytes((16 << 20) + 1),
    })  # fmt: skip
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone.png").symlink_to("nowhere")
    found = reasons(tmp_path)
    assert found.keys() == {path.name for path in tmp_path.iterdir()} - {"good.png"}
    assert found["cut.png"] == found["cut.jpg"] == "an image damaged or cut short"
    assert found["note.txt"].startswith("no image")
    assert found["empty.png"].startswith("no image")
    assert "10" in found["huge.png"]
    assert "5,000" in found["huge.png"]
    assert "fractions" in found["fractions.tiff"]
    assert "16 MiB" in found["zeros.png"]
    assert found["pipe"] == found["gone.png"] == "no regular file"


def test_a_name_that_is_no_text_can_be_printed(face: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9\n.png")).write_bytes(encoded(face, "png"))
    (read,), _ = image_files.read(image_files.find(tmp_path), tmp_path)
    assert read.path == "caf??.png"


def test_a_digest_is_of_the_content(face: np.ndarray, tmp_path: Path) -> None:
    as_folder(tmp_path, {"a.png": b"one", "b.png": b"one", "c.png": b"two"})
    (tmp_path / "d").symlink_to("nowhere")
    one, same, other, none = image_files.digests(image_files.find(tmp_path))
    assert one == same != other
    assert none is None


@pytest.mark.parametrize(
    ("make", "says"), [("nothing", "not there"), ("file", "no folder"), ("empty", "no file in it")]
)
def test_a_bad_folder_is_one_line(make: str, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    if make == "file":
        folder.write_text("")
    elif make == "empty":
        (folder / "below").mkdir(parents=True)
    with pytest.raises(BadFile, match=says) as error:
        image_files.find(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
