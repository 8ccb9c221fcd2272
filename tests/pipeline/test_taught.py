"""A network that learns from another one, in the pipeline."""

import json
import shutil
from pathlib import Path

import pytest
from support import Ferops, shell

from ferops import params


@pytest.fixture
def folder(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(committed, tmp_path / "pipeline", symlinks=True))
    shutil.copy(folder / "models/core.keras", folder / "weights/teacher.keras")
    monkeypatch.chdir(folder)
    return folder


def training() -> dict[str, object]:
    return dict(json.loads(Path("models/training.json").read_text()))


def test_a_student_is_another_network_and_tells_of_its_teacher(folder: Path, ferops: Ferops) -> None:
    alone = training()
    params.merge({"train": {"teacher": "weights/teacher.keras"}}, folder / "params.yaml")
    shell(folder, "dvc", "repro")
    taught = training()
    assert alone["teacher"] is None
    assert taught["teacher"] == {
        "name": "weights/teacher.keras", "weights_digest": alone["weights_digest"], "share": 0.5, "temperature": 1.0,
    }  # fmt: skip
    assert taught["weights_digest"] != alone["weights_digest"]
    version = f"fer-lean-cnn/{taught['weights_digest'][:12]}"
    for words in (("card", version), ("trace", version)):
        said = " ".join(ferops(*words).out.split())
        assert f"weights/teacher.keras ({alone['weights_digest'][:12]}): 50% of the targets" in said


def test_a_registered_version_teaches_as_its_file_does(folder: Path) -> None:
    digests = []
    for teacher in ("weights/teacher.keras", "models:/fer-lean-cnn/1"):
        params.merge({"train": {"teacher": teacher}}, folder / "params.yaml")
        shell(folder, "python", "-m", "ferops.stages", "train")
        digests.append((training()["weights_digest"], training()["teacher"]["weights_digest"]))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        ("weights/nobody.keras", "train.teacher: weights/nobody.keras does not exist"),
        ("models:/fer-lean-cnn/99", "models:/fer-lean-cnn/99/data has no readable model"),
    ],
)
def test_a_teacher_that_is_not_there_stops_the_training_in_one_line(folder: Path, teacher: str, says: str) -> None:
    params.merge({"train": {"teacher": teacher}}, folder / "params.yaml")
    done = shell(folder, "python", "-m", "ferops.stages", "train", check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
