import json
import shutil
from functools import cache
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

from ferops import params
from ferops.data.readers.image_files import ImageFile
from ferops.data.synthetic import portraits
from ferops.labels import NAMES, OFFICIAL_COUNTS
from ferops.orchestration.monitoring import scored_table
from ferops.tracking import store
from ferops.tracking.registry import versions

MODEL = "fer-lean-cnn@challenger"
SHARES = np.array(OFFICIAL_COUNTS["train"]) / sum(OFFICIAL_COUNTS["train"])


@pytest.fixture
def run(load, clone: Path, server: None):
    flow = load("monitoring").monitoring

    def monitoring(**parameters: object) -> State:
        return flow(**{"model": MODEL, **parameters}, return_state=True)

    return monitoring


@cache
def fresh(count: int) -> np.ndarray:
    """Synthetic faces from another seed than the sample's: uint8 (count, 48, 48)."""
    labels = np.random.default_rng(5).choice(7, count, p=SHARES)
    return np.stack([portraits.render_face(int(k), np.random.default_rng([5, row])) for row, k in enumerate(labels)])


def score(images: np.ndarray, *, as_validation: bool = True) -> None:
    """Add images to the table as the flow scoring does, predicted as the network does, or all as its rarest class."""
    with store.session() as opened:
        held = versions.scored_version(opened, MODEL)
    known = held.predictions.loc[held.predictions["split"] == "validation", list(NAMES)].to_numpy(np.float32)
    if as_validation:
        predicted = np.random.default_rng(0).choice(known, len(images))
    else:
        rarest = np.bincount(known.argmax(axis=1), minlength=len(NAMES)).argmin()
        predicted = np.eye(len(NAMES))[[rarest] * len(images)]
    faces = [ImageFile(f"{number}.png", sha256(one).hexdigest(), 48, 48, one) for number, one in enumerate(images)]
    run = scored_table.new_run()
    part = scored_table.make_part(faces, predicted, kernel=3, version=1, weights_digest=held.weights_digest, run=run)
    scored_table.add(Path("data/scored"), part, 0)


def blurred(images: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in images])


def equalised(images: np.ndarray) -> np.ndarray:
    return np.stack([cv2.equalizeHist(image) for image in images])


def artifact(client: SyncPrefectClient, state: State) -> str:
    run = state.state_details.flow_run_id
    return next(str(one.data) for one in client.read_artifacts() if one.flow_run_id == run)


def test_fresh_faces_of_the_same_kind_are_quiet(run, client: SyncPrefectClient) -> None:
    score(fresh(150))
    state = run()
    assert state.is_completed(), state.message
    assert state.message == "no drift in 150 images scored by fer-lean-cnn/1"
    assert "![Reference and latest](data:image/png;base64," in artifact(client, state)
    report = json.loads(Path("reports/monitoring/report.json").read_text())
    assert report["passed"] is True
    assert list(report["shifts"][-1]["bins"]) == list(NAMES)
    assert set(report["shifts"][-1]["bins"]["happy"]) == {"reference", "latest"}
    assert Path("reports/monitoring/docs/index.html").is_file()


@pytest.mark.parametrize(("change", "names"), [(blurred, "sharpness"), (equalised, "unevenness")])
def test_changed_faces_fail_the_run_with_what_drifted(run, client: SyncPrefectClient, change, names: str) -> None:
    score(change(fresh(150)))
    state = run()
    assert state.is_failed()
    assert state.message.startswith("drift of ")
    assert f"{names} (" in state.message
    assert "**drift**" in artifact(client, state)
    report = json.loads(Path("reports/monitoring/report.json").read_text())
    assert report["passed"] is False
    assert names in {one["column"] for one in report["shifts"] if one["has_drifted"]}
    assert "# Drift" in Path("reports/monitoring/report.md").read_text()


def test_another_mix_of_classes_fails_the_run(run) -> None:
    score(fresh(150), as_validation=False)
    state = run()
    assert state.is_failed()
    assert state.message.startswith("drift of label (")


def test_only_the_latest_runs_are_looked_at(run) -> None:
    score(blurred(fresh(150)))
    score(fresh(150))
    assert run().is_completed()


def test_too_few_images_end_the_run_with_a_state_that_says_so(run) -> None:
    score(fresh(150)[:99])
    state = run()
    assert state.is_completed()
    assert state.name == "TooFew"
    assert "99 images" in state.message
    assert "monitoring.min_images is 100" in state.message
    assert not Path("reports/monitoring").exists()


def test_drift_starts_a_training_where_params_say_so(run, load, client: SyncPrefectClient) -> None:
    score(blurred(fresh(150)))
    params.merge({"monitoring": {"retrain": True}})
    assert run().message.endswith("there is no deployment training/nightly to start: `prefect deploy --all` makes it")
    flow_id = client.create_flow(load("training").training)
    deployment = client.create_deployment(flow_id, "nightly")
    try:
        state = run()
        drifted = FlowRunFilter(tags=FlowRunFilterTags(all_=["drift"]))
        (started,) = client.read_flow_runs(flow_run_filter=drifted)
        assert started.deployment_id == deployment
        assert started.state.is_scheduled()
        assert state.is_failed()
        assert state.message.endswith(f"training/nightly was started: {started.name}")
    finally:
        client.delete_deployment(deployment)


def test_without_the_data_in_the_workspace_those_of_the_commit_are_the_reference(run, clone: Path) -> None:
    score(fresh(150))
    shutil.rmtree(clone / "data/prepared")
    assert run().is_completed()
    shutil.rmtree(clone / ".dvc/cache")
    assert run().is_completed()  # the statistics were cached
    shutil.rmtree(clone / ".scratch/statistics")
    state = run()
    assert state.is_failed()
    assert "neither in DVC's cache nor in a remote" in state.message
    assert "\n" not in state.message


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"model": "fer-lean-cnn@champion"}, "fer-lean-cnn@champion: there is none"),
        ({"model": "vgg"}, "vgg: expected MODEL@ALIAS"),
    ],
)
def test_a_mistake_fails_the_run_in_one_line(run, parameters: dict[str, str], says: str) -> None:
    state = run(**parameters)
    assert state.is_failed()
    assert state.message.startswith(says)
    assert "\n" not in state.message


def test_what_other_weights_scored_is_left_out(run, clone: Path) -> None:
    score(fresh(150))
    with store.session() as opened:
        version = versions.resolve(opened, MODEL)
        opened.client.set_model_version_tag(version.name, version.version, "x-ferops.weights", "others")
    assert run().name == "TooFew"
