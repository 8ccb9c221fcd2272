import json
import shutil
import sys
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from support import Ferops, checkout, shell

from ferops import labels, params
from ferops.data.readers import layouts
from ferops.model import calibration
from ferops.stages.__main__ import STAGES

KEYS = {
    "accuracy", "accuracy_interval", "binary_accuracy", "loss", "precision_macro", "recall_macro", "f1_macro",
    "specificity_macro", "precision_micro", "recall_micro", "n", "ece", "ece_calibrated", "accuracy_deduplicated",
    "n_deduplicated", "accuracy_tta", "per_class",
}  # fmt: skip

WITHOUT_NETWORK = ("sample", "preprocess", "validate prepared", "augment", "validate augmented", "publish")
RUN = """
import sys
from ferops.stages.__main__ import main
for words in sys.argv[1:]:
    sys.argv = ["stages", *words.split()]
    main()
    assert not {"tensorflow", "keras"} & set(sys.modules), words
"""


def metrics(folder: Path, split: str) -> dict:
    return json.loads((folder / f"metrics/{split}.json").read_text())


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path) -> list:
    store = client(folder)
    return list(store.search_runs([store.get_experiment_by_name("fer-vgg16").experiment_id]))


def test_both_splits_have_every_key(repro: Path) -> None:
    for split in ("val", "test"):
        figures = metrics(repro, split)
        assert figures.keys() == KEYS
        assert list(figures["per_class"]) == list(labels.NAMES)
        assert figures["n"] == sum(row["support"] for row in figures["per_class"].values())


def test_the_metrics_are_those_of_the_predictions(repro: Path) -> None:
    table = pd.read_parquet(repro / "predictions.parquet")
    for split, name in (("validation", "val"), ("test", "test")):
        rows = table[table["split"] == split]
        right = rows[list(labels.NAMES)].to_numpy().argmax(axis=1) == rows["label"]
        assert metrics(repro, name)["accuracy"] == pytest.approx(right.mean())
        alone = right[~rows["duplicate_in_train"]]
        assert metrics(repro, name)["accuracy_deduplicated"] == pytest.approx(alone.mean())


def test_no_added_image_comes_from_validation_or_test(repro: Path) -> None:
    prepared = pd.read_parquet(repro / "data/prepared/manifest.parquet").set_index("id")
    added = pd.read_parquet(repro / "data/augmented/manifest.parquet")
    assert len(added) > 0
    assert set(prepared.loc[added["origin"], "split"]) == {"train"}
    np.testing.assert_array_equal(prepared.loc[added["origin"], "label"], added["label"])


def test_every_picture_and_page_is_there(repro: Path) -> None:
    pictures = [
        "data/sample/contact_sheet.png",
        "reports/augment/class_distribution.png",
        "reports/augment/contact_sheet.png",
        "reports/train/curves.png",
        "reports/evaluate/confusion.png",
        "reports/evaluate/confusion_normalised.png",
        "reports/evaluate/reliability.png",
        "reports/evaluate_faces/gradcam.png",
        "reports/evaluate_faces/mistakes.png",
    ]
    for name in pictures:
        assert (repro / name).read_bytes().startswith(b"\x89PNG"), name
    for gate in ("prepared", "augmented"):
        assert "<html" in (repro / f"reports/validate/{gate}/docs/index.html").read_text()
        assert json.loads((repro / f"data/gates/{gate}.json").read_text())["passed"] is True


def test_faces_of_the_data_stay_out_of_git_and_numbers_do_not(repro: Path) -> None:
    ignored = ["reports/augment/contact_sheet.png", "predictions.parquet", "models/core.keras", "data/prepared"]
    for name in [*ignored, "reports/evaluate_faces/gradcam.png", "reports/evaluate_faces/mistakes.png"]:
        assert shell(repro, "git", "check-ignore", name, check=False).returncode == 0, name
    for name in ("metrics/test.json", "reports/train/history.csv", "reports/evaluate/confusion.png"):
        assert shell(repro, "git", "check-ignore", name, check=False).returncode == 1, name


