"""Versions, aliases, the lock and the ledger, with a real SQLite store."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import MODEL
from tracking.conftest import Pipeline

from ferops import params
from ferops.machine import processes
from ferops.promotion import gate
from ferops.tracking import mutex, store
from ferops.tracking.registry import ledger, versions


def made(number: int) -> Any:
    """Create a version without a model, for aliases and events."""
    client = store.connect().client
    if number == 1:
        client.create_registered_model(MODEL)
    tags = {"x-ferops.weights": f"digest {number}", "x-ferops.training": f"training {number}"}
    version = client.create_model_version(MODEL, "mlflow-artifacts:/none", tags=tags)
    assert int(version.version) == number
    return version


@pytest.fixture
def three(pipeline: Any) -> store.Store:
    """A registry with versions 1 to 3 and no alias."""
    for number in (1, 2, 3):
        made(number)
    return store.connect()


@pytest.fixture
def lose_the_store(
    published: Pipeline, unpublished_clone: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Give the published clone an empty store."""

    def lose() -> None:
        shutil.copy(unpublished_clone.root / "mlflow.db", published.root / "other.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{published.root}/other.db")

    return lose


def events(root: Path) -> list[tuple[str, int]]:
    return [(line["event"], line["version"]) for line in ledger.lines(root / ledger.REGISTRY)]


def test_the_champion_before_becomes_previous_and_a_rollback_swaps_the_two(three, pipeline):
    gate.promote(three, "fer-vgg16/1", instead_of=None, decision={"reasons": []})
    gate.promote(three, "fer-vgg16/2", instead_of=1, decision={"reasons": []})
    assert versions.aliases(three, MODEL) == {"champion": 2, "previous": 1}

    assert gate.rollback(three, MODEL) == (1, 2)

    assert versions.aliases(three, MODEL) == {"champion": 1, "previous": 2}
    assert events(pipeline.root) == [("promoted", 1), ("promoted", 2), ("rolled back", 1)]
    assert [line["event"] for line in ledger.history(versions.resolve(three, "fer-vgg16/1"))] == [
        "promoted", "rolled back",
    ]  # fmt: skip
    assert ledger.aliases(ledger.lines(pipeline.root / ledger.REGISTRY)) == {
        MODEL: {"champion": "digest 1", "previous": "digest 2"}
    }


def test_a_promotion_that_was_overtaken_moves_nothing_and_says_so(three, pipeline):
    gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})
    gate.promote(three, "fer-vgg16/2", instead_of=1, decision={})

    with pytest.raises(gate.Overtaken, match="by now the champion is version 2"):
        gate.promote(three, "fer-vgg16/3", instead_of=1, decision={})

    assert versions.aliases(three, MODEL) == {"champion": 2, "previous": 1}
    assert ("promoted", 3) not in events(pipeline.root)


def test_a_second_promotion_at_the_same_time_names_the_process_of_the_first(three):
    me = f"process {os.getpid()} on {socket.gethostname()}"
    with mutex.lock(three, f"promotion-{MODEL}", "a promotion"), pytest.raises(gate.Overtaken, match=me):
        gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})
    assert versions.aliases(three, MODEL) == {}


def test_a_promotion_that_was_killed_is_completed_by_the_next(three, pipeline):
    gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})
    gate.promote(three, "fer-vgg16/2", instead_of=1, decision={})
    code = (
        "import os, signal; from mlflow import MlflowClient; from ferops.tracking import store\n"
        "from ferops.promotion import gate\n"
        "move = MlflowClient.set_registered_model_alias\n"
        "def killed(client, name, alias, version):\n"
        "    if alias == 'previous': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    move(client, name, alias, version)\n"
        "MlflowClient.set_registered_model_alias = killed\n"
        "gate.promote(store.connect(), 'fer-vgg16/3', instead_of=2, decision={'why': 'killed'})\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=pipeline.root, check=False)
    assert killed.returncode == -9
    assert versions.aliases(three, MODEL) == {"champion": 3, "previous": 1}

    with pytest.raises(gate.Overtaken, match="aliases have changed"):
        gate.rollback(three, MODEL)

    assert versions.aliases(three, MODEL) == {"champion": 3, "previous": 2}
    assert events(pipeline.root) == [("promoted", 1), ("promoted", 2), ("promoted", 3)]
    assert ledger.history(versions.resolve(three, "fer-vgg16/3"))[0]["decision"] == {"why": "killed"}
    assert [model.name for model in three.client.search_registered_models()] == [MODEL]
    assert gate.rollback(three, MODEL) == (2, 3)


def test_a_damaged_ledger_is_an_error_before_an_alias_is_set(three, pipeline):
    path = pipeline.root / ledger.REGISTRY
    path.parent.mkdir(exist_ok=True)
    path.write_text("<<<<<<< HEAD\n")

    with pytest.raises(ledger.BadLedger, match="line 1"):
        gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})

    assert versions.aliases(three, MODEL) == {}
    assert [model.name for model in three.client.search_registered_models()] == [MODEL]


