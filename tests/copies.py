"""The same faces in every layout and packing in which copies of FER2013 are passed on."""

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ferops.data.readers.faces import FaceDataset, by_content
from ferops.labels import NAMES, UNSPLIT

Tree = dict[str, bytes]
"""Path inside the copy -> content."""

FOLDERS = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}


def draw(generator: np.random.Generator, count: int) -> np.ndarray:
    """Images with large shapes and noise, no two alike: uint8 (count, 48, 48)."""
    shapes = generator.integers(20, 220, (count, 6, 6)).repeat(8, axis=1).repeat(8, axis=2)
    return (shapes + generator.integers(0, 30, (count, 48, 48))).astype(np.uint8)


def made_up(count: int = 140, seed: int = 7) -> FaceDataset:
    """Faces of all classes in turn: 60% Training, 20% PublicTest, 20% PrivateTest."""
    sizes = [count * 6 // 10, count * 2 // 10]
    usages = np.repeat(["Training", "PublicTest", "PrivateTest"], [*sizes, count - sum(sizes)])
    return FaceDataset(draw(np.random.default_rng(seed), count), np.arange(count) % 7, usages)


ordered = by_content
"""As any reader gives them."""


def same(one: FaceDataset, other: FaceDataset) -> bool:
    """Whether images, labels and usages are equal, in this order."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("images", "labels", "usages"))


def unsplit(faces: FaceDataset) -> FaceDataset:
    """As train.csv has them."""
    return replace(faces, usages=np.full(len(faces.labels), UNSPLIT))


def pixels(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel()))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def _rows(faces: FaceDataset) -> list[tuple[int, str, str]]:
    return [
        (int(label), pixels(image), str(usage))
        for label, image, usage in zip(faces.labels, faces.images, faces.usages, strict=True)
    ]


def kaggle(faces: FaceDataset) -> Tree:
    lines = ["emotion,pixels,Usage", *(f"{label},{text},{usage}" for label, text, usage in _rows(faces)), ""]
    return {"fer2013/fer2013.csv": "\n".join(lines).encode()}


def icml(faces: FaceDataset) -> Tree:
    lines = ["emotion, Usage, pixels", *(f"{label},{usage},{text}" for label, text, usage in _rows(faces)), ""]
    return {"icml_face_data.csv": "\r\n".join(lines).encode()}


def train_and_test(faces: FaceDataset) -> Tree:
    """train.csv with every face, test.csv without labels."""
    train = ["emotion,pixels", *(f"{label},{text}" for label, text, _ in _rows(faces)), ""]
    test = ["pixels", *(text for _, text, _ in _rows(faces)[:5]), ""]
    return {"test.csv": "\n".join(test).encode(), "train.csv": "\n".join(train).encode()}


def _images(faces: FaceDataset, name: Callable[[str, str, int], str]) -> Tree:
    return {
        name(str(usage), NAMES[label], number): png(image)
        for number, (label, image, usage) in enumerate(zip(faces.labels, faces.images, faces.usages, strict=True))
    }


def prefixed_folders(faces: FaceDataset) -> Tree:
    """As Kaggle's images: the file's name tells PublicTest from PrivateTest."""
    return _images(faces, lambda usage, name, number: f"images/{FOLDERS[usage]}/{name}/{usage}_{number}.png")


def three_folders(faces: FaceDataset) -> Tree:
    folders = {**FOLDERS, "PublicTest": "validation"}
    return _images(faces, lambda usage, name, number: f"{folders[usage]}/{name.title()}/{number}.png")


def merged_folders(faces: FaceDataset) -> Tree:
    """PublicTest and PrivateTest are not told apart."""
    return _images(faces, lambda usage, name, number: f"{FOLDERS[usage]}/{name}/{number}.png")


def as_folder(path: Path, tree: Tree) -> None:
    for name, content in tree.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def as_zip(path: Path, tree: Tree) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._fer2013.csv", b"\x00\x05\x16\x07")
        archive.writestr("readme.csv", "not,this,one\n1,2,3\n")
        for name, content in tree.items():
            archive.writestr(name, content)


def tar(tree: Tree) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


LAYOUTS: dict[str, Callable[[FaceDataset], Tree]] = {
    "fer2013.csv": kaggle,
    "icml_face_data.csv": icml,
    "folders with prefixes": prefixed_folders,
    "three folders": three_folders,
}
"""Those that tell all three splits."""

PACKINGS: dict[str, Callable[[Path, Tree], object]] = {
    "folder": as_folder,
    "zip": as_zip,
    "tar": lambda path, tree: path.write_bytes(tar(tree)),
    "tar.gz": lambda path, tree: path.write_bytes(gzip.compress(tar(tree), 1)),
    "tar.xz": lambda path, tree: path.write_bytes(lzma.compress(tar(tree), preset=0)),
}

BARE: dict[str, Callable[[Path, bytes], object]] = {
    "plain": lambda path, content: path.write_bytes(content),
    "gz": lambda path, content: path.write_bytes(gzip.compress(content, 1)),
    "xz": lambda path, content: path.write_bytes(lzma.compress(content, preset=0)),
}
"""Of one file alone."""
