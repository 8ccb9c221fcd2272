import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL
from support import shell

from ferops.data.readers import layouts
from ferops.data.readers.faces import digests
from ferops.labels import NAMES
from ferops.model.calibration import calibrate

MODEL = "fer-lean-cnn@challenger"


@pytest.fixture
def run(load, clone: Path, server: None):
    """Runs the flow on a folder with the network that the clone has."""
    flow = load("scoring").scoring

    def scoring(folder: str = "faces", **parameters: object) -> State:
        return flow(images=folder, **{"model": MODEL, **parameters}, return_state=True)

    return scoring


@pytest.fixture
def faces(clone: Path) -> np.ndarray:
    """The raw validation images of the clone's data, uint8 (N, 48, 48), each a file of the folder faces."""
    data = layouts.read(clone / "data/sample/fer2013.csv")
    images = data.images[data.usages == "PublicTest"]
    (clone / "faces/below").mkdir(parents=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(clone / "faces" / f"{'below/' if number % 2 else ''}{number:03}.png"), image)
    return images


def table() -> pd.DataFrame:
    return pd.read_parquet("data/scored")


def artifact(client: SyncPrefectClient, state: State, key: str) -> str:
    found = client.read_artifacts()
    return next(str(one.data) for one in found if one.key == key and one.flow_run_id == state.state_details.flow_run_id)


def test_the_predictions_are_those_of_the_evaluation(run, faces: np.ndarray, client: SyncPrefectClient) -> None:
    state = run(batch_size=32)
    assert state.is_completed()
    assert state.message == f"{len(faces)} scored, 0 known, 0 bad of {len(faces)} files"
    scored = table()
    known = pd.read_parquet("predictions.parquet").set_index("hash")
    images = [digest[:16] for digest in digests(faces)]
    scored = scored.set_index(scored["path"].str[-7:-4].astype(int)).sort_index()
    expected = known[known["split"] == "validation"].loc[images, list(NAMES)]
    temperature = json.loads(Path("metrics/calibration.json").read_text())["temperature"]
    assert np.allclose(scored[list(NAMES)], calibrate(expected.to_numpy(), temperature), atol=1e-5)
    assert len(list(Path("data/scored").glob("*.parquet"))) == -(-len(faces) // 32)
    shares = artifact(client, state, "scoring-shares")
    assert f"| {scored['label'].value_counts().index[0]} |" in shares
    assert artifact(client, state, "scoring-progress") == "100"


def test_side_by_side_the_table_is_that_of_batches_in_turn(run, faces: np.ndarray) -> None:
    pytest.importorskip("prefect_dask", reason="the extra `team` is not installed")
    (Path("faces") / "note.txt").write_text("no face")
    assert run(batch_size=20).message == run(batch_size=20, output="data/2", dask=2).message
    in_turn, beside = (one.drop(columns=["run", "scored"]) for one in (table(), pd.read_parquet("data/2")))
    pd.testing.assert_frame_equal(in_turn, beside)
    assert len(list(Path("data/2").glob("*.parquet"))) == 4
    (bad,) = Path("data/2/_bad").iterdir()
    assert pd.read_csv(bad)["path"].tolist() == ["note.txt"]
    assert run(batch_size=20, output="data/2", dask=2).message == "0 scored, 70 known, 1 bad of 71 files"


def test_a_version_without_an_exported_network_is_run_by_keras(run, faces: np.ndarray, clone: Path) -> None:
    run()
    for folder in (clone / "mlartifacts").rglob("exported"):
        shutil.rmtree(folder)
    assert run(output="data/keras").is_completed()
    by_keras = pd.read_parquet("data/keras")
    assert by_keras["path"].equals(table()["path"])
    assert np.allclose(by_keras[list(NAMES)], table()[list(NAMES)], atol=1e-5)


def test_for_an_exported_network_that_cannot_be_read_keras_does_not_stand_in(
    run, faces: np.ndarray, clone: Path
) -> None:
    for file in (clone / "mlartifacts").rglob("network.tflite"):
        file.unlink()
        file.symlink_to("nowhere")
    state = run()
    assert state.is_failed()
    assert "/exported has no readable model in MLflow" in state.message
    assert not list(Path("data").glob("scored/*.parquet"))


def test_only_what_is_new_or_changed_is_scored(run, faces: np.ndarray) -> None:
    run()
    before = table()
    cv2.imwrite("faces/000.png", 255 - faces[0])
    Path("faces/002.png").rename("faces/renamed.png")
    Path("faces/new.png").write_bytes(Path("faces/004.png").read_bytes())
    state = run()
    assert state.message == f"1 scored, {len(faces)} known, 0 bad of {len(faces) + 1} files"
    after = table()
    assert len(after) == len(before) + 1
    assert after["path"].value_counts()["000.png"] == 2
    assert run().message == f"0 scored, {len(faces) + 1} known, 0 bad of {len(faces) + 1} files"
    assert len(table()) == len(after)


def test_bad_files_are_listed_and_the_others_scored(run, faces: np.ndarray, client: SyncPrefectClient) -> None:
    Path("faces/note.txt").write_text("no face")
    Path("faces/cut.png").write_bytes(Path("faces/000.png").read_bytes()[:-100])
    state = run()
    assert state.message == f"{len(faces)} scored, 0 known, 2 bad of {len(faces) + 2} files"
    listed = artifact(client, state, "scoring-bad")
    assert "| cut.png | an image damaged or cut short |" in listed
    assert "| note.txt | no image" in listed
    (kept,) = Path("data/scored/_bad").iterdir()
    assert pd.read_csv(kept)["path"].tolist() == ["cut.png", "note.txt"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"folder": "nowhere"}, "nowhere is not there"),
        ({"folder": "models"}, "no file in models is an image"),
        ({"folder": "src", "model": "fer-lean-cnn@nobody"}, "fer-lean-cnn@nobody: there is none"),
        ({"folder": "src", "batch_size": 0}, "batch_size is 0"),
    ],
)
def test_a_mistake_fails_the_run_in_one_line(run, parameters: dict[str, object], says: str) -> None:
    state = run(**parameters)
    assert state.is_failed()
    assert state.message.startswith(says)
    assert "\n" not in state.message