def test_a_ledger_that_cannot_be_written_is_filled_later(three, pipeline):
    path = pipeline.root / ledger.REGISTRY
    path.parent.rename(pipeline.root / "aside")
    path.parent.write_text("in the way")

    with pytest.raises(ledger.LedgerNotWritten, match="MLflow has the event"):
        gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})

    path.parent.unlink()
    ledger.sync(three, path)
    assert events(pipeline.root) == [("promoted", 1)]


def test_the_lock_of_another_machine_is_taken_over_only_when_it_is_old(three, monkeypatch):
    name = f"fer.lock.promotion-{MODEL}.theirs"
    three.client.create_registered_model(name, {"process": "elsewhere 12 1700000000"})

    with pytest.raises(gate.Overtaken, match="process 12 on elsewhere"):
        gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})

    later = time.time() + 700
    monkeypatch.setattr(mutex.time, "time", lambda: later)
    gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})
    assert versions.aliases(three, MODEL) == {"champion": 1}
    assert [model.name for model in three.client.search_registered_models()] == [MODEL]


def test_a_lock_that_was_taken_over_is_not_released_by_its_old_holder(three, monkeypatch):
    def held() -> list[str]:
        return [model.name for model in three.client.search_registered_models("name LIKE 'fer.lock.%'")]

    old, new = (mutex.lock(three, "test", "a test") for _ in range(2))
    with old:
        (first,) = held()
        three.client.set_registered_model_tag(first, "process", "elsewhere 12 1700000000")
        later = time.time() + 700
        monkeypatch.setattr(mutex.time, "time", lambda: later)
        new.__enter__()
        (second,) = held()
    assert held() == [second] != [first]
    with pytest.raises(mutex.Busy), mutex.lock(three, "test", "a test"):
        pass
    new.__exit__(None, None, None)
    assert held() == []


def test_a_process_that_is_gone_is_not_running_and_this_one_is():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    name = processes.this_process().replace(f" {os.getpid()} ", f" {gone.pid} ")
    gone.wait()

    assert processes.is_running(processes.this_process())
    assert not processes.is_running(name)
    assert not processes.is_running("elsewhere 1 1700000000")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("fer-vgg16@winner", r"versions: 1, 2, 3; aliases: @champion \(version 1\)"),
        ("fer-vgg16/9", "versions: 1, 2, 3"),
        ("other@champion", "expected MODEL@ALIAS, MODEL/NUMBER or MODEL/DIGEST"),
        ("fer-vgg16", "expected MODEL@ALIAS"),
        ("fer-vgg16/99999999999", "versions: 1, 2, 3"),
    ],
)
def test_an_unknown_version_names_those_that_there_are(three, reference, message):
    gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})

    with pytest.raises(versions.UnknownVersion, match=message):
        versions.resolve(three, reference)


@pytest.mark.usefixtures("pipeline")
def test_an_empty_registry_says_how_it_is_filled():
    with pytest.raises(versions.UnknownVersion, match="ferops restore"):
        versions.resolve(store.connect(), "fer-vgg16@champion")
    with pytest.raises(gate.NothingToRollBack, match="no champion"):
        gate.rollback(store.connect(), MODEL)


def test_a_first_champion_cannot_be_rolled_back(three):
    gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})

    with pytest.raises(gate.NothingToRollBack, match="only champion"):
        gate.rollback(three, MODEL)


def test_a_version_without_its_run_or_its_predictions_is_a_clear_error(three):
    with pytest.raises(versions.MissingArtifact, match="lost its run"):
        versions.scored_version(three, "fer-vgg16/1")
    three.client.create_run(three.experiment_id, tags={"x-ferops.training": "training 1"})
    with pytest.raises(versions.MissingArtifact, match=r"no evaluation/predictions\.parquet"):
        versions.scored_version(three, "fer-vgg16/1")


def test_an_experiment_is_a_run_and_a_version_only_once_the_workspace_publishes_it(published, monkeypatch):
    from ferops.stages.publish import main

    monkeypatch.setenv("DVC_EXP_NAME", "trial")
    published.train(seed=1)
    main()
    opened = store.connect()
    assert versions.aliases(opened, MODEL) == {"challenger": 1}
    assert len(opened.client.search_model_versions(f"name = '{MODEL}'")) == 1
    assert len(opened.client.search_runs([opened.experiment_id])) == 2
    monkeypatch.delenv("DVC_EXP_NAME")

    main()
    main()

    assert versions.aliases(store.connect(), MODEL) == {"challenger": 2}
    assert events(published.root) == [("registered", 1), ("registered", 2)]
    assert published.registry()[1]["alias"] == "challenger"


