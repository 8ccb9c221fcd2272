"""Made-up faces in FER2013's layout, and a place to run a stage in."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from copies import kaggle, made_up

from ferops.data.readers.faces import FaceDataset

ROOT = Path(__file__).parents[2]

WriteCsv = Callable[[Path, FaceDataset], Path]


@pytest.fixture
def faces() -> FaceDataset:
    """140 faces, 20 of each class: 84 Training, 28 PublicTest, 28 PrivateTest."""
    return made_up()


@pytest.fixture
def write_csv() -> WriteCsv:
    """Writes faces as Kaggle's CSV and gives its path back."""

    def write(path: Path, faces: FaceDataset) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        (content,) = kaggle(faces).values()
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the repository's params.yaml and overrides, as the current folder."""
    place = tmp_path / "repository"
    (place / "data").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", place)
    shutil.copy(ROOT / "data/overrides.csv", place / "data")
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def real_csv() -> Path:
    """A small copy of the real FER2013, where FER2013_MINI names one."""
    path = Path(os.environ.get("FER2013_MINI", ""))
    if not path.is_file():
        pytest.skip("FER2013_MINI names no copy of FER2013: no real faces here")
    return path
