"""`ferops promote` and `ferops rollback` over a real SQLite store."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import registered
from registered import BETTER, ELSEWHERE, GOOD, LOST, OLD, POOR, WORSE
from support import MODEL, Answer, Ferops

from ferops.promotion import gate, rules
from ferops.tracking import mutex, store
from ferops.tracking.registry import ledger, versions


class Clone(registered.Clone):
    """A clone with its store, and the commands in it."""

    def __init__(self, root: Path, ferops: Ferops) -> None:
        super().__init__(root)
        self.ferops = ferops


@pytest.fixture
def clone(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ferops: Ferops) -> Clone:
    """A clone of its own, which is the working directory."""
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    root = Path(shutil.copytree(shelf, tmp_path / "clone"))
    (root / ".dvc").mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "80")
    return Clone(root, ferops)


def test_the_first_promotion_needs_no_champion(clone: Clone) -> None:
    clone.alias(challenger=WORSE)

    done = clone.ferops("promote")

    assert done.code == 0
    assert "`tolerance` is not checked" in done.out
    assert f"promoted  fer-vgg16 version {WORSE} is champion" in done.out
    assert clone.aliases() == {"challenger": WORSE, "champion": WORSE}
    [event] = clone.events()
    assert (event["event"], event["version"], event["alias"], event["previous"]) == (
        "promoted",
        WORSE,
        "champion",
        None,
    )
    assert event["weights_digest"] == f"digest {WORSE}"
    assert event["decision"]["promoted"] is True
    assert event["decision"]["against"] is None


def test_floors_refuse_a_first_champion_too(clone: Clone) -> None:
    clone.alias(challenger=POOR)

    done = clone.ferops("promote")

    assert done.code == 1
    assert "there still is no champion" in done.out
    assert "accuracy 0.3000 is below 0.5" in done.out
    assert "champion" not in clone.aliases()


def test_a_better_challenger_becomes_champion_and_the_old_one_previous(clone: Clone) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)

    done = clone.ferops("promote")

    assert done.code == 0
    assert f"promoted  fer-vgg16 version {BETTER} is champion, version {GOOD} `previous`" in done.out
    assert clone.aliases() == {"challenger": BETTER, "champion": BETTER, "previous": GOOD}
    [event] = clone.events()
    assert (event["event"], event["version"], event["previous"]) == ("promoted", BETTER, GOOD)
    assert event["decision"]["difference"] == 0.1
    assert event["decision"]["against"] == f"{MODEL}/{GOOD}"


def test_a_worse_one_is_refused_with_the_reason_and_the_champion_stays(clone: Clone) -> None:
    clone.alias(challenger=WORSE, champion=GOOD)

    done = clone.ferops("promote")

    assert done.code == 1
    assert f"refused   fer-vgg16 version {WORSE}: version {GOOD} stays champion" in done.out
    assert "the accuracy minus the champion's may be as low as -0.1" in done.out
    assert clone.aliases() == {"challenger": WORSE, "champion": GOOD}
    [event] = clone.events()
    assert (event["event"], event["version"], event["alias"]) == ("refused", WORSE, None)
    assert len(event["decision"]["reasons"]) == 1
    assert event["decision"]["reasons"][0] in done.out


def test_the_table_reads_at_80_columns_and_shows_both_networks(clone: Clone) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)

    out = clone.ferops("promote").out

    assert max(map(len, out.splitlines())) <= 80
    rows = {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}
    assert rows["floors.accuracy"] == [">=", "0.5", "0.7000", "0.8000", "ok"]
    assert rows["min_class_recall"][-1] == "ok"
    assert re.search(r"tolerance +> -0.01 +0\.0\d+ +ok", out)
    assert "accuracy  +0.1000 against the champion, 95% interval +0.0" in out
    assert "McNemar's p" in out
    assert rows["champion"] == ["accuracy", "0.6543,", "f1_macro", "0.5000"]
    assert rows["challenger"] == ["closed"]


def test_the_rules_are_those_of_params_yaml(clone: Clone) -> None:
    clone.alias(challenger=BETTER)
    text = (clone.root / "params.yaml").read_text()
    assert "    accuracy: 0.5\n" in text
    (clone.root / "params.yaml").write_text(text.replace("    accuracy: 0.5\n", "    accuracy: 0.9\n"))

    done = clone.ferops("promote")

    assert done.code == 1
    assert "accuracy 0.8000 is below 0.9" in done.out


def test_a_challenger_that_is_champion_already_changes_and_records_nothing(clone: Clone) -> None:
    clone.alias(challenger=GOOD, champion=GOOD)

    done = clone.ferops("promote")

    assert done == Answer(0, f"fer-vgg16 version {GOOD} is champion already: there is nothing to decide\n", "")
    assert clone.aliases() == {"challenger": GOOD, "champion": GOOD}
    assert clone.events() == []


def test_any_version_can_be_named_by_number_or_alias(clone: Clone) -> None:
    clone.alias(champion=WORSE, candidate=BETTER)

    assert clone.ferops("promote", f"fer-vgg16/{GOOD}").code == 0
    assert clone.aliases()["champion"] == GOOD
    assert clone.ferops("promote", "fer-vgg16@candidate").code == 0
    assert clone.aliases()["champion"] == BETTER


def test_rollback_brings_the_champion_before_back_and_a_second_one_undoes_it(clone: Clone) -> None:
    clone.alias(challenger=BETTER, champion=GOOD)
    clone.ferops("promote")

    done = clone.ferops("rollback")

    assert done.code == 0
    assert done.out == (f"rolled back: fer-vgg16 version {GOOD} is champion; it was version {BETTER}, now `previous`\n")
    assert clone.aliases() == {"challenger": BETTER, "champion": GOOD, "previous": BETTER}
    promoted, back = clone.events()
    assert (back["event"], back["version"], back["alias"], back["previous"]) == (
        "rolled back",
        GOOD,
        "champion",
        BETTER,
    )
    assert promoted["event"] == "promoted"
    clone.ferops("rollback")
    assert clone.aliases()["champion"] == BETTER


@pytest.mark.parametrize("standing", [{}, {"champion": GOOD}])
def test_without_a_champion_before_there_is_nothing_to_roll_back_to(clone: Clone, standing: dict[str, int]) -> None:
    clone.alias(**standing)

    done = clone.ferops("rollback")

    assert done.code == 1
    assert "champion" in done.err
    assert len(done.err.splitlines()) == 1
    assert clone.aliases() == standing
    assert clone.events() == []


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ((), "fer-vgg16@challenger: there is none"),
        (("fer-vgg16@chalenger",), "aliases: @champion (version 1)"),
        (("fer-vgg16/99",), "versions: 1, 2, 3"),
        (("vgg16@champion",), "a version is named as in fer-vgg16@challenger or fer-vgg16/3"),
        (("3",), "a version is named as in fer-vgg16@challenger or fer-vgg16/3"),
    ],
)
def test_a_version_that_is_not_there_is_one_line_with_what_is(
    clone: Clone, reference: tuple[str, ...], says: str
) -> None:
    clone.alias(champion=GOOD)

    done = clone.ferops("promote", *reference)

    assert (done.code, done.out) == (1, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert clone.events() == []


def test_an_empty_registry_is_one_line_with_what_fills_it(clone: Clone) -> None:
    (clone.root / "mlflow.db").unlink()

    done = clone.ferops("promote")

    assert done.code == 1
    assert "dvc repro" in done.err
    assert len(done.err.splitlines()) == 1


def test_networks_measured_on_different_images_are_not_compared(clone: Clone) -> None:
    clone.alias(challenger=ELSEWHERE, champion=GOOD)

    done = clone.ferops("promote")

    assert done.code == 1
    assert "measured on different validation images: 600 and 700, 600 in common" in done.out
    assert "not compared with the champion: the validation images differ" in done.out
    assert clone.aliases()["champion"] == GOOD
    [event] = clone.events()
    assert event["event"] == "refused"
    assert event["decision"]["promoted"] is False
    assert event["decision"]["against"] == f"{MODEL}/{GOOD}"
    assert "600 in common" in event["decision"]["reasons"][0]


@pytest.mark.parametrize("standing", [{"challenger": LOST, "champion": GOOD}, {"challenger": GOOD, "champion": LOST}])
def test_predictions_that_are_gone_are_one_line_that_names_the_version(clone: Clone, standing: dict[str, int]) -> None:
    clone.alias(**standing)

    done = clone.ferops("promote")

    assert (done.code, done.out) == (1, "")
    assert f"fer-vgg16 version {LOST} has no evaluation/predictions.parquet" in done.err
    assert len(done.err.splitlines()) == 1
    assert clone.aliases() == standing
    assert clone.events() == []


def test_predictions_of_an_older_ferops_are_one_line_with_the_way_out(clone: Clone) -> None:
    clone.alias(challenger=OLD, champion=GOOD)

    done = clone.ferops("promote")

    assert (done.code, done.out) == (1, "")
    assert "the challenger's predictions.parquet has no column hash" in done.err
    assert "dvc repro" in done.err
    assert len(done.err.splitlines()) == 1


def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.alias(challenger=BETTER, champion=WORSE)
    decide = rules.decide

    def decide_while_another_wins(*args: Any, **options: Any) -> rules.Decision:
        gate.promote(clone.opened, f"{MODEL}/{GOOD}", instead_of=WORSE, decision={}, path=clone.root / ledger.REGISTRY)
        return decide(*args, **options)

    monkeypatch.setattr(rules, "decide", decide_while_another_wins)

    done = clone.ferops("promote")

    assert (done.code, done.out) == (1, "")
    assert f"version {BETTER} was compared with version {WORSE}" in done.err
    assert f"the champion is version {GOOD}" in done.err
    assert clone.aliases() == {"challenger": BETTER, "champion": GOOD, "previous": WORSE}
    assert [event["version"] for event in clone.events()] == [GOOD]


def test_registered_models_have_champions_of_their_own_and_are_compared_only_when_asked(clone: Clone) -> None:
    lean, client = "fer-lean-cnn", clone.opened.client
    client.create_registered_model(lean)
    one = client.get_model_version(MODEL, str(GOOD))
    client.create_model_version(lean, one.source, one.run_id, tags=one.tags)
    clone.alias(champion=BETTER)

    refused = clone.ferops("promote", f"{lean}/1", "--against", f"{MODEL}@champion")
    assert refused.code == 1
    assert f"{MODEL}/{BETTER}" in refused.out
    assert "there still is no champion" in refused.out

    assert clone.ferops("promote", f"{lean}/1").code == 0, "it has no champion of its own to compare with"
    assert versions.aliases(clone.opened, lean) == {"champion": 1}
    assert clone.aliases() == {"champion": BETTER}


def test_a_promotion_under_way_is_not_disturbed(clone: Clone) -> None:
    clone.alias(challenger=BETTER, champion=GOOD, previous=WORSE)

    with mutex.lock(clone.opened, f"promotion-{MODEL}", "a promotion"):
        for command in ("promote", "rollback"):
            done = clone.ferops(command)
            assert (done.code, done.out) == (1, "")
            assert f"a promotion is under way: process {os.getpid()}" in done.err
    assert clone.aliases() == {"challenger": BETTER, "champion": GOOD, "previous": WORSE}
    assert clone.events() == []
    assert clone.ferops("promote").code == 0


READER = """
import sys
from pathlib import Path
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