def test_dvc_shows_metrics_and_plots(repro: Path, tmp_path: Path) -> None:
    shown = json.loads(shell(repro, "dvc", "metrics", "show", "--json").stdout)
    assert shown[""]["data"]["metrics/test.json"]["data"]["accuracy"] == metrics(repro, "test")["accuracy"]
    shell(repro, "dvc", "metrics", "diff")
    shell(repro, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text()
    for title in ("Loss", "Binary accuracy", "Confusion matrix"):
        assert title in page


def test_results_name_the_data_both_accuracies_and_the_version(repro: Path) -> None:
    shown = shell(repro, "ferops", "results").stdout
    assert "not FER2013" in shown
    assert f"{metrics(repro, 'test')['accuracy']:.1%}" in shown
    assert f"{metrics(repro, 'test')['binary_accuracy']:.1%}" in shown
    assert "model        fer-lean-cnn version 1\n" in shown
    assert "make ui" in shown


def test_one_run_holds_every_epoch_and_the_final_figures(repro: Path) -> None:
    (run,) = runs(repro)
    history = pd.read_csv(repro / "reports/train/history.csv")
    logged = client(repro).get_metric_history(run.info.run_id, "val/accuracy")
    assert [(point.step, point.value) for point in logged] == list(
        zip(history["epoch"], history["val/accuracy"], strict=True)
    )
    assert run.data.metrics["acc_test"] == pytest.approx(metrics(repro, "test")["accuracy"], abs=1e-4)
    assert run.data.params["train.epochs"] == "2"
    assert run.inputs.dataset_inputs
    assert run.info.status == "FINISHED"


def test_the_registered_model_gives_the_predictions_from_raw_faces(repro: Path, monkeypatch) -> None:
    faces, expected = calibrated(repro)
    monkeypatch.chdir(repro)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{repro / 'mlflow.db'}")
    mlflow.set_tracking_uri(None)
    model = mlflow.pyfunc.load_model("models:/fer-lean-cnn@challenger")
    np.testing.assert_allclose(model.predict(faces), expected, atol=1e-4)


@pytest.mark.parametrize("model", ["fer-lean-cnn@challenger", "models:/fer-lean-cnn/1", "exported", "core.keras"])
def test_every_form_of_the_network_predicts_the_same(
    model: str, repro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ferops: Ferops
) -> None:
    monkeypatch.chdir(repro)
    faces, expected = calibrated(repro)
    if model == "core.keras":  # a core has its median filter from params.yaml, and no temperature
        expected = pd.read_parquet(repro / "predictions.parquet")[list(labels.NAMES)].to_numpy()
    for number, face in enumerate(faces[:8]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), face)
    files = {"exported": "models/exported/network.tflite", "core.keras": "models/core.keras"}
    done = ferops("predict", str(tmp_path), "--detector", "none", "--json", "--model", files.get(model, model))
    assert done.code == 0, done.err
    answers = [json.loads(line) for line in done.out.splitlines()]
    found = [list(answer["faces"][0]["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(found, expected[:8], atol=2e-4)
    digest = json.loads((repro / "models/training.json").read_text())["weights_digest"]
    assert {answer["model"] for answer in answers} == {f"lean_cnn/{digest[:12]}"}
    described = ferops("predict", str(tmp_path), "--detector", "none", "--model", files.get(model, model)).out
    assert ("fer-lean-cnn/1 " in described) == (model not in files)


def test_the_temperature_is_that_of_validation_and_both_errors_are_told(repro: Path) -> None:
    table = pd.read_parquet(repro / "predictions.parquet")
    chosen = json.loads((repro / "metrics/calibration.json").read_text())
    rows = table[table["split"] == "validation"]
    probabilities = rows[list(labels.NAMES)].to_numpy()
    assert chosen["temperature"] == calibration.fit_temperature(rows["label"].to_numpy(), probabilities)
    for split, name in (("validation", "val"), ("test", "test")):
        rows = table[table["split"] == split]
        answers = calibration.calibrate(rows[list(labels.NAMES)].to_numpy(), chosen["temperature"])
        error = calibration.calibration_error(calibration.reliability(rows["label"].to_numpy(), answers, 15))
        assert metrics(repro, name)["ece_calibrated"] == pytest.approx(error)
        certain = answers.max(axis=1) >= chosen["uncertain_below"]
        assert chosen[split]["coverage"] == pytest.approx(certain.mean())


def calibrated(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Raw faces of the predictions, and the probabilities that are served."""
    table = pd.read_parquet(folder / "predictions.parquet")
    temperature = json.loads((folder / "metrics/calibration.json").read_text())["temperature"]
    faces = layouts.read(folder / "data/sample/fer2013.csv").images[table["id"]]
    return faces, calibration.calibrate(table[list(labels.NAMES)].to_numpy(), temperature)


def test_a_second_repro_runs_nothing_but_publish(repro: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(repro, tmp_path / "copy", symlinks=True))
    before = (folder / "dvc.lock").read_text()
    said = shell(folder, "dvc", "repro").stdout
    assert [line for line in said.splitlines() if line.startswith("Running stage")] == ["Running stage 'publish':"]
    assert (folder / "dvc.lock").read_text() == before
    assert len(runs(folder)) == 1
    assert len(client(folder).search_model_versions("name='fer-lean-cnn'")) == 1


def test_a_lost_store_comes_back_with_one_repro(repro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    (folder / "mlflow.db").unlink()
    shutil.rmtree(folder / "mlartifacts")
    shell(folder, "dvc", "repro")
    (old,), (new,) = runs(repro), runs(folder)
    assert new.data.params == old.data.params
    assert new.data.metrics == old.data.metrics
    assert new.info.end_time == old.info.end_time
    for key in ("val/accuracy", "train/loss"):
        points = [
            [(point.step, point.value, point.timestamp) for point in client(place).get_metric_history(run_id, key)]
            for place, run_id in ((repro, old.info.run_id), (folder, new.info.run_id))
        ]
        assert points[0] == points[1]
    assert client(folder).get_model_version_by_alias("fer-lean-cnn", "challenger").version in (1, "1")


def test_a_gate_that_fails_stops_the_pipeline_and_says_which_check(repro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(
        text.replace("    min: 90", "    min: 250").replace("    max: 170", "    max: 255")
    )
    failed = shell(folder, "dvc", "repro", check=False)
    assert failed.returncode != 0
    said = failed.stdout + failed.stderr
    assert "GateFailed" in said or "checks failed" in said
    assert "250" in said
    assert "Traceback" not in said
    assert "Running stage 'train'" not in said


def test_a_bad_parameter_stops_a_stage_in_one_line(repro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("epochs: 2", "epochs: many"))
    failed = shell(folder, "dvc", "repro", "train", check=False)
    assert failed.returncode != 0
    assert "train.epochs" in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr


def test_a_training_that_diverges_stops_the_pipeline_in_one_line_and_its_run_has_failed(
    repro: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    vgg = params.defaults().model.model_dump()  # without norms that would hold it
    train = {"learning_rate": 10.0, "optimizer": "sgd", "online_augmentation": True}
    params.merge({"model": vgg, "train": train}, folder / "params.yaml")
    failed = shell(folder, "dvc", "repro", check=False)
    assert failed.returncode != 0
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("train: ")]
    assert "diverged" in line and "train.learning_rate" in line and "Traceback" not in failed.stderr
    assert sorted(run.info.status for run in runs(folder)) == ["FAILED", "FINISHED"]


def test_a_trial_leaves_the_test_split_closed(repro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(repro, folder, symlinks=True)
    params.merge({"evaluate": {"test": False}}, folder / "params.yaml")
    shell(folder, "dvc", "repro")
    assert metrics(folder, "test") == {}
    assert metrics(folder, "val") == metrics(repro, "val")
    assert set(pd.read_parquet(folder / "predictions.parquet")["split"]) == {"validation"}
    assert "closed" in shell(folder, "ferops", "results").stdout
    assert len(runs(folder)) == 1


def test_real_faces_pass_the_gates(mini: Path, tmp_path: Path) -> None:
    folder = checkout(tmp_path, {})
    said = shell(folder, "ferops", "data", "use", str(mini), "--recipe", "paper").stdout
    assert "data.dataset is other" in said
    shell(folder, "dvc", "repro", "validate@augmented")
    added = pd.read_parquet(folder / "data/augmented/manifest.parquet")
    report = json.loads((folder / "data/augmented/report.json").read_text())
    after = np.array(report["after"])
    assert len(added) == after.sum() - sum(report["before"]) > 0
    assert (after / after.sum()).min() >= 0.125 - 1e-3
    assert json.loads((folder / "data/gates/augmented.json").read_text())["passed"] is True
    staged = shell(folder, "git", "diff", "--cached", "--name-only").stdout.split()
    assert f"data/raw/{mini.name}.dvc" in staged
    assert all(name == "dvc.lock" or name.endswith((".gitignore", ".dvc")) for name in staged), "no image enters git"


def test_only_train_and_evaluate_load_tensorflow(repro: Path, tmp_path: Path) -> None:
    """And `publish`, where it registers new weights."""
    assert {words.split()[0] for words in WITHOUT_NETWORK} == set(STAGES) - {"train", "evaluate"}
    folder = Path(shutil.copytree(repro, tmp_path / "clone", symlinks=True))
    shell(folder, sys.executable, "-c", RUN, *WITHOUT_NETWORK)
