"""Stages of dvc.yaml, each run by a `dvc` command in a process of its own; DVC decides what has to run."""

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

import psutil
from dvc.lock import make_lock

from ferops.errors import FeropsError
from ferops.machine import git
from ferops.machine.subprocesses import OnLine, run
from ferops.orchestration.pipeline.run_folders import Folder

PUBLISH: Final = "publish"
"""The stage that is always run."""

RESULTS: Final = ("params.yaml", "dvc.lock", "metrics", "reports")
"""Files and folders in git that a run of the pipeline rewrites."""

_URL: Final = re.compile(r"https?://\S+")
# DVC exits with 255 for every error, and `--wait-for-lock` does not cover the read-write lock of a stage's files
_LOCKED: Final = re.compile(r"Unable to acquire lock|is busy, it is being blocked by")
_CORRUPTED: Final = re.compile(r"Unable to read RWLock-file")
_HOLDER: Final = re.compile(r"\(PID (\d+)\)")
_NOT_OWN: Final = re.compile(  # lines of DVC, and of TensorFlow's log
    r"(ERROR|WARNING|Running stage|Stage '|(Generating|Updating) lock file|Verifying data|> |\s|Having any troubles"
    r"|[IWEF]\d{4} \d\d:)"
)
_HINT: Final = re.compile(r"^(ERROR: failed to reproduce|Use `dvc push`|To track the changes|\tgit add )")


class StageResult(NamedTuple):
    """The outcome of a stage.

    Fields:
        stage: its name in dvc.yaml.
        state: cached, where it was up to date.
        url: the last that it printed, as `publish` does of its run.
        seconds: how long it took.
        message: why it failed.
    """

    stage: str
    state: Literal["ran", "cached", "failed"]
    url: str | None = None
    seconds: float = 0.0
    message: str = ""


class DvcFailed(FeropsError):
    """A DVC command, or the stage that it ran, ended with an error; the message is its last line."""


class UnknownStage(FeropsError):
    """dvc.yaml has no stage of that name."""


