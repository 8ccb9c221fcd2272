"""The stage: files in, files out, exit status."""

import json
import re
import subprocess
import sys
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ferops.labels import NAMES, OFFICIAL_COUNTS
from ferops.quality.reports import BadReport
from ferops.quality.validation import GateFailed
from ferops.stages import __main__ as stages
from ferops.stages.validate import BadManifest, validate


def spoil(repository: Path) -> None:
    path = repository / "data/prepared/manifest.parquet"
    manifest = pd.read_parquet(path)
    manifest.loc[5, "label"] = 7
    manifest.to_parquet(path)


def charts(repository: Path, gate: str) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """The page's charts by title, their rows by class: percentages as written, lengths of the bars from 0 to 1."""
    index = (repository / f"reports/validate/{gate}/docs/index.html").read_text()
    _, *sections = index.split("<h3>")
    found = {}
    for section in sections:
        title, rest = section.split("</h3>", 1)
        rows = re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', rest, re.DOTALL)
        found[title] = {
            name: (
                [float(text) for text in re.findall(r"<td>([\d.]+)%</td>", row)],
                [float(text) for text in re.findall(r"--share: ([\d.]+)", row)],
            )
            for name, row in rows
        }
    return found


@pytest.mark.parametrize("what", ["prepared", "augmented"])
def test_passing_writes_a_gate_that_says_what_passed(validated, what):
    gate = json.loads((validated / f"data/gates/{what}.json").read_text())
    assert (gate["gate"], gate["passed"], len(gate["digest"])) == (what, True, 64)
    record = json.loads((validated / f"reports/validate/{what}/validation.json").read_text())
    assert record["passed"] and record["failed"] == 0 and record["great_expectations"] and record["time"]
    assert {"name", "subject", "split", "passed", "expected", "observed"} == set(record["checks"][0])


def test_the_docs_name_their_suites_and_fetch_nothing(validated):
    docs = validated / "reports/validate/prepared/docs"
    index = (docs / "index.html").read_text()
    pages = list(docs.rglob("*.html"))
    assert len(pages) > 3
    for suite in ("prepared-images", "prepared-splits", "prepared-report"):
        assert suite in index
    for link in index.split('href="')[1:]:
        assert (docs / link.split('"')[0]).is_file()
    for page in pages:
        html = page.read_text()
        assert not any(fetched in html for fetched in ("<script", "<link", "<img", "@import", "url("))


def test_the_docs_show_every_check_in_full(validated):
    record = json.loads((validated / "reports/validate/prepared/validation.json").read_text())
    index = (validated / "reports/validate/prepared/docs/index.html").read_text()
    for check in record["checks"]:
        cells = [check["name"], check["split"] or "", check["expected"], check["observed"]]
        assert re.search(r"\s*".join(f"<td>{re.escape(escape(cell))}</td>" for cell in cells), index), cells


def test_the_bars_of_the_splits_are_the_manifests(validated):
    labels = pd.read_parquet(validated / "data/prepared/manifest.parquet").set_index("split")["label"]
    official = np.sum(list(OFFICIAL_COUNTS.values()), axis=0) / 35887
    found = charts(validated, "prepared")
    assert list(found) == ["train", "validation", "test"]
    for split, rows in found.items():
        assert list(rows) == list(NAMES)
        own, others = (chosen.value_counts(normalize=True) for chosen in (labels[split], labels[labels.index != split]))
        for code, (texts, lengths) in enumerate(rows.values()):
            shares = [own[code], others[code], official[code]]
            assert texts == pytest.approx([100 * share for share in shares], abs=0.05)
            assert lengths == pytest.approx([texts[place] / max(texts) * max(lengths) for place in range(3)], abs=0.01)
    assert max(max(lengths) for rows in found.values() for _, lengths in rows.values()) == 1


def test_each_split_has_its_distances_and_their_bound_beside_the_bars(validated):
    index = (validated / "reports/validate/prepared/docs/index.html").read_text()
    record = json.loads((validated / "reports/validate/prepared/validation.json").read_text())
    near = [check for check in record["checks"] if check["name"].startswith("class shares")]
    assert len(near) == 6
    for check in near:
        section = index.split(f"<h3>{check['split']}</h3>")[1].split("</section>")[0]
        assert f"{check['name']}: {check['observed']} <small>{check['expected']}</small>" in section


