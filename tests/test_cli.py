from pathlib import Path

import pytest
from support import ROOT, Ferops, shell


def test_the_summary_shows_the_papers_three_counts(ferops: Ferops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = ferops("summary").out
    for count in ("14,883,399", "13,146,119", "1,737,280"):
        assert shown.count(count) >= 2, "ours and the paper's"
    assert "block5_conv3" in shown


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["data"],
        ["data", "use"],
        ["data", "show"],
        ["data", "extra"],
        ["weights", "shrink"],
        ["results"],
        ["summary"],
        ["card"],
    ],
)
def test_help_has_an_example(command: list[str], ferops: Ferops) -> None:
    done = ferops(*command, "--help")
    assert done.code == 0
    assert "Example" in done.out or command == ["data"]


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["dta"], 2, "dta"),
        (["results", "--verbose"], 2, "--verbose"),
        (["data", "use"], 2, "path"),
        (["data", "use", "nowhere.csv"], 1, "nowhere.csv"),
        (["data", "use", "README.md"], 1, "emotion, pixels and Usage"),
        (["data", "use", "README.md", "--recipe", "papper"], 1, "demo, gan_augmented, hog_linear"),
    ],
)
def test_a_mistake_has_an_exit_code_and_no_traceback(
    command: list[str], code: int, says: str, ferops: Ferops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    done = ferops(*command)
    assert done.code == code
    assert says in done.err.lower() if code == 2 else says in done.err


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["ferops", "data", "use", "nowhere.csv"], 1, "nowhere.csv"),
        (["python", "-m", "ferops.stages", "trane"], 2, "preprocess"),
        (["python", "-m", "ferops.stages"], 2, "preprocess"),
    ],
)
def test_a_process_ends_with_the_exit_code_and_no_traceback(command: list[str], code: int, says: str) -> None:
    done = shell(ROOT, *command, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_repository_commands_say_where_to_go(
    tmp_path: Path, ferops: Ferops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["results"], ["summary"], ["data", "use", "x.csv"], ["data", "show"]):
        done = ferops(*command)
        assert done.code == 1
        assert len(done.err.splitlines()) == 1
        assert "root" in done.err


def test_a_damaged_metrics_file_is_one_line_that_names_it(
    tmp_path: Path, ferops: Ferops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/val.json").write_text('{"accuracy": 0.')
    done = ferops("results")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "metrics/val.json" in done.err
