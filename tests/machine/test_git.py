import os
from pathlib import Path

import pytest
from support import shell

from ferops.machine import git
from ferops.machine.git import RepositoryError


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shell(tmp_path, "git", "init", "-q", "-b", "main")
    return tmp_path


def test_output_is_returned_and_stdin_is_read(repository: Path) -> None:
    sha = git.run(repository, "hash-object", "-w", "--stdin", stdin=b"a face\n").decode().strip()
    assert git.query(repository, "cat-file", "-p", sha) == b"a face\n"


def test_a_failure_is_one_line_that_names_the_command_and_gits_reason(repository: Path) -> None:
    with pytest.raises(RepositoryError) as error:
        git.run(repository, "-c", "color.ui=never", "rev-parse", "--verify", "HEAD")
    assert str(error.value) == "`git rev-parse` failed: Needed a single revision"
    assert git.query(repository, "rev-parse", "--verify", "HEAD") is None


def test_outside_of_a_repository_the_error_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="not a git repository.*root of your clone.*`git init && git add --all"):
        git.run(tmp_path, "show", "HEAD:params.yaml")


def test_without_git_the_error_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(RepositoryError, match="`git status` failed: .*'git'"):
        git.run(repository, "status")
    assert git.query(repository, "status") is None


def test_a_git_that_hangs_is_killed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = repository / "git"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{repository}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(RepositoryError, match="timed out after 0.2 seconds"):
        git.run(repository, "status", timeout=0.2)
