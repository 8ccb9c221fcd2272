import pytest
from support import ROOT, shell


def test_the_summary_shows_the_papers_three_counts() -> None:
    shown = shell(ROOT, "ferops", "summary").stdout
    for count in ("14,883,399", "13,146,119", "1,737,280"):
        assert shown.count(count) >= 2, "ours and the paper's"
    assert "block5_conv3" in shown


@pytest.mark.parametrize(
    "command",
    [[], ["data"], ["data", "use"], ["data", "show"], ["data", "extra"], ["weights", "fold"], ["results"], ["summary"]],
)
def test_help_has_an_example(command: list[str]) -> None:
    done = shell(ROOT, "ferops", *command, "--help")
    assert "Example" in done.stdout or command == ["data"]


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["ferops", "dta"], 2, "dta"),
        (["ferops", "results", "--verbose"], 2, "--verbose"),
        (["ferops", "data", "use"], 2, "path"),
        (["ferops", "data", "use", "nowhere.csv"], 1, "nowhere.csv"),
        (["ferops", "data", "use", "README.md"], 1, "emotion, pixels and Usage"),
        (["ferops", "data", "use", "README.md", "--recipe", "papper"], 1, "demo, gan_augmented, hog_linear"),
        (["python", "-m", "ferops.stages", "trane"], 2, "preprocess"),
        (["python", "-m", "ferops.stages"], 2, "preprocess"),
    ],
)
def test_a_mistake_has_an_exit_code_and_no_traceback(command: list[str], code: int, says: str) -> None:
    done = shell(ROOT, *command, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_repository_commands_say_where_to_go(tmp_path) -> None:
    for command in (["results"], ["summary"], ["data", "use", "x.csv"], ["data", "show"]):
        done = shell(tmp_path, "ferops", *command, check=False)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "root" in done.stderr


def test_a_damaged_metrics_file_is_one_line_that_names_it(tmp_path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/val.json").write_text('{"accuracy": 0.')
    done = shell(tmp_path, "ferops", "results", check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "metrics/val.json" in done.stderr
