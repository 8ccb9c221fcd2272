"""The same faces in every layout and packing in which copies of FER2013 are passed on."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ferops.data.readers.faces import FaceDataset, by_content
from ferops.labels import MERGED, NAMES, UNSPLIT

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


class Brought(NamedTuple):
    """A copy as people bring it.

    Fields:
        tree: its files, of faces. labels, skip: what `ferops data use` has to be told.
        split: the `data.split` that takes it as it is.
    """

    tree: Callable[[FaceDataset], Tree]
    labels: str = ""
    skip: str = ""
    split: str = "official"


RAF = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""RAF-DB's expressions in the order of its numbers, which begin with 1."""


def _table(
    faces: FaceDataset,
    header: str = "emotion;pixels;Usage",
    separator: str = ";",
    label: Callable[[int], str] = str,
    usage: Callable[[str], str] = str,
    field: Callable[[np.ndarray], str] = pixels,
) -> str:
    rows = zip(faces.labels.tolist(), faces.images, faces.usages.tolist(), strict=True)
    lines = [separator.join((label(code), field(image), usage(name))) for code, image, name in rows]
    return "\r\n".join([header, *lines, ""])


def _folders(faces: FaceDataset, name: Callable[[int], str], form: str = "png") -> Tree:
    """Class folders without a split above them."""
    return {
        f"faces/{name(code)}/{number}.{form}": encoded(image, form)
        for number, (code, image) in enumerate(zip(faces.labels.tolist(), faces.images, strict=True))
    }


def _contempt(faces: FaceDataset) -> Tree:
    """Eight classes, one of which FER2013 does not have."""
    strange = {f"faces/contempt/{n}.png": png(image) for n, image in enumerate(draw(np.random.default_rng(9), 3))}
    return _folders(faces, lambda code: NAMES[code]) | strange


def _raf(faces: FaceDataset) -> Tree:
    """RAF-DB as it is passed on: train and test with folders 1 to 7."""
    words = {"happy": "happiness", "sad": "sadness", "angry": "anger"}
    return {
        f"DATASET/{FOLDERS[usage]}/{RAF.index(words.get(NAMES[code], NAMES[code])) + 1}/{number}.png": png(image)
        for number, (code, image, usage) in enumerate(zip(faces.labels, faces.images, faces.usages, strict=True))
    }


def _numbered(label_file: str, content: str) -> Callable[[FaceDataset], Tree]:
    return lambda faces: _folders(faces, str) | {label_file: content.encode()}


def _as_zip_bytes(tree: Tree, separator: str = "/") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            info = zipfile.ZipInfo("x")
            info.filename = name.replace("/", separator)  # ZipInfo would turn backslashes round on Windows alone
            archive.writestr(info, content)
    return stream.getvalue()


def encoded(image: np.ndarray, form: str, **options: Any) -> bytes:
    """An image file without loss, in a format by Pillow's name."""
    stream = io.BytesIO()
    lossless = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:0:0"}}.get(form, {})
    Image.fromarray(image).save(stream, "ppm" if form == "pgm" else form, **lossless, **options)
    return stream.getvalue()


def parquet(faces: FaceDataset, kind: str = "names in the schema") -> bytes:
    """A Parquet file as Hugging Face's `datasets` writes it."""
    names = sorted(NAMES)  # as ClassLabel has them where the classes came from folders
    images = [{"bytes": png(image), "path": f"{number}.png"} for number, image in enumerate(faces.images)]
    words = [NAMES[code] for code in faces.labels.tolist()]
    labels = words if kind == "strings" else [names.index(word) for word in words]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table({"image": images, "label": labels})
    if kind == "names in the schema":
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def _shards(faces: FaceDataset) -> Tree:
    """A folder of shards named by split, two of the training images."""
    tree = {}
    for split, usage in (("train", "Training"), ("validation", "PublicTest"), ("test", "PrivateTest")):
        places = np.array_split(np.flatnonzero(faces.usages == usage), 2 if split == "train" else 1)
        for number, part in enumerate(places):
            some = FaceDataset(faces.images[part], faces.labels[part], faces.usages[part])
            tree[f"data/{split}-{number:05}-of-{len(places):05}.parquet"] = parquet(some)
    return tree


WORDS = {"Training": "train", "PublicTest": "Validation", "PrivateTest": "TEST"}

