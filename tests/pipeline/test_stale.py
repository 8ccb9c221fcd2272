"""Editing a parameter makes exactly the stages stale that read it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from dvc.stage import PipelineStage
from ruamel.yaml import YAML
from support import ROOT, shell

from ferops import params

KEYS = params.flatten(params.load(ROOT / "params.yaml"))
STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

NOT_OF_A_STAGE = ("promotion.", "monitoring.")
"""Read outside the pipeline: a rule or bound that changed makes nothing stale."""


def readers(key: str) -> set[str]:
    """The stages that list a key or its section; tests/test_architecture.py compares the lists with the code."""
    found = {
        name
        for name, stage in STAGES.items()
        if any(key == listed or key.startswith(f"{listed}.") for listed in stage.get("params", []))
    }
    return {f"{name}@{what}" for name in found & {"validate"} for what in ("prepared", "augmented")} | (
        found - {"validate"}
    )


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}-other"


@pytest.fixture(scope="module")
def folder(repro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What DVC reads to find the stages whose parameters changed."""
    folder = tmp_path_factory.mktemp("stale")
    for name in (".dvc", "dvc.yaml", "dvc.lock", "params.yaml"):
        copy = shutil.copytree if (repro / name).is_dir() else shutil.copy
        copy(repro / name, folder / name, **({"ignore": shutil.ignore_patterns("cache")} if name == ".dvc" else {}))
    shell(folder, "git", "init", "-q")
    return folder


@pytest.mark.parametrize("key", KEYS)
def test_a_key_makes_the_stages_stale_that_read_it_and_no_other(
    key: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # names are relative to it
    yaml, file = YAML(), folder / "params.yaml"
    before = file.read_bytes()
    document = yaml.load(before)
    *sections, last = key.split(".")
    node = document
    for section in sections:
        node = node[section]
    node[last] = other(node[last])
    try:
        with file.open("w") as stream:
            yaml.dump(document, stream)
        with Repo(str(folder)) as repo:
            params_of = {
                stage.name: [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
                for stage in repo.index.stages
                if isinstance(stage, PipelineStage)
            }
            stale = {name for name, deps in params_of.items() if any(dep.status() for dep in deps)}
    finally:
        file.write_bytes(before)
    assert stale == readers(key)
    assert stale or key.startswith(NOT_OF_A_STAGE), "a parameter that nothing reads"
