"""The address of the store, and how it is opened and created."""

import subprocess
import sys
import time

import pytest

from ferops.tracking import store

pytestmark = pytest.mark.usefixtures("pipeline")


def test_the_store_is_beside_the_repository_that_dvc_names(tmp_path, monkeypatch):
    copy = tmp_path / "clone/.dvc/tmp/exps/tmp1"  # where DVC runs a queued experiment
    (copy / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "clone"))

    assert store.tracking_uri() == f"sqlite:///{tmp_path}/clone/mlflow.db"


def test_without_dvc_it_is_in_the_root_of_the_repository_around(pipeline, monkeypatch):
    (pipeline.root / "docs/deep").mkdir(parents=True)
    monkeypatch.chdir(pipeline.root / "docs/deep")

    assert store.tracking_uri() == f"sqlite:///{pipeline.root}/mlflow.db"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "postgresql+psycopg2://u:p@h/db", "sqlite:////tmp/x.db"])
def test_the_environments_uri_wins(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    assert store.tracking_uri() == uri


def test_a_relative_database_is_relative_to_the_root(pipeline, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/all.db")

    assert store.tracking_uri() == f"sqlite:///{pipeline.root}/runs/all.db"


def test_an_address_is_shown_without_its_password():
    assert store.address("postgresql://someone:secret@host/db") == "postgresql://host/db"
    assert store.address("failed: http://a:b@host:1/x") == "failed: http://host:1/x"


def test_importing_the_package_imports_no_mlflow_and_sets_nothing():
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "import ferops.tracking.publishing, ferops.tracking.live\n"
        "import ferops.tracking.store, ferops.stages.publish\n"
        "assert 'mlflow' not in sys.modules and 'keras' not in sys.modules\n"
        "assert dict(os.environ) == before"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_opening_a_new_store_prints_nothing(pipeline, capfd):
    (pipeline.root / "mlflow.db").unlink()

    store.connect()

    assert capfd.readouterr() == ("", "")


def test_a_process_killed_while_it_creates_the_store_leaves_no_partial_store(pipeline):
    (pipeline.root / "mlflow.db").unlink()
    maker = subprocess.Popen([sys.executable, "-c", "from ferops.tracking import store; store.connect()"])
    deadline = time.monotonic() + 60

    def is_partial() -> bool:
        files = [file for file in pipeline.root.glob("mlflow.db*") if not file.name.endswith("-journal")]
        return any(file.stat().st_size > 100_000 for file in files)

    while not is_partial():
        assert time.monotonic() < deadline and maker.poll() is None
    maker.kill()
    maker.wait()

    assert not (pipeline.root / "mlflow.db").exists()  # incomplete, MLflow could neither use nor repair it
    assert store.connect().experiment_id


def test_an_experiment_deleted_in_the_ui_is_restored():
    opened = store.connect()
    opened.client.delete_experiment(opened.experiment_id)

    assert store.connect().experiment_id == opened.experiment_id
    assert opened.client.get_experiment(opened.experiment_id).lifecycle_stage == "active"


def test_the_store_of_an_earlier_ferops_is_named_and_left_as_it_is(pipeline):
    opened = store.connect()
    opened.client.delete_experiment_tag(opened.experiment_id, "x-ferops.layout")
    opened.client.create_run(opened.experiment_id, tags={"ferops.training": "old"})
    before = (pipeline.root / "mlflow.db").read_bytes()

    with pytest.raises(store.EarlierStore, match="written by an earlier ferops.*then `ferops restore`"):
        store.connect()

    assert (pipeline.root / "mlflow.db").read_bytes() == before