def test_the_bars_of_the_augmented_data_are_the_training_sets_before_and_after(validated):
    report = json.loads((validated / "data/augmented/report.json").read_text())
    (rows,) = charts(validated, "augmented").values()
    assert [texts for texts, _ in rows.values()] == [
        pytest.approx([100 * after / sum(report["after"]), 100 * before / sum(report["before"]), 10], abs=0.05)
        for after, before in zip(report["after"], report["before"], strict=True)
    ]


@pytest.mark.parametrize(
    "broken",
    [
        lambda manifest: manifest.drop(columns="label"),
        lambda manifest: manifest.drop(columns="split"),
        lambda manifest: manifest.assign(label="contempt"),
        lambda manifest: manifest[:0],
    ],
    ids=["no labels", "no splits", "unknown classes", "no images"],
)
def test_a_broken_manifest_has_bars_of_no_length(repository, broken):
    path = repository / "data/prepared/manifest.parquet"
    broken(pd.read_parquet(path)).to_parquet(path)
    for gate in ("prepared", "augmented"):
        with pytest.raises(GateFailed):
            validate(gate)
    for rows in charts(repository, "prepared").values():
        assert [texts[:2] for texts, _ in rows.values()] == [[0, 0]] * 7
    (rows,) = charts(repository, "augmented").values()
    assert [texts[1] for texts, _ in rows.values()] == [0] * 7


def test_validating_again_gives_the_same_gate_and_fresh_docs(validated):
    gate = (validated / "data/gates/prepared.json").read_bytes()
    stale = validated / "reports/validate/prepared/docs/stale.html"
    stale.write_text("")
    validate("prepared")
    assert (validated / "data/gates/prepared.json").read_bytes() == gate
    assert not stale.exists()


def test_the_gate_follows_the_data(validated):
    gate = (validated / "data/gates/prepared.json").read_bytes()
    path = validated / "data/prepared/manifest.parquet"
    manifest = pd.read_parquet(path)
    manifest.loc[0, "mean"] += 1
    manifest.to_parquet(path)
    validate("prepared")
    assert (validated / "data/gates/prepared.json").read_bytes() != gate


def test_failing_exits_with_1_prints_what_failed_and_takes_the_old_gate_away(repository, monkeypatch, capsys):
    gate = repository / "data/gates/prepared.json"
    gate.parent.mkdir(parents=True)
    gate.write_text("{}")
    spoil(repository)
    # in this process: Great Expectations takes ten seconds to import
    monkeypatch.setattr(stages, "guard_stage", lambda: None)
    monkeypatch.setattr(sys, "argv", ["ferops.stages", "validate", "prepared"])
    with pytest.raises(SystemExit) as exit_:
        stages.main()
    (failed,) = capsys.readouterr().err.splitlines()
    assert failed == "known labels: expected a code from 0 to 6; observed 1 of 1,797 rows: 7 (row 5)"
    assert str(exit_.value.code).startswith("validate: prepared: 1 of ")  # sys.exit prints it and exits with 1
    assert not gate.exists()
    reports = repository / "reports/validate/prepared"
    record = json.loads((reports / "validation.json").read_text())
    assert [check["name"] for check in record["checks"] if not check["passed"]] == ["known labels"]
    assert "known labels" in (reports / "docs/index.html").read_text()


def test_mending_the_data_after_a_failure_passes(repository):
    path = repository / "data/prepared/manifest.parquet"
    good = path.read_bytes()
    spoil(repository)
    with pytest.raises(GateFailed, match=r"^prepared: 1 of \d+ checks failed; see "):
        validate("prepared")
    path.write_bytes(good)
    validate("prepared")
    assert (repository / "data/gates/prepared.json").exists()


@pytest.mark.parametrize("arguments", [["augment"], []])
def test_a_wrong_argument_is_one_line_and_exit_2(repository, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ferops.stages", "validate", *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr == f"validate: expected one argument, prepared or augmented; found {arguments}\n"


def test_data_that_cannot_be_read_are_named(repository):
    report = repository / "data/prepared/report.json"
    report.write_text('{"dataset": "sample", "split": "official", "read": {"train": [1]}}')
    with pytest.raises(BadReport, match=r"report\.json: read\.train: "):
        validate("prepared")
    report.unlink()
    with pytest.raises(BadReport, match=r"report\.json is missing"):
        validate("prepared")
    manifest = repository / "data/prepared/manifest.parquet"
    manifest.write_text("no parquet")
    with pytest.raises(BadManifest, match=r"manifest\.parquet is not a parquet file"):
        validate("prepared")
    manifest.unlink()
    with pytest.raises(BadManifest, match=r"manifest\.parquet is missing"):
        validate("prepared")
