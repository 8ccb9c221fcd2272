"""Users' own settings of other programs: none changes what ferops does, and what is missing is one line."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, shell

from ferops.machine import git
from ferops.machine.environment import settle
from ferops.machine.worktrees import worktree

ASCII = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
"""A terminal and files that know ASCII alone."""


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, check=False)


@pytest.fixture
def keras_home(tmp_path: Path) -> Path:
    """A user's folder of Keras, with settings for another program."""
    settings = {"backend": "jax", "floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}
    settings["nnx_enabled"] = True
    (tmp_path / "keras.json").write_text(json.dumps(settings), encoding="utf-8")
    return tmp_path


def test_the_papers_network_is_the_same_whatever_the_users_keras_json_says(keras_home: Path) -> None:
    limits = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1", "KERAS_NNX_ENABLED": "true"}
    code = (
        "from ferops import cli, params; import sys; sys.argv[1:] = ['summary']\n"
        "try: cli.main()\n"
        "finally:\n"
        "    import keras; from keras.config import *\n"
        "    print(backend(), floatx(), epsilon(), image_data_format(), max_epochs(), max_steps_per_epoch())\n"
        "    print(keras.src.backend.config.keras_home())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KERAS_")}
    environment |= {"KERAS_HOME": str(keras_home), **limits, **ASCII}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
    lines = done.stdout.decode("ascii").splitlines()
    assert done.stderr == b""
    assert "14,883,399 parameters, 13,146,119 trainable, 1,737,280 not" in lines[-4]
    assert lines[-2:] == ["tensorflow float32 1e-07 channels_last None None", str(keras_home)]


@pytest.mark.parametrize(
    "command", [["ferops", "summary"], *(["python", "-m", "ferops.stages", x] for x in ("sample", "train"))]
)
@pytest.mark.parametrize(("backend", "says"), [("jax", "`pip install jax`"), ("thaeno", "tensorflow, jax, torch")])
def test_a_backend_that_is_not_there_is_one_line_with_the_way_out(command: list[str], backend: str, says: str) -> None:
    if importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is installed")
    done = shell(ROOT, *command, check=False, KERAS_BACKEND=backend)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "KERAS_BACKEND" in done.stderr
    assert says in done.stderr


def test_a_keras_json_that_keras_refuses_is_one_line_that_names_it(keras_home: Path) -> None:
    (keras_home / "keras.json").write_text('{"epsilon": 1}', encoding="utf-8")
    done = shell(ROOT, "ferops", "summary", check=False, KERAS_HOME=str(keras_home))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "epsilon" in done.stderr
    assert "keras.json" in done.stderr


@pytest.fixture
def umlauts(tmp_path: Path) -> Path:
    """A git and DVC repository of Jürgen's, in a folder with an umlaut."""
    folder = tmp_path / "Gesichter für alle"
    folder.mkdir()
    shell(folder, "git", "init", "-q")
    shell(folder, "dvc", "init", "-q")
    (folder / "größe.txt").write_text("ä\n", encoding="utf-8")
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "commit", "-q", "-m", "für alle", GIT_AUTHOR_NAME="Jürgen Müller")
    return folder


def test_umlauts_in_paths_are_no_error_where_only_ascii_is_known(umlauts: Path) -> None:
    (umlauts / "größe.txt").write_text("ö\n", encoding="utf-8")
    code = (
        "from ferops.machine.environment import settle; settle()\n"
        "from ferops.machine.worktrees import worktree\n"
        "import sys\n"
        "with worktree(None) as folder:\n"
        "    print(*sorted(path.name for path in folder.glob('*.txt')))\n"
        "    sys.stdout.buffer.write((folder / '.dvc/config.local').read_bytes())\n"
    )
    done = python(code, umlauts, **ASCII)
    assert done.stderr == b""
    name, *config = done.stdout.decode().splitlines()
    assert name == "gr??e.txt" or name == "gr????e.txt"
    assert f'    dir = "{umlauts}/.dvc/cache"' in config


def test_in_a_git_hook_the_repository_is_that_of_the_folder(umlauts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git.run(umlauts, "rev-parse", "HEAD")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(umlauts.parent / "of-another-repository"))
    settle()
    with worktree("HEAD", umlauts) as folder:
        assert git.run(folder, "rev-parse", "HEAD") == head
        assert git.run(folder, "status", "--porcelain") == b""
    assert git.run(umlauts, "status", "--porcelain") == b""


def test_data_stay_out_of_git_whatever_dvcs_config_in_the_users_home_says(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "clone"
    (home / "dvc").mkdir(parents=True)
    (home / "dvc/config").write_text("[core]\n    no_scm = true\n    autostage = false\n", encoding="utf-8")
    folder.mkdir()
    shell(folder, "git", "init", "-q")
    shell(folder, "dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    (folder / "faces.csv").write_text("0\n", encoding="utf-8")
    shell(folder, "dvc", "add", "faces.csv", XDG_CONFIG_HOME=str(home))
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "/faces.csv\n"
    assert "A  faces.csv.dvc" in shell(folder, "git", "status", "--porcelain").stdout.splitlines()


def test_a_clone_has_the_same_bytes_whatever_line_ends_the_user_has_configured(tmp_path: Path) -> None:
    shell(ROOT, "git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(tmp_path / "clone"))
    assert "w/crlf" not in shell(tmp_path / "clone", "git", "ls-files", "--eol").stdout


def test_a_demo_without_git_says_what_to_do_before_it_installs_anything(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = shell(
        tmp_path, "make", "--no-print-directory", "demo", check=False, GIT_CEILING_DIRECTORIES=str(tmp_path.parent)
    )
    assert done.returncode == 2
    assert done.stdout == "DVC needs a git repository: git init && git add --all && git commit --message start\n"
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]
    way_out = done.stdout.partition(": ")[2]
    shell(tmp_path, "sh", "-c", way_out)
    assert shell(tmp_path, "make", "--no-print-directory", "in-git").stdout == ""


def test_no_flow_or_task_takes_its_retries_from_the_users_settings() -> None:
    code = (
        "import runpy, sys\n"
        "from prefect import Flow, Task\n"
        "from ferops.orchestration.sweeps import trials\n"
        "for path in sys.argv[1:]:\n"
        "    for one in [*runpy.run_path(path).values(), *vars(trials).values()]:\n"
        "        if isinstance(one, (Flow, Task)): print(one.name, one.retries)\n"
    )
    variables = {f"PREFECT_{what}_DEFAULT_RETRIES": "7" for what in ("TASKS", "FLOWS")}
    flows = sorted(map(str, ROOT.glob("flows/*.py")))
    done = subprocess.run(
        [sys.executable, "-c", code, *flows], cwd=ROOT, env={**os.environ, **variables},
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    retries = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert {"training", "reproduce", "promotion", "ask the gate", "sweep"} <= retries.keys()
    assert "7" not in retries.values()
