"""Kaggle's CSV in every packing, and every way in which it can be bad."""

import gzip
import re
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from copies import BARE, as_zip, ordered, same, tar

from ferops.data.readers import layouts
from ferops.data.readers.faces import BadFile, BadRow, FaceDataset, UnknownLayout
from ferops.errors import FeropsError

PACKINGS: dict[str, Callable[[Path, bytes], object]] = {
    **BARE,
    "zip": lambda path, content: as_zip(path, {"fer2013/fer2013.csv": content}),
    "tar.gz": lambda path, content: path.write_bytes(gzip.compress(tar({"fer2013/fer2013.csv": content}), 1)),
}
CUT = ["gz", "xz", "zip", "tar.gz"]


@pytest.fixture
def content(faces, write_csv, tmp_path) -> bytes:
    """The made-up faces as Kaggle's CSV."""
    return write_csv(tmp_path / "source.csv", faces).read_bytes()


def _one_line(error: pytest.ExceptionInfo[FeropsError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_gives_the_same_faces_whatever_the_file_is_called(packing, faces, content, tmp_path):
    path = tmp_path / "download.bin"
    PACKINGS[packing](path, content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = layouts.read(path)
    assert same(read, ordered(faces))
    assert (read.images.dtype, read.labels.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("packing", PACKINGS)
def test_progress_counts_the_bytes_on_disk_and_ends_at_the_size(packing, faces, write_csv, tmp_path):
    many = FaceDataset(*(np.concatenate([part] * 4) for part in (faces.images, faces.labels, faces.usages)))
    path = tmp_path / "fer2013"
    PACKINGS[packing](path, write_csv(tmp_path / "many.csv", many).read_bytes())
    calls: list[tuple[int, int]] = []
    layouts.read(path, progress=lambda done, total: calls.append((done, total)))
    size = path.stat().st_size
    done = [call[0] for call in calls]
    assert len(calls) > 2
    assert done == sorted(done)
    assert calls[-1] == (size, size)


def test_columns_are_found_by_name_with_mark_crlf_spaces_quotes_and_blank_lines(faces, tmp_path):
    lines = ["\ufeffemotion, Usage, pixels"]
    for label, image, usage in zip(faces.labels, faces.images, faces.usages, strict=True):
        lines.append(f'{label},"{usage}","{" ".join(map(str, image.ravel()))}"')
    path = tmp_path / "icml_face_data.csv"
    path.write_bytes("\r\n".join([*lines, "", ""]).encode("utf-8"))
    assert same(layouts.read(path), ordered(faces))


def test_a_last_row_without_a_line_end_is_read(faces, content, tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content.rstrip(b"\n"))
    assert same(layouts.read(path), ordered(faces))


BAD_ROWS = {
    "a pixel too few": (lambda row: row.replace(b" ", b"", 1), "2,303 pixels", "2,304"),
    "a pixel too many": (lambda row: row.replace(b" ", b" 7 ", 1), "2,305 pixels", "2,304"),
    "two spaces in place of a pixel": (lambda row: re.sub(rb" \d+ ", b"  ", row, count=1), "2,303 pixels", "2,304"),
    "no pixel": (lambda row: b"3,,Training", "0 pixels", "2,304"),
    "a pixel above 255": (lambda row: row.replace(b" ", b" 256 ", 1), "2,305 pixels", "2,304"),
    "a pixel that wraps round to 0": (lambda row: _put(row, b"256"), "'256'", "0-255"),
    "a pixel below 0": (lambda row: _put(row, b"-1"), "'-1'", "0-255"),
    "a pixel that is a word": (lambda row: _put(row, b"nan"), "'nan'", "0-255"),
    "a pixel that is a fraction": (lambda row: _put(row, b"0.5"), "'0.5'", "0-255"),
    "a pixel beyond 16 bits": (lambda row: _put(row, b"65791"), "'65791'", "0-255"),
    "a pixel beyond 64 bits": (lambda row: _put(row, b"9" * 30), f"'{'9' * 30}'", "0-255"),
    "an unknown Usage": (lambda row: row.replace(b"Training", b"Later"), "Usage 'Later'", "PublicTest"),
    "a field too few": (lambda row: row.replace(b",Training", b""), "2 fields", "expected 3"),
    "a field too many": (lambda row: row + b",1", "4 fields", "expected 3"),
}


BAD_LABELS = {
    b"7": "unknown expression '7'; expected 0, 1, 2, 3, 4, 5, 6; --labels names other numbers; --skip '7'",
    b"": "unknown expression ''; expected angry, disgust, fear, happy, sad, surprise, neutral",
    b"contempt": "unknown expression 'contempt'; expected angry, disgust, fear, happy, sad, surprise, neutral; --skip",
    b"suprise": "unknown expression 'suprise' (surprise?); expected angry",
}


@pytest.mark.parametrize("label", BAD_LABELS)
def test_the_first_row_of_an_unknown_expression_is_named(label, content, tmp_path):
    rows = content.split(b"\n")
    rows[5], rows[9] = label + rows[5][1:], label + rows[9][1:]
    path = tmp_path / "fer2013.csv"
    path.write_bytes(b"\n".join(rows))
    with pytest.raises(UnknownLayout) as error:
        layouts.read(path)
    _one_line(error, f"{path}: row 6 (the header is row 1): {BAD_LABELS[label]}")


def _put(row: bytes, pixel: bytes) -> bytes:
    label, pixels, usage = row.split(b",")
    return b",".join([label, b" ".join([*pixels.split(b" ")[:-1], pixel]), usage])


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_bad_row_is_named_with_file_row_found_and_expected(fault, content, tmp_path):
    spoil, found, expected = BAD_ROWS[fault]
    rows = content.split(b"\n")
    rows[5] = spoil(rows[5])
    path = tmp_path / "fer2013.csv"
    path.write_bytes(b"\n".join(rows))
    with pytest.raises(BadRow) as error:
        layouts.read(path)
    _one_line(error, str(path), "row 6", found, expected)
    assert (error.value.where, error.value.row) == (str(path), 6)


def test_spaces_and_zeros_that_change_no_pixel_are_read(content, tmp_path):
    expected = layouts.read(_written(tmp_path / "fer2013.csv", content))
    loose = re.sub(rb" (\d)(?=[ ,])", rb"  00\1", content)
    found = layouts.read(_written(tmp_path / "loose.csv", loose))
    np.testing.assert_array_equal(found.images, expected.images)


def _written(path, content):
    path.write_bytes(content)
    return path


def test_a_plain_csv_that_is_cut_short_is_a_bad_row(content, tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadRow) as error:
        layouts.read(path)
    _one_line(error, str(path), "row ")


@pytest.mark.parametrize("packing", CUT)
def test_an_archive_that_is_cut_short_is_a_bad_file(packing, content, tmp_path):
    path = tmp_path / "fer2013"
    PACKINGS[packing](path, content)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(BadFile) as error:
        layouts.read(path)
    _one_line(error, str(path), "damaged or cut short")


@pytest.mark.parametrize("packing", CUT)
def test_an_archive_with_a_wrong_byte_is_refused_in_one_line(packing, content, tmp_path):
    path = tmp_path / "fer2013"
    PACKINGS[packing](path, content)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0x55
    path.write_bytes(damaged)
    # gzip notices only at its end, after rows that are no rows any more.
    with pytest.raises((BadFile, BadRow)) as error:
        layouts.read(path)
    _one_line(error, str(path))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_header_without_rows_is_a_bad_file(packing, tmp_path):
    path = tmp_path / "fer2013"
    PACKINGS[packing](path, b"emotion,pixels,Usage\n")
    with pytest.raises(BadFile) as error:
        layouts.read(path)
    _one_line(error, str(path), "no rows")


@pytest.mark.parametrize("packing", ["plain", "gz", "xz"])
def test_an_empty_file_is_a_bad_file(packing, tmp_path):
    path = tmp_path / "fer2013.csv"
    PACKINGS[packing](path, b"")
    with pytest.raises(BadFile) as error:
        layouts.read(path)
    _one_line(error, str(path), "empty")


def test_a_missing_file_is_a_bad_file(tmp_path):
    with pytest.raises(BadFile) as error:
        layouts.read(tmp_path / "nowhere.csv")
    _one_line(error, str(tmp_path / "nowhere.csv"))


def test_an_empty_folder_is_an_unknown_layout(tmp_path):
    with pytest.raises(UnknownLayout) as error:
        layouts.read(tmp_path)
    _one_line(error, str(tmp_path), "found nothing")


@pytest.mark.parametrize(
    "start", [b"feeling;pixel\n3;1 2 3\n", b"3,1 2 3,Training\n", b"\x89PNG\r\n\x1a\n\x00\x00", b"\x00" * 5000]
)
def test_other_columns_or_other_files_are_an_unknown_layout(start, tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(start)
    with pytest.raises(UnknownLayout) as error:
        layouts.read(path)
    _one_line(error, str(path), "emotion, pixels and Usage")
    assert len(str(error.value)) < 400 + len(str(path))


def test_a_zip_without_a_copy_is_an_unknown_layout_that_lists_what_is_in_it(content, tmp_path):
    path = tmp_path / "fer2013.zip"
    as_zip(path, {"fer2013.txt": content.replace(b"emotion,pixels", b"feeling,face", 1)})
    with pytest.raises(UnknownLayout) as error:
        layouts.read(path)
    _one_line(error, str(path), "readme.csv")


def test_the_small_copy_of_real_fer2013_is_read_with_every_class_in_every_split(real_csv):
    faces = layouts.read(real_csv)
    numbers = {
        usage: np.bincount(faces.labels[faces.usages == usage], minlength=7) for usage in np.unique(faces.usages)
    }
    assert {usage: number.sum() for usage, number in numbers.items()} == pytest.approx(
        {"Training": 1400, "PublicTest": 350, "PrivateTest": 350}, abs=1
    )
    assert all((number > 0).all() for number in numbers.values())
    assert 100 < faces.images.mean() < 160


def test_the_images_of_a_copy_are_never_all_in_memory(tmp_path):
    rows = [f"{label},{' '.join([str(label)] * 2304)},Training\n" for label in range(7)] * 1200
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "".join(rows))
    tracemalloc.start()
    images = layouts.read(tmp_path / "fer2013.csv").images
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert images.shape == (8400, 48, 48)
    assert peak < images.nbytes / 2