BROUGHT: dict[str, Brought] = {
    "CSV with semicolons": Brought(lambda faces: {"a.csv": _table(faces).encode()}),
    "CSV with tabs": Brought(lambda faces: {"a.tsv": _table(faces, "emotion\tpixels\tUsage", "\t").encode()}),
    "CSV in UTF-16": Brought(lambda faces: {"a.csv": _table(faces).encode("utf-16")}),
    "CSV with labels as 3.0": Brought(lambda faces: {"a.csv": _table(faces, label=lambda code: f"{code}.0").encode()}),
    "CSV with names of classes": Brought(
        lambda faces: {"a.csv": _table(faces, label=lambda code: NAMES[code].title()).encode()}
    ),
    "CSV with Happiness": Brought(
        lambda faces: {"a.csv": _table(faces, label=lambda code: {3: "Happiness"}.get(code, NAMES[code])).encode()}
    ),
    "CSV with Usage in lower case": Brought(lambda faces: {"a.csv": _table(faces, usage=str.lower).encode()}),
    "CSV with train, validation and test": Brought(
        lambda faces: {"a.csv": _table(faces, "emotion;pixels;split", usage=WORDS.__getitem__).encode()}
    ),
    "CSV with pixels as a list": Brought(
        lambda faces: {
            "a.csv": _table(
                faces, "emotion,pixels,Usage", ",", field=lambda image: f'"{image.ravel().tolist()}"'
            ).encode()
        }
    ),
    "CSV with 2,304 columns of pixels": Brought(
        lambda faces: {
            "a.csv": _table(
                faces,
                ",".join(["label", *sorted(f"pixel{place}" for place in range(2304)), "Usage"]),
                ",",
                label=lambda code: NAMES[code],
                field=lambda image: ",".join(
                    str(image.ravel()[int(name)]) for name in sorted(map(str, range(2304)))
                ),
            ).encode()
        }
    ),
    "CSV with numbered classes of its own": Brought(
        lambda faces: {"a.csv": _table(faces, "label;pixels;Usage", label=lambda code: str(code + 1)).encode()},
        labels=",".join(NAMES),
    ),
    "folders without a split": Brought(lambda faces: _folders(faces, lambda code: NAMES[code]), split="random"),
    "folders 0_angry and 1-disgust": Brought(
        lambda faces: _folders(faces, lambda code: f"{code}{'_-'[code % 2]}{NAMES[code]}"), split="random"
    ),
    "numbered folders with labels.txt": Brought(_numbered("labels.txt", "\n".join(NAMES)), split="random"),
    "numbered folders with class_indices.json": Brought(
        _numbered("class_indices.json", json.dumps({name: code for code, name in enumerate(NAMES)})), split="random"
    ),
    "numbered folders with classes.txt of pairs": Brought(
        _numbered("classes.txt", "\r\n".join(f"{code}: {name}" for code, name in enumerate(NAMES))), split="random"
    ),
    "RAF-DB": Brought(_raf, labels=",".join(RAF), split="folders"),
    "folders with contempt": Brought(_contempt, skip="Contempt", split="random"),
    "a .zip made on Windows": Brought(lambda faces: {"a.zip": _as_zip_bytes(three_folders(faces), "\\")}),
    "a .tar.gz in a folder": Brought(lambda faces: {"fer2013.tar.gz": gzip.compress(tar(kaggle(faces)), 1)}),
    "a .tar.gz in a .zip": Brought(
        lambda faces: {"a.zip": _as_zip_bytes({"x/fer2013.tar.gz": gzip.compress(tar(kaggle(faces)), 1)})}
    ),
    "a .zip in a .tar.bz2": Brought(
        lambda faces: {"a.tar.bz2": bz2.compress(tar({"x/images.zip": _as_zip_bytes(three_folders(faces))}))}
    ),
    "a .csv.xz in a .zip": Brought(
        lambda faces: {"a.zip": _as_zip_bytes({"fer2013.csv.xz": lzma.compress(kaggle(faces)["fer2013/fer2013.csv"])})}
    ),
    "Parquet with names in the schema": Brought(lambda faces: {"a.parquet": parquet(faces)}, split="random"),
    "Parquet with strings": Brought(lambda faces: {"a.parquet": parquet(faces, "strings")}, split="random"),
    "Parquet with bare numbers": Brought(
        lambda faces: {"a.parquet": parquet(faces, "numbers")}, labels=",".join(sorted(NAMES)), split="random"
    ),
    "a folder of Parquet shards": Brought(_shards),
    "Parquet shards in a .zip": Brought(lambda faces: {"a.zip": _as_zip_bytes(_shards(faces))}),
} | {
    f"{form} images": Brought(
        lambda faces, form=form: _folders(faces, lambda code: NAMES[code], form), split="random"
    )
    for form in ("webp", "bmp", "tiff", "gif", "pgm")
}  # fmt: skip
"""Files that people describe in public questions, each with the same faces."""


def as_told(faces: FaceDataset, split: str) -> FaceDataset:
    """The faces as a copy tells them that `data.split` takes as it is."""
    if split == "random":
        return ordered(unsplit(faces))
    merged = np.where(faces.usages == "Training", "Training", MERGED)
    return ordered(replace(faces, usages=merged) if split == "folders" else faces)


def bring(folder: Path, tree: Tree) -> Path:
    """Write a copy; its path is that of its only file, or of the folder."""
    as_folder(folder, tree)
    return folder / next(iter(tree)) if len(tree) == 1 else folder
