"""Made-up faces in FER2013's layout, and a place to run a stage in."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ferops.data.readers import Faces

ROOT = Path(__file__).parents[2]

WriteCsv = Callable[[Path, Faces], Path]


def draw(generator: np.random.Generator, count: int) -> np.ndarray:
    """Images with large shapes and noise, no two alike: uint8 (count, 48, 48)."""
    shapes = generator.integers(20, 220, (count, 6, 6)).repeat(8, axis=1).repeat(8, axis=2)
    return (shapes + generator.integers(0, 30, (count, 48, 48))).astype(np.uint8)


def csv_text(faces: Faces) -> str:
    """Kaggle's layout."""
    rows = (
        f"{label},{' '.join(map(str, image.ravel()))},{usage}"
        for label, image, usage in zip(faces.labels, faces.images, faces.usages, strict=True)
    )
    return "\n".join(["emotion,pixels,Usage", *rows, ""])


@pytest.fixture
def faces() -> Faces:
    """140 faces, 20 of each class: 84 Training, 28 PublicTest, 28 PrivateTest."""
    usages = np.repeat(["Training", "PublicTest", "PrivateTest"], [84, 28, 28])
    return Faces(draw(np.random.default_rng(7), 140), np.arange(140) % 7, usages)


@pytest.fixture
def write_csv() -> WriteCsv:
    """Writes faces as Kaggle's CSV and gives its path back."""

    def write(path: Path, faces: Faces) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(csv_text(faces), encoding="utf-8")
        return path

    return write


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the repository's params.yaml, as the current folder."""
    place = tmp_path / "repository"
    place.mkdir()
    shutil.copy(ROOT / "params.yaml", place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def real_csv() -> Path:
    """A small copy of the real FER2013, where FER2013_MINI names one."""
    path = Path(os.environ.get("FER2013_MINI", ""))
    if not path.is_file():
        pytest.skip("FER2013_MINI names no copy of FER2013: no real faces here")
    return path