@pytest.mark.parametrize("dask", [None, pytest.param(2, marks=pytest.mark.services)])
def test_a_full_disk_fails_the_run_in_one_line(run, faces: np.ndarray, clone: Path, dask: int | None) -> None:
    (clone / "data/scored").write_text("in the way")
    state = run(batch_size=10, dask=dask)
    assert 1 <= state.message.count(" of 7: ") <= (dask or 1), "no batch begins after one that failed"
    assert state.is_failed()
    assert "data/scored" in state.message
    assert "\n" not in state.message


def test_the_table_is_not_tracked(clone: Path) -> None:
    ignored = shell(clone, "git", "check-ignore", "data/scored/a.parquet", "reports/monitoring/report.md").stdout
    assert ignored.split() == ["data/scored/a.parquet", "reports/monitoring/report.md"]


@pytest.mark.services
@pytest.mark.parametrize("dask", [(), ("--dask", "2")])
def test_a_killed_run_keeps_its_batches_and_the_next_goes_on(
    clone: Path,
    faces: np.ndarray,
    server: None,
    dask: tuple[str, ...],
) -> None:
    command = [sys.executable, "flows/scoring.py", "faces", "--model", MODEL, "--batch-size", "2", *dask]
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with subprocess.Popen(command, cwd=clone, env=environment, start_new_session=True) as process:
        while process.poll() is None and len(list(Path("data/scored").glob("*.parquet"))) < 5:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    kept = {path.name: path.read_bytes() for path in Path("data/scored").glob("*.parquet")}
    assert 5 <= len(kept) < 35
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=True)
    known = 2 * len(kept)
    assert f"scoring: {70 - known} scored, {known} known, 0 bad of 70 files" in done.stdout
    assert {name: (Path("data/scored") / name).read_bytes() for name in kept} == kept
    assert len(table()) == table()["path"].nunique() == 70
