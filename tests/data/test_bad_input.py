"""Bad input as a user meets it: exit code 1, one line that says what and where, and nothing lost."""

import gzip
import io
import lzma
import subprocess
import tarfile
import zipfile
from pathlib import Path

import copies
import numpy as np
import pytest
from support import checkout, shell

from ferops.data.readers import archives, layouts
from ferops.data.readers.faces import BadFile, BadRow, FaceDataset, UnknownLayout


def _tar_with(**member: object) -> bytes:
    """A .tar with one more member than the faces."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo(str(member.pop("name")))
        for key, value in member.items():
            setattr(info, key, value)
        archive.addfile(info)
    return stream.getvalue()


def _zip_with(name: str, mode: int = 0o100644, content: bytes = b"x") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return stream.getvalue()


UNTRUSTED = {
    "a .tar with a symbolic link": (_tar_with(name="a.csv", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link"),
    "a .tar with a hard link": (_tar_with(name="a.csv", type=tarfile.LNKTYPE, linkname="b"), "a link"),
    "a .tar with a device": (_tar_with(name="a.csv", type=tarfile.CHRTYPE), "no regular file"),
    "a .tar with a pipe": (_tar_with(name="a.csv", type=tarfile.FIFOTYPE), "no regular file"),
    "a .tar that points above": (_tar_with(name="../../a.csv"), "points outside"),
    "a .tar with an absolute path": (_tar_with(name="/tmp/a.csv"), "points outside"),
    "a .zip with a symbolic link": (_zip_with("a.csv", 0o120777, b"/etc/passwd"), "a link"),
    "a .zip that points above": (_zip_with("../a.csv"), "points outside"),
    "a .zip with an absolute path": (_zip_with("/tmp/a.csv"), "points outside"),
    "a .zip with a drive": (_zip_with("C:/a.csv"), "points outside"),
    "a .zip that points above in Windows' way": (_zip_with("x\\..\\..\\a.csv"), "points outside"),
}


UNTRUSTED |= {
    f"{kind}, in .gz": (gzip.compress(tar), says) for kind, (tar, says) in UNTRUSTED.items() if ".tar" in kind
}


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_an_archive_that_is_not_to_be_trusted_is_refused(kind, tmp_path):
    content, says = UNTRUSTED[kind]
    path = tmp_path / "download"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=says):
        layouts.read(path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_encrypted_zip_says_so(tmp_path):
    content = bytearray(_zip_with("fer2013.csv"))
    content[6] |= 1  # the flag in the local header, and in the index
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "download").write_bytes(content)
    with pytest.raises(BadFile, match="is encrypted"):
        layouts.read(tmp_path / "download")


BOMBS = {
    "gz": lambda content: gzip.compress(content, 9),
    "xz": lambda content: lzma.compress(content),
    "tar.gz": lambda content: gzip.compress(copies.tar({"fer2013.csv": content}), 9),
    "zip": lambda content: _deflated({"fer2013.csv": content}),
    "zip of images": lambda content: _deflated({f"train/happy/{n}.png": content[: 1 << 20] for n in range(8)}),
}


def _deflated(tree: copies.Tree) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("kind", BOMBS)
def test_an_archive_bomb_is_refused_by_a_bound_and_nothing_is_unpacked(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "UNPACKED_AT_MOST", 3 << 20)
    row = f"3,{' '.join(['77'] * 2304)},Training\n".encode()
    content = b"emotion,pixels,Usage\n" + row * 1000 if "image" not in kind else b"\x89PNG\r\n\x1a\n" + bytes(8 << 20)
    path = tmp_path / "download"
    path.write_bytes(BOMBS[kind](content))
    assert path.stat().st_size < 200_000
    with pytest.raises(BadFile, match="unpacks to more than"):
        layouts.read(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.fuzz
def test_a_real_bomb_of_ten_gigabytes_is_refused(tmp_path):
    """Ten gigabytes of rows in ten megabytes: the bound as it is, memory and disk unharmed."""
    row = f"3,{' '.join(['77'] * 2304)},Training\n".encode()
    block = gzip.compress(row * 5000, 9)  # a .gz may be several put together
    header = gzip.compress(b"emotion,pixels,Usage\n")
    (tmp_path / "bomb.gz").write_bytes(header + block * (10_000_000_000 // (len(row) * 5000)))
    done = subprocess.run(
        ["python", "-c", "import resource,sys; resource.setrlimit(resource.RLIMIT_AS,(3<<30,3<<30));"
         "from pathlib import Path; from ferops.data.readers import layouts; layouts.read(Path(sys.argv[1]))",
         str(tmp_path / "bomb.gz")], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "unpacks to more than 2 GiB" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("packed", ["tar.gz", "tar.xz", "tar", "zip"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_an_archive_of_images_that_is_cut_short_is_one_line(packed, share, faces, tmp_path):
    path = tmp_path / "download"
    copies.PACKINGS[packed](path, copies.prefixed_folders(faces))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadFile, match="damaged or cut short") as error:
        layouts.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["label", "pixels", "between rows", "tail"])
def test_nul_bytes_are_refused(place, faces, tmp_path):
    (content,) = copies.kaggle(faces).values()
    rows = content.split(b"\n")
    spoilt = {
        "label": [*rows[:5], b"\x00" + rows[5][1:], *rows[6:]],
        "pixels": [*rows[:5], rows[5].replace(b" ", b"\x00", 1), *rows[6:]],
        "between rows": [*rows[:5], b"\x00" * 4096, *rows[5:]],
        "tail": [*rows, b"\x00" * 4096],
    }
    path = tmp_path / "fer2013.csv"
    path.write_bytes(b"\n".join(spoilt[place]))
    with pytest.raises((BadRow, UnknownLayout), match=r"row \d+ \(the header is row 1\): "):
        layouts.read(path)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository in git and DVC, with a sample; no stage has run."""
    folder = checkout(tmp_path_factory.mktemp("repository"), {"train": {"epochs": 2}})
    copies.as_folder(folder / "data/sample", {"fer2013.csv": _csv(GOOD).encode()})
    return folder