def stages(folder: Path, targets: Sequence[str] = ()) -> dict[str, set[str]]:
    """Return the stages of dvc.yaml in the order of `dvc repro`, each with the stages whose outputs it reads.

    Args:
        folder: the repository's root.
        targets: return only these stages and those they depend on; `validate` names both of its gates; all by default.

    Raises:
        UnknownStage: a target is no stage; the message lists the stages.
        DvcFailed: the folder is no DVC repository, or dvc.yaml cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro
    from dvc.stage import PipelineStage

    try:
        with Repo(str(folder)) as repo:
            graph = repo.index.graph
            graph = graph.subgraph([stage for stage in graph if isinstance(stage, PipelineStage)])  # no .dvc files
    except DvcException as error:
        way_out = "" if git.query(folder, "rev-parse", "--git-dir") else f"; {git.NO_CLONE}"
        raise DvcFailed(f"{folder.resolve()}: {str(error).splitlines()[0]}{way_out}") from None
    pipeline: list[PipelineStage] = plan_repro(graph)
    chosen: list[PipelineStage] = []
    for target in targets:
        found = [stage for stage in pipeline if target in (stage.name, stage.name.partition("@")[0])]
        if not found:
            raise UnknownStage(f"there is no stage {target!r}; dvc.yaml has: {', '.join(one.name for one in pipeline)}")
        chosen += found
    order: list[PipelineStage] = plan_repro(graph, chosen or None)
    return {stage.name: {other.name for other in graph.successors(stage)} for stage in order}


def changed(folder: Folder) -> set[str]:
    """Return the stages that `dvc status` finds changed; only these and the stages that read their outputs can run."""
    lines = dvc(folder, lambda line: None, "status", "--json")
    return set(next((json.loads(line) for line in lines if line.startswith("{")), {}))


def reproduce(folder: Folder, stage: str, on_line: OnLine) -> StageResult:
    """Bring one stage up to date, without the stages that it depends on.

    Raises:
        DvcFailed: the stage or DVC ended with an error.
    """
    lines = dvc(folder, on_line, "repro", "--single-item", stage)
    has_run = any(line.startswith("Running stage") for line in lines)
    urls = [url for line in lines for url in _URL.findall(line)]
    return StageResult(stage, "ran" if has_run else "cached", urls[-1] if urls else None)


def pull(folder: Folder, on_line: OnLine) -> None:
    """Restore the files of dvc.lock from the cache, and from the default remote where there is one; replace others.

    Files that neither has are left out: their stage will run.

    Raises:
        DvcFailed: the remote does not answer, or refuses.
    """
    from dvc.repo import Repo

    with Repo(str(folder.path)) as repo:
        command = "pull" if repo.config["core"].get("remote") else "checkout"
    dvc(folder, on_line, command, "--force", "--allow-missing")


def push(folder: Folder, branch: str | None, on_line: OnLine) -> None:
    """Commit the results and push DVC's files to the default remote.

    Args:
        folder: with the results.
        branch: a git branch to set to that commit; None for the branch that is checked out.
        on_line: called with each line of progress.

    Raises:
        RepositoryError: git refuses.
        DvcFailed: there is no remote, it does not answer, or refuses.
    """
    commit(folder, f"{branch or 'training'}: results", on_line)
    if branch:
        git.run(folder.path, "branch", "--force", branch)
        on_line(f"branch {branch}")
    dvc(folder, on_line, "push")


def commit(folder: Folder, message: str, on_line: OnLine) -> None:
    """Commit `RESULTS` where any of them has changed, and no other change of the user's.

    Raises:
        RepositoryError: git refuses, as it does where it knows no author.
    """
    paths = [path for path in RESULTS if (folder.path / path).exists()]
    git.run(folder.path, "add", "--", *paths)
    if git.run(folder.path, "diff", "--cached", "--name-only", "--", *paths):
        # the user's hooks, as those of DVC, find the programs of this environment
        git.run(folder.path, "commit", "--quiet", "--message", message, "--", *paths, environment=folder.environment)
        on_line(f"committed: {message}")


def save_experiment(folder: Folder, name: str, on_line: OnLine) -> None:
    """Save a folder's parameters and results as a DVC experiment of the clone, for `dvc exp show` and `dvc exp apply`.

    All worktrees of a clone share the stash and the branch that DVC uses for it, and two processes at once would mix
    their results: so the lock of the clone is held meanwhile.

    Raises:
        DvcFailed: results are missing.
    """
    on_line(f"saving the experiment {name}")
    with make_lock(".dvc/tmp/lock", wait=True):
        dvc(folder, on_line, "exp", "save", "--force", "--name", name)


def dvc(folder: Folder, on_line: OnLine, *arguments: str) -> list[str]:
    """Run a DVC command and return its lines; while another process holds a lock of DVC, wait and report that process.

    DVC refuses to run where a killed process has left `.dvc/tmp/rwlock` half written: that file is deleted.

    Args:
        folder: where it runs.
        on_line: called with each line, but for hints on what to do next.
        arguments: of `dvc`.

    Raises:
        DvcFailed: it ended with an error.
    """
    lines: list[str] = []
    lock_error: list[str] = []
    reported = ""

    def on_each(line: str) -> None:
        if lock_error or _LOCKED.search(line):
            lock_error.append(line)
            return
        lines.append(line)
        if not _HINT.match(line):
            on_line(line)

    while status := run("dvc", *arguments, folder=folder.path, environment=folder.environment, on_line=on_each):
        if any(_CORRUPTED.search(line) for line in lines):
            _delete_corrupted_rwlock(folder.path)
            on_line("a killed DVC had left .dvc/tmp/rwlock half written; it is deleted")
        elif not lock_error:
            raise DvcFailed(_reason(lines) or f"dvc {arguments[0]} exited {status}")
        else:
            if (holder := _lock_holder("\n".join(lock_error), folder.path)) != reported:
                reported = holder
                on_line(f"waiting for DVC's lock: {holder}")
            time.sleep(1.0)
        lines.clear()
        lock_error.clear()
    return lines


def _lock_holder(message: str, folder: Path) -> str:
    """Describe the process that holds DVC's lock: the one that DVC's message names, else the one in .dvc/tmp/lock."""
    named = _HOLDER.search(message)
    with suppress(OSError, ValueError, psutil.Error):
        pid = int(named[1] if named else (folder / ".dvc/tmp/lock").read_text(encoding="utf-8"))
        return f"process {pid} has it ({' '.join(psutil.Process(pid).cmdline())})"
    return "another process has it"


def _delete_corrupted_rwlock(folder: Path) -> None:
    """Delete .dvc/tmp/rwlock where it is no JSON; another process may have been faster."""
    rwlock = folder / ".dvc/tmp/rwlock"
    lock = make_lock(f"{rwlock}.lock", tmp_dir=str(rwlock.parent))  # DVC's own, around every change of the file
    with lock, suppress(FileNotFoundError):
        try:
            json.loads(rwlock.read_text(encoding="utf-8"))
        except ValueError:
            rwlock.unlink()


def _reason(lines: Sequence[str]) -> str:
    """Return the last line that the last stage printed; where it printed none, the first error of DVC."""
    start = max((number for number, line in enumerate(lines) if line.startswith("Running stage")), default=0)
    own = [line for line in lines[start:] if not _NOT_OWN.match(line)]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return next(iter([*own[-1:], *errors[:1]]), "")