client, stop, seen, missing = MlflowClient(sys.argv[1]), Path("stop"), [], 0
while not stop.exists():
    try:
        seen.append(int(client.get_model_version_by_alias("fer-vgg16", "champion").version))
    except MlflowException:
        missing += 1
    Path("reading").touch()
print(len(seen), missing, *sorted(set(seen)))
"""


def test_the_champion_is_never_missing_while_it_changes_a_hundred_times(clone: Clone) -> None:
    clone.alias(champion=GOOD)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, store.tracking_uri()], cwd=clone.root, stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (clone.root / "reading").exists():
            assert reader.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = GOOD
        for turn in range(100):
            after = BETTER if turn % 2 == 0 else GOOD
            gate.promote(
                clone.opened, f"{MODEL}/{after}", instead_of=before, decision={}, path=clone.root / ledger.REGISTRY
            )
            before = after
    finally:
        (clone.root / "stop").touch()
        out, _ = reader.communicate(timeout=60)
    read, missing, *seen = map(int, out.split())

    assert missing == 0
    assert read > 100
    assert seen == [GOOD, BETTER]
    assert len(clone.events()) == 100


def test_outside_a_repository_nothing_is_made(tmp_path: Path, clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    for command in ("promote", "rollback"):
        done = clone.ferops(command)
        assert done.code == 1
        assert "params.yaml is missing; run this in the repository's root" in done.err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_help_has_an_example(clone: Clone, command: str) -> None:
    assert f"ferops {command}" in clone.ferops(command, "--help").out.partition("Example")[2]