def _everything(folder: Path) -> str:
    return "\n".join(
        [
            shell(folder, "git", "status", "--porcelain", "--untracked-files=all").stdout,
            shell(folder, "dvc", "status", "sample", "preprocess", "validate@prepared", "augment", "train").stdout,
        ]
    )


def _csv(faces: FaceDataset) -> str:
    return next(iter(copies.kaggle(faces).values())).decode()


GOOD = copies.made_up()
REFUSED = {
    "a row too short": ({"a.csv": _csv(GOOD).replace(" ", "", 1)}, "row 2 (the header is row 1): found 2,303 pixels"),
    "a pixel of 256": ({"a.csv": _csv(GOOD).replace(" 2", " 2561", 1)}, "row 2 (the header is row 1): found pixel"),
    "a pixel beyond 31 bits": (
        {"a.csv": _csv(GOOD).replace(" ", "2345678901 ", 1)},
        "row 2 (the header is row 1): found",
    ),
    "no header": ({"a.csv": _csv(GOOD).partition("\n")[2]}, "emotion, pixels and Usage"),
    "another header": ({"a.csv": "path,label\n1.png,3\n"}, "found 'a.csv' with the first line 'path,label'"),
    "an empty file": ({"a.csv": ""}, "is empty"),
    "one class only": (
        {"a.csv": _csv(FaceDataset(GOOD.images, np.full(140, 3), GOOD.usages))},
        "no image of angry, disgust, fear, sad, surprise, neutral",
    ),
    "a split without rows": (
        {"a.csv": _csv(GOOD).replace("PublicTest", "Training")},
        "no image for validation (found: Training 112, PublicTest 0, PrivateTest 28); data.split: random",
    ),
    "an unknown folder": ({"train/contempt/1.png": copies.png(GOOD.images[0])}, "unknown expression 'contempt'"),
    "a text among images": ({"train/happy/notes.txt": "x"}, "notes.txt: found no image"),
    "nothing": ({}, "found nothing"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_data_use_refuses_with_exit_code_1_and_one_line_and_changes_nothing(fault, repository, tmp_path):
    tree, says = REFUSED[fault]
    copies.as_folder(
        tmp_path, {name: each if isinstance(each, bytes) else each.encode() for name, each in tree.items()}
    )
    before = _everything(repository)
    path = tmp_path / "a.csv" if "a.csv" in tree else tmp_path
    done = shell(repository, "ferops", "data", "use", str(path), check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert str(tmp_path) in done.stderr or "data.split" in done.stderr
    assert _everything(repository) == before


def test_a_copy_that_holds_the_repository_is_refused(repository):
    done = shell(repository, "ferops", "data", "use", ".", check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "holds this repository's data/raw" in done.stderr


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_copy(path, repository):
    done = shell(repository, "ferops", "data", "use", path, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "neither a file nor a folder" in done.stderr


BROKEN_PARAMS = {
    "an unknown key": ("  epochs: 2", "  epochs: 2\n  epoch: 3", "train.epoch"),
    "a wrong type": ("epochs: 2", "epochs: two", "train.epochs"),
    "a value out of range": ("dropout: 0.3", "dropout: 1.5", "model.dropout"),
    "a section gone": ("\nmodel:", "\nnetwork:", "model is missing"),
    "broken YAML": ("epochs: 2", "epochs: [2", "params.yaml, line"),
    "a key twice": ("  epochs: 2", "  epochs: 2\n  epochs: 3", "params.yaml, line"),
    "no mapping": ("", None, "expected a mapping"),
}


@pytest.mark.parametrize("fault", BROKEN_PARAMS)
@pytest.mark.parametrize("command", [["ferops", "data", "show"], ["python", "-m", "ferops.stages", "augment"]])
def test_bad_parameters_are_one_line_that_names_the_key(fault, command, repository, tmp_path):
    old, new, says = BROKEN_PARAMS[fault]
    text = (repository / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text("- 1\n" if new is None else text.replace(old, new, 1))
    done = shell(tmp_path, *command, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


def test_dvc_names_the_file_where_params_yaml_is_broken(repository):
    text = (repository / "params.yaml").read_text()
    try:
        (repository / "params.yaml").write_text(text.replace("epochs: 2", "epochs: [2", 1))
        done = shell(repository, "dvc", "repro", check=False)
    finally:
        (repository / "params.yaml").write_text(text)
    assert done.returncode != 0
    assert "params.yaml" in done.stderr
    assert "Traceback" not in done.stderr