def test_a_network_that_is_no_vgg_has_a_registered_model_of_its_own(published):
    from ferops.stages.publish import main

    published.train(seed=1)
    params.merge({"model": {"name": "lean_cnn", "weights": "none", "noise": 0.0, "frozen_blocks": 0}})
    main()

    opened = store.connect()
    assert [model.name for model in opened.client.search_registered_models()] == ["fer-lean-cnn", MODEL]
    assert versions.aliases(opened, "fer-lean-cnn") == versions.aliases(opened, MODEL) == {"challenger": 1}
    assert [line["model"] for line in published.registry()] == [MODEL, "fer-lean-cnn"]


def test_the_same_weights_from_another_training_are_the_same_version_reproduced(published):
    from ferops.stages.publish import main

    lock = published.root / "dvc.lock"
    lock.write_text(lock.read_text().replace("train.epochs: 3", "train.epochs: 30"))

    main()

    opened = store.connect()
    assert events(published.root) == [("registered", 1), ("reproduced", 1)]
    scored = versions.scored_version(opened, "fer-vgg16/1")
    assert scored.training == published.registry()[1]["training"] != published.registry()[0]["training"]
    assert len(opened.client.search_runs([opened.experiment_id])) == 2


def test_weights_that_the_ledger_knows_get_their_events_in_an_empty_store_and_its_number_in_their_description(
    published, lose_the_store
):
    from ferops.stages.publish import main

    published.train(seed=1)
    main()
    before = published.registry()
    lose_the_store()

    main()

    opened = store.connect()
    (version,) = opened.client.search_model_versions(f"name = '{MODEL}'")
    assert int(version.version) == 1, "an empty store begins with 1"
    assert "Version 2 in reports/registry.jsonl" in version.description
    assert ledger.history(version) == before[1:] and published.registry() == before
    main()
    assert store.connect().client.get_model_version(MODEL, "1").description == version.description


def test_a_training_that_the_ledger_has_is_no_new_event_in_an_empty_store(published, lose_the_store):
    from ferops.stages.publish import main

    lock = published.root / "dvc.lock"
    lock.write_text(lock.read_text().replace("train.epochs: 3", "train.epochs: 30"))
    main()
    before = published.registry()
    assert [line["event"] for line in before] == ["registered", "reproduced"]
    lose_the_store()

    main()

    assert published.registry() == before == ledger.history(versions.resolve(store.connect(), "fer-vgg16/1"))


def test_weights_that_another_clone_had_registered_are_reproduced(published, lose_the_store):
    from ferops.stages.publish import main

    (line,) = published.registry()
    lose_the_store()
    (published.root / ledger.REGISTRY).write_text(json.dumps({**line, "training": "theirs"}) + "\n")

    main()

    assert [(line["event"], line["training"]) for line in published.registry()] == [
        ("registered", "theirs"), ("reproduced", line["training"]),
    ]  # fmt: skip


def test_a_scored_version_has_its_metrics_and_its_predictions(published):
    scored = versions.scored_version(store.connect(), "fer-vgg16@challenger")

    assert (scored.version, scored.weights_digest) == (1, published.training["weights_digest"])
    assert scored.aliases == ("challenger",) and scored.metrics["val/accuracy"] == 0.6
    assert len(scored.predictions) == 140 and set(scored.predictions["split"]) == {"validation", "test"}


def test_events_that_the_file_lacks_come_from_the_store_in_order_and_once(three, pipeline):
    path = pipeline.root / ledger.REGISTRY
    gate.promote(three, "fer-vgg16/1", instead_of=None, decision={})
    gate.promote(three, "fer-vgg16/2", instead_of=1, decision={})
    before = path.read_text()
    path.unlink()

    ledger.sync(three, path)
    ledger.sync(three, path)

    assert path.read_text() == before


def test_lines_of_two_branches_are_read_in_order_and_once(tmp_path):
    lines = [{"time": float(n), "event": "promoted", "weights_digest": str(n), "version": n} for n in (2, 1, 2)]
    path = tmp_path / "registry.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    assert [line["version"] for line in ledger.lines(path)] == [1, 2]


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[1]", '{"time": 1}'])
def test_a_line_that_is_no_event_is_named(tmp_path, text):
    path = tmp_path / "registry.jsonl"
    path.write_text(f"\n{text}\n")

    with pytest.raises(ledger.BadLedger, match=r"registry\.jsonl: line 2"):
        ledger.lines(path)


def test_two_branches_of_the_ledger_merge_without_a_conflict(tmp_path):
    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=tmp_path, check=True, capture_output=True)

    path = tmp_path / ledger.REGISTRY
    path.parent.mkdir()
    root = Path(__file__).parents[2]
    (tmp_path / ".gitattributes").write_text((root / ".gitattributes").read_text())
    path.write_text("first\n")
    git("init", "-b", "main")
    git("add", "-A")
    git("commit", "-m", "first")
    for branch in ("mine", "theirs"):
        git("checkout", "-b", branch, "main")
        path.write_text(f"first\n{branch}\n")
        git("commit", "-am", branch)
    git("merge", "mine", "-m", "both")

    assert sorted(path.read_text().split()) == ["first", "mine", "theirs"]
