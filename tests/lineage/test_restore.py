from pathlib import Path

import pytest
from rich.console import Console
from support import MODEL, Ferops, shell
from typer.testing import CliRunner

from ferops.cli import app
from ferops.commands.registry.restore import restore
from ferops.promotion import gate
from ferops.tracking.registry import ledger, versions
from ferops.tracking.store import Store


def state(store: Store) -> dict[str, object]:
    """All that a registry knows: versions with tags and runs, aliases, and every run's params, figures and files."""
    known = {
        version.version: (version.tags, version.description)
        for version in store.client.search_model_versions("name = 'fer-vgg16'")
    }
    runs = {}
    for run in store.client.search_runs([store.experiment_id]):
        points = {
            key: [(point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        files = {
            file.path
            for folder in ("training", "evaluation", "lineage")
            for file in store.client.list_artifacts(run.info.run_id, folder)
            if file.path != "lineage/uncommitted.diff"  # a commit has none
        }
        about = {key: run.data.tags.get(key) for key in ("mlflow.runName", "x-ferops.experiments", "x-ferops.facts")}
        times = (run.info.start_time, run.info.end_time, run.info.status)
        of = run.data.tags["x-ferops.training"]
        runs[of] = {"params": run.data.params, "points": points, "files": files, "tags": about, "times": times}
    return {"versions": known, "aliases": versions.aliases(store, MODEL), "runs": runs}


def forgetting_ids(known: dict) -> dict:
    """Without the ids that MLflow draws anew, which the descriptions link to."""
    return {**known, "versions": {number: tags for number, (tags, _) in known["versions"].items()}}


def assert_same(now: dict, before: dict) -> None:
    """Compared part by part, so that a failure names what is another."""
    assert {key: now[key] for key in ("versions", "aliases")} == {key: before[key] for key in ("versions", "aliases")}
    assert now["runs"].keys() == before["runs"].keys()
    for run, facts in before["runs"].items():
        for name, value in facts.items():
            assert now["runs"][run][name] == value, name


def restored(clone, console: Console) -> str:
    """What a restore that brought everything back has printed."""
    assert restore(console)
    return console.export_text()


def test_a_deleted_store_comes_back_as_it_was_and_a_second_restore_changes_nothing(clone, console) -> None:
    before = forgetting_ids(state(clone.store()))
    lines = (clone.root / ledger.REGISTRY).read_text()
    clone.lose_the_store()

    said = restored(clone, console)

    back = state(clone.store())
    assert_same(forgetting_ids(back), before)
    assert before["aliases"] == {"challenger": 3, "champion": 2, "previous": 1}
    assert f"fer-vgg16/2     restored from commit {clone.git('rev-parse', 'HEAD~1')[:12]}" in said
    assert "fer-vgg16/3     restored from experiment lr-1e-3" in said
    assert "fer-vgg16@champion      set on version 2" in said
    assert (clone.root / ledger.REGISTRY).read_text() == lines
    assert clone.git("status", "--porcelain") == ""
    assert clone.git("worktree", "list").count("\n") == 0

    again = restored(clone, console)

    assert state(clone.store()) == back
    assert again.count("exists already") == again.count("is on version") == 3

    assert clone.publish() == 2
    gate.rollback(clone.store(), MODEL, clone.root / ledger.REGISTRY)
    standing = versions.aliases(clone.store(), MODEL)
    assert standing == {"challenger": 3, "champion": 1, "previous": 2}, "a challenger is one only once"


def test_in_a_store_that_has_something_only_what_is_missing_comes_and_no_alias_or_number_moves(clone, console) -> None:
    clone.lose_the_store()
    kept = (clone.root / ledger.REGISTRY).read_text()
    (clone.root / ledger.REGISTRY).unlink()
    assert clone.publish() == 1, "without its ledger it begins anew"
    store = clone.store()
    for alias in ("champion", "previous"):
        store.client.set_registered_model_alias("fer-vgg16", alias, 1)
    (clone.root / ledger.REGISTRY).write_text("".join(line for line in kept.splitlines(True) if "lr-1e-3" not in line))
    said = restored(clone, console)
    assert "fer-vgg16/2     restored from commit" in said
    assert "as version 1" in said, "the store's number stays"
    assert "fer-vgg16/1     restored from commit" in said
    assert "as version 2" in said
    assert versions.aliases(store, MODEL) == {"challenger": 1, "champion": 1, "previous": 1}
    events = ledger.history(versions.resolve(store, "fer-vgg16/1"))
    assert [event["event"] for event in events] == ["registered", "promoted", "registered"]
    assert "Version 1 in reports/registry.jsonl" in versions.resolve(store, "fer-vgg16/2").description


def test_weights_or_commits_that_are_gone_are_named_and_the_others_come_back(clone) -> None:
    (md5,) = [out["md5"] for out in clone.lock("HEAD~2:dvc.lock")["train"]["outs"] if out["path"].endswith(".keras")]
    (clone.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    clone.git("update-ref", "-d", clone.experiment("lr-1e-3"))
    clone.lose_the_store()
    done = CliRunner().invoke(app, ["restore"])
    assert done.exit_code == 1
    said = " ".join(done.stdout.split())
    assert "fer-vgg16/1 cannot be restored: models/core.keras: neither in DVC's cache nor in a default remote" in said
    assert "fer-vgg16/3 cannot be restored: no commit, no DVC experiment and not the workspace holds" in said
    assert "fer-vgg16@previous not set: its weights" in said
    assert versions.aliases(clone.store(), MODEL) == {"champion": 1}
    assert list(state(clone.store())["versions"]) in ([1], ["1"])


def test_a_commit_whose_metrics_are_not_those_of_its_dvc_lock_is_not_restored(new, console) -> None:
    (new.root / "metrics/val.json").write_text('{"accuracy": 0.99, "accuracy_interval": [0.9, 1.0]}')
    new.commit("figures that nobody measured")
    new.lose_the_store()
    assert not restore(console)
    assert "its commit has another metrics/val.json than its dvc.lock names" in console.export_text()
    assert versions.aliases(new.store(), MODEL) == {}


def test_the_workspace_is_used_where_nothing_is_committed_and_the_clone_was_moved(new, console, monkeypatch) -> None:
    before = forgetting_ids(state(new.store()))
    status = new.git("status", "--porcelain")
    new.root = new.root.rename(new.root.with_name("moved"))
    monkeypatch.chdir(new.root)
    new.lose_the_store()
    assert "fer-vgg16/1     restored from the workspace" in restored(new, console)
    assert_same(forgetting_ids(state(new.store())), before)
    assert new.git("status", "--porcelain") == status


def test_the_lock_says_what_the_parameters_were_even_in_a_commit_of_another_time(new, console) -> None:
    before = forgetting_ids(state(new.store()))
    text = (new.root / "params.yaml").read_text()
    (new.root / "params.yaml").write_text(text.replace("epochs: 3", "epochs: 99") + "section_of_old:\n  key: 1\n")
    new.commit("parameters for the next training, that today's ferops does not know")
    new.git("checkout", "-q", "HEAD~1", "params.yaml")
    new.lose_the_store()
    restored(new, console)
    (run,) = state(new.store())["runs"].values()
    (old,) = before["runs"].values()
    assert {key: float(run["params"][key]) for key in ("train.epochs", "augment.warp.rotation")} == {
        key: float(old["params"][key]) for key in ("train.epochs", "augment.warp.rotation")
    }


def test_a_restore_that_was_cut_off_goes_on(new, console, monkeypatch) -> None:
    before = forgetting_ids(state(new.store()))
    new.commit("first")
    new.lose_the_store()

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ferops.tracking.record.evaluated", cut)
        with pytest.raises(KeyboardInterrupt):
            restore(console)
    assert not list((new.root / ".dvc/tmp/ferops").iterdir())
    assert "fer-vgg16/1     restored from" in restored(new, console)
    assert_same(forgetting_ids(state(new.store())), before)


def test_a_second_clone_with_an_empty_cache_gets_the_files_from_the_remote(new, console, monkeypatch) -> None:
    before = forgetting_ids(state(new.store()))
    shell(new.root, "dvc", "remote", "add", "-q", "-d", "store", "../store")
    new.commit("first, and a remote")
    shell(new.root, "dvc", "push", "-q")
    new.root = Path(shell(new.root, "git", "clone", "-q", ".", "../elsewhere") and new.root.with_name("elsewhere"))
    monkeypatch.chdir(new.root)
    restored(new, console)
    assert_same(forgetting_ids(state(new.store())), before)
    assert not (new.root / "models/core.keras").exists(), "the workspace is as it was"


def test_weights_of_two_trainings_are_restored_from_the_one_that_is_left(new, console) -> None:
    new.commit("first")
    text = (new.root / "dvc.lock").read_text()
    (code,) = [dep["md5"] for dep in new.lock()["train"]["deps"] if dep["path"] == "src/model/network.py"]
    (new.root / "dvc.lock").write_text(text.replace(code, "f" * 32))
    assert new.publish() == 1
    new.commit("a comment, and the same weights")
    events = ledger.lines(new.root / ledger.REGISTRY)
    assert [event["event"] for event in events] == ["registered", "reproduced"]
    new.git("checkout", "-q", "--orphan", "rewritten")
    new.commit("all of it in one commit")
    new.git("branch", "-q", "-D", "main")
    new.lose_the_store()
    assert "restored from" in restored(new, console)
    assert ledger.history(versions.resolve(new.store(), "fer-vgg16/1")) == events
    assert ledger.lines(new.root / ledger.REGISTRY) == events


def test_an_empty_ledger_and_a_damaged_one_are_one_line(new, console, ferops: Ferops) -> None:
    (new.root / ledger.REGISTRY).write_text("")
    assert "names no version: there is nothing to restore" in restored(new, console)
    (new.root / ledger.REGISTRY).write_text("{}\n")
    done = ferops("restore")
    assert done.code == 1
    assert done.err.startswith("ferops: reports/registry.jsonl: line 1 is not an event")
    assert done.err.count("\n") == 1
