import json
import re
from pathlib import Path

import pytest
from support import Ferops, shell

from ferops.commands.registry.trace import trace
from ferops.params import BadParams
from ferops.tracking.lineage import read_dvc_lock
from ferops.tracking.registry import ledger, versions
from ferops.tracking.registry.versions import UnknownVersion


@pytest.fixture
def traced(console):
    """What `ferops trace` prints; every line ends where it does on a terminal."""

    def tell(reference: str = "fer-vgg16@champion") -> str:
        assert trace(reference, console)
        return console.export_text()

    return tell


def entry(text: str, label: str) -> str:
    """The lines of an entry, as one."""
    (found,) = re.findall(rf"^{label} .*(?:\n .*)*", text, flags=re.MULTILINE)
    return " ".join(found.split())


def test_a_committed_model_is_traced_to_commit_data_weights_figures_and_history(clone, traced) -> None:
    text = traced()
    second = clone.git("rev-parse", "HEAD~1")
    assert text.startswith("fer-vgg16 version 2  @champion\n")
    assert clone.json("models/training.json")["weights_digest"] in entry(text, "weights")
    assert clone.training()[0] in entry(text, "training")
    assert second in entry(text, "commit")
    assert "on main" in entry(text, "commit")
    assert entry(text, "commit").endswith("second")
    assert "requirements.lock" in entry(text, "environment")
    assert "the same here Keras 3, tensorflow 2 a processor, 2 CPU cores" in entry(text, "environment")
    data = next(out for out in read_dvc_lock()["stages"]["preprocess"]["outs"] if out["path"] == "data/prepared")
    assert f"md5 {data['md5']}" in entry(text, "data")
    assert f"accuracy {clone.json('metrics/val.json')['accuracy']:.4f}" in entry(text, "metrics")
    assert entry(text, "history").count(" UTC ") == 2
    assert "registered @challenger" in entry(text, "history")
    assert "promoted @champion in place of version 1" in entry(text, "history")


def test_every_file_of_the_chain_is_there_and_every_line_fits_a_terminal(clone, traced) -> None:
    text = traced()
    chain = text[text.index("chain ") :]
    for stage in read_dvc_lock()["stages"].values():
        assert stage["cmd"] in chain
        for file in [*stage["deps"], *stage["outs"]]:
            if not file["path"].startswith("src/"):
                assert f"{file['path']} " in chain
                assert file["md5"][:12] in chain
    assert "2 modules of src" in chain
    assert "1 module of src" in chain
    assert "train.seed 1" in chain
    assert [line for line in text.splitlines() if len(line) > 80] == []


def test_the_changes_that_were_not_committed_when_it_trained_are_named(new, traced) -> None:
    store = new.store()
    run = versions.run_of(store, versions.resolve(store, "fer-vgg16/1"))
    for key, value in {"x-ferops.start": '{"changes": "lineage/uncommitted.diff"}'}.items():
        store.client.set_tag(run.info.run_id, key, value)
    store.client.delete_tag(run.info.run_id, "x-ferops.rebuilt")
    text = traced("fer-vgg16/1")
    start = new.git("rev-parse", "HEAD")
    assert f"{start} with uncommitted changes: lineage/uncommitted.diff" in entry(text, "trained at")


def test_a_lock_that_is_not_committed_yet_comes_with_what_to_type(new, traced) -> None:
    said = entry(traced("fer-vgg16/1"), "commit")
    assert "the workspace alone has its dvc.lock" in said
    command = said[said.index("git add") :]
    assert command == "git add dvc.lock params.yaml metrics reports && git commit"
    shell(new.root, "bash", "-c", f"{command} -q -m kept")
    assert new.git("rev-parse", "HEAD") in entry(traced("fer-vgg16/1"), "commit")


def test_another_environment_is_said_to_be_another(clone, traced) -> None:
    (clone.root / "requirements.lock").write_text("keras==4\n")
    assert "another here" in entry(traced(), "environment")


def test_an_experiments_version_is_traced_to_the_experiment(clone, traced) -> None:
    text = traced("fer-vgg16/3")
    assert "@challenger" in text.splitlines()[0]
    assert "DVC experiment lr-1e-3" in entry(text, "commit")
    assert clone.git("rev-parse", clone.experiment("lr-1e-3")) in entry(text, "commit")
    assert "registered @challenger by experiment lr-1e-3" in entry(text, "history")


def test_a_run_deleted_by_hand_leaves_a_version_that_is_traced_by_git_and_a_way_back(clone, traced) -> None:
    store = clone.store()
    version = versions.resolve(store, "fer-vgg16@champion")
    store.client.delete_run(version.run_id)
    text = traced()
    second = clone.git("rev-parse", "HEAD~1")
    assert f"missing in MLflow: `dvc repro` on commit {second[:12]} restores it" in entry(text, "run")
    assert second in entry(text, "commit")
    assert "promoted @champion" in entry(text, "history")
    assert "data/prepared" in text[text.index("chain ") :]
    assert clone.json("data/prepared/report.json")["dataset"] in entry(text, "data")


def test_a_version_that_nobody_holds_any_more_says_so(clone, traced) -> None:
    store = clone.store()
    store.client.delete_run(versions.resolve(store, "fer-vgg16/3").run_id)
    clone.git("update-ref", "-d", clone.experiment("lr-1e-3"))
    text = traced("fer-vgg16/3")
    assert "no commit, no experiment and not the workspace" in entry(text, "commit")
    assert "neither MLflow nor git has its dvc.lock" in entry(text, "chain")


def test_what_the_gate_said_is_in_the_history(clone, traced) -> None:
    decision = {"promoted": False, "difference": -0.02, "interval": [-0.03, -0.011], "reasons": ["it is worse"]}
    store = clone.store()
    version = versions.resolve(store, "fer-vgg16/3")
    ledger.record(store, version, ledger.new_event("refused", version, decision=decision), ledger.REGISTRY)
    said = entry(traced("fer-vgg16/3"), "history")
    assert "refused accuracy -0.0200 to the champion's, 95% interval -0.0300 to -0.0110 it is worse" in said


def test_an_unknown_alias_or_version_is_one_line_that_names_what_there_is(clone, console) -> None:
    for reference in ("fer-vgg16@nobody", "fer-vgg16/9", "someone-elses/1"):
        with pytest.raises(UnknownVersion) as error:
            trace(reference, console)
        assert "\n" not in str(error.value)
        assert reference in str(error.value)


def test_json_has_every_md5_in_full_and_nothing_else_is_printed(
    clone, ferops: Ferops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = json.loads(ferops("trace", "--json").out)
    assert shown["schema"] == "ferops.lineage/1"
    assert (shown["version"], shown["aliases"]) == (2, ["champion"])
    assert shown["source"]["commit"] == clone.git("rev-parse", "HEAD~1")
    assert shown["metrics"]["val/accuracy"] == pytest.approx(clone.json("metrics/val.json")["accuracy"], abs=1e-4)
    lock = read_dvc_lock()["stages"]
    assert {stage["name"]: stage["deps"] for stage in shown["stages"]} == {
        name: {dep["path"]: dep["md5"] for dep in stage["deps"]} for name, stage in lock.items()
    }
    assert [event["event"] for event in shown["events"]] == ["registered", "promoted"]


def test_elsewhere_no_store_is_made(tmp_path: Path, console, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadParams, match="params.yaml is missing"):
        trace("fer-vgg16@champion", console)
    assert list(tmp_path.iterdir()) == []
