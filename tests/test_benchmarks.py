"""What `make bench` measures and writes: ways by turns, and a page that has the figures of its last run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import benchmark

measure, report = benchmark("measure"), benchmark("report")
RESULTS = json.loads(report.RESULTS.read_text(encoding="utf-8"))
FLAGS = ["avx2"]


EVERY_SETTING = """
import importlib, sys
from pathlib import Path
from typing import get_args
sys.path.insert(0, "benchmarks")
scripts = {path.stem: importlib.import_module(path.stem) for path in Path("benchmarks").glob("*.py")}
for recipe in Path("recipes").glob("*.yaml"):
    scripts["training"].settings(recipe.stem)
for system in get_args(scripts["inference"].params.SystemName):
    scripts["inference"].untrained(system)
"""


def test_every_script_starts_and_its_settings_are_accepted() -> None:
    # in a process of its own: some have the names of packages of tests/
    done = subprocess.run([sys.executable, "-c", EVERY_SETTING], cwd=report.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


TABLES = """
import importlib, json, sys
sys.path.insert(0, "benchmarks")
script, report = importlib.import_module(sys.argv[1]), importlib.import_module("report")
results = json.loads(script.RESULTS.read_text(encoding="utf-8"))
assert report.shown(script.BEGIN, getattr(script, "PAGE", None)) == script.rendered(results)
"""


@pytest.mark.parametrize("script", ["report", "inference", "growth", "accuracy", "robustness", "generated_faces"])
def test_the_page_has_the_figures_of_the_last_run(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", TABLES, script], cwd=report.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_last_run_tells_the_machine_and_how_busy_it_was() -> None:
    assert {"processor", "cores", "flags", "versions", "commit", "load", "load_after"} <= RESULTS["machine"].keys()


LEADS = [
    ("`fer2013.csv` to arrays", 7.5),
    ("median filter 3x3", 21),
    ("augmented copy", 57),
    ("arrays from the disk", 80),
    ("training step, the paper's network", 1.7),
    ("training step, the paper's network", 2.2),
    ("one image, p50", 5),
    ("one image, p50", 29),
]
"""The best ratio seen anywhere, by how the line on that work begins."""


@pytest.mark.parametrize(("work", "lead"), LEADS)
def test_the_last_run_has_a_line_for_each_lead(work: str, lead: float) -> None:
    assert [line for line in RESULTS["lines"] if line["work"].startswith(work) and line["lead"] == lead]


def test_ways_take_turns() -> None:
    turns: list[str] = []
    measure.compare({"usual": lambda: turns.append("usual"), "ours": lambda: turns.append("ours")}, rounds=3)
    assert turns == ["usual", "ours"] * 3


def test_a_ratio_is_that_of_one_turn() -> None:
    # other work makes each turn slower than the one before, and the ratio is 3 in all
    assert measure.ratio([3.0, 30.0, 300.0], [1.0, 10.0, 100.0]) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("needs", "reached"), [("", "75%"), ("avx2", "75%"), ("avx512_bf16", "75%, without avx512_bf16")]
)
def test_a_row_tells_the_share_of_the_lead_and_what_the_processor_lacks_for_it(needs: str, reached: str) -> None:
    line = measure.Line("reading", "pandas", "streamed", "s", [24.0, 24.0], [4.0, 4.0], 8, 0.5, needs)
    row = ["reading", "pandas", "24 s", "streamed", "4 s", "**6** (6-6)", "8", reached, "0.5 s"]
    assert report.cells(line.as_json(), FLAGS) == row


def test_a_line_without_a_usual_way_has_its_time_alone() -> None:
    line = measure.Line("`ferops --help`", "", "", "s", [], [0.1, 0.1])
    assert report.cells(line.as_json(), FLAGS) == ["`ferops --help`", "", "", "", "0.1 s", "", "", "", ""]


def test_what_is_written_again_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, plot = tmp_path / "performance.md", tmp_path / "performance.png"
    page.write_text(f"above\n{report.BEGIN}{report.END}below\n", encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PLOT", plot)
    for _ in range(2):
        report.main()
        assert page.read_text(encoding="utf-8") == f"above\n{report.BEGIN}{report.rendered(RESULTS)}{report.END}below\n"
    assert plot.read_bytes().startswith(b"\x89PNG")
