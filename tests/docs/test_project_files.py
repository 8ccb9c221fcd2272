"""The files that other programs read: editor, development container, pre-commit, Dependabot, citation, issue form."""

import json
import re
import subprocess
import tomllib
from typing import Any

import pytest
from ruamel.yaml import YAML
from support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTENSIONS = {"iterative.dvc", "ms-python.python", "charliermarsh.ruff"}


def from_yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text(encoding="utf-8"))


def from_json(name: str) -> Any:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def listed_targets() -> set[str]:
    """Return the targets that `make` alone prints, each with a description."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"^  make (\S+) +\S", done.stdout, flags=re.MULTILINE))


def phony_targets() -> set[str]:
    (line,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(line.split())


def make_commands() -> dict[str, str]:
    """File and place -> a command that calls make."""
    hooks = from_yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]
    steps = from_yaml(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    return {
        "devcontainer.json": from_json(".devcontainer/devcontainer.json")["postCreateCommand"],
        **{f"pre-commit: {hook['id']}": hook["entry"] for hook in hooks},
        **{f"ci.yml: {step['run']}": step["run"] for step in steps if "run" in step},
    }


def test_make_alone_prints_every_target_with_its_description() -> None:
    assert listed_targets() == phony_targets()


@pytest.mark.parametrize("place", make_commands())
def test_a_tool_calls_a_target_of_make(place: str) -> None:
    program, target = make_commands()[place].split()
    assert program == "make"
    assert target in phony_targets()


def test_pre_commit_runs_local_hooks_once_for_all_files() -> None:
    (repo,) = from_yaml(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["language"] == "system"
        assert hook["pass_filenames"] is False


def test_the_container_has_a_python_that_the_project_supports() -> None:
    container = from_json(".devcontainer/devcontainer.json")
    assert container["image"] == "mcr.microsoft.com/devcontainers/python:3.12"
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert set(container["customizations"]["vscode"]["extensions"]) == EXTENSIONS


def test_the_editor_recommends_the_extensions_of_the_container() -> None:
    assert set(from_json(".vscode/extensions.json")["recommendations"]) == EXTENSIONS


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = from_yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["title"].startswith(PROJECT["name"])
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == [{"name": "The ferops authors"}]
    (paper,) = citation["references"]
    assert paper["doi"] in (ROOT / "docs/paper.md").read_text(encoding="utf-8")


def test_dependabot_looks_at_python_and_at_the_actions_every_week() -> None:
    config = from_yaml(".github/dependabot.yml")
    assert config["version"] == 2
    assert {update["package-ecosystem"]: update["schedule"]["interval"] for update in config["updates"]} == {
        "pip": "weekly",
        "github-actions": "weekly",
    }
    assert all(update["directory"] == "/" for update in config["updates"])


def test_the_form_for_bugs_asks_for_steps_output_and_data() -> None:
    form = from_yaml(".github/ISSUE_TEMPLATE/bug.yml")
    assert {"name", "description", "body"} <= set(form)
    fields = {part["id"]: part for part in form["body"] if part["type"] != "markdown"}
    assert {"steps", "output", "data", "commit"} <= set(fields)
    assert all(part["attributes"]["label"] for part in fields.values())
    assert isinstance(from_yaml(".github/ISSUE_TEMPLATE/config.yml")["blank_issues_enabled"], bool)
