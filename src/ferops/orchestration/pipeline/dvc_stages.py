"""The stages of dvc.yaml, one at a time: what has to run is DVC's decision."""

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import psutil

from ferops.errors import FeropsError
from ferops.machine import git
from ferops.machine.subprocesses import OnLine, run
from ferops.orchestration.pipeline.run_folders import Folder

PUBLISH: Final = "publish"
"""The stage that is always run."""

REWRITTEN: Final = ("params.yaml", "dvc.lock", "metrics", "reports")
"""What a run of the pipeline changes of the files in git."""

_INTERVAL: Final = 1.0  # seconds between two tries for DVC's lock
_ADDRESS: Final = re.compile(r"https?://\S+")
_IS_HELD: Final = re.compile(r"Unable to acquire lock|is busy, it is being blocked by")
_IS_BROKEN: Final = re.compile(r"Unable to read RWLock-file")
_HOLDER: Final = re.compile(r"\(PID (\d+)\)")
_CHATTER: Final = re.compile(r"^(ERROR: failed to reproduce|Use `dvc push`|To track the changes|\tgit add )")


class StageResult(NamedTuple):
    """How a stage went, and the last web address that it printed, as `publish` does of its run."""

    how: Literal["ran", "cached"]
    address: str | None


class DvcFailed(FeropsError):
    """A command of DVC ended with an error; the message is its last line."""


class StageFailed(DvcFailed):
    """A stage ended with an error; the message is its last line."""


class UnknownStage(FeropsError):
    """dvc.yaml has no stage of that name."""


def stages(folder: Path, targets: Sequence[str] = ()) -> dict[str, set[str]]:
    """Stages of dvc.yaml, each after those whose outputs it reads -> those.

    Args:
        folder: the repository's root.
        targets: only these and what they need; `validate` names both of its gates; all by default.

    Raises:
        UnknownStage: naming those that there are.
        DvcFailed: this is no DVC repository, or dvc.yaml cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    try:
        with Repo(str(folder)) as repo:
            graph = repo.index.graph
            pipeline = {stage: stage.name for stage in graph if isinstance(stage, PipelineStage)}
            reads = {
                name: {pipeline[other] for other in graph.successors(stage) if other in pipeline}
                for stage, name in pipeline.items()
            }
    except DvcException as error:
        raise DvcFailed(f"{folder.resolve()}: {str(error).splitlines()[0]}") from None
    order = list(TopologicalSorter(reads).static_order())
    needed: set[str] = set()
    for target in targets or order:
        named = [name for name in order if name == target or name.partition("@")[0] == target]
        if not named:
            raise UnknownStage(f"there is no stage {target!r}; dvc.yaml has: {', '.join(order)}")
        while named:
            needed.add(name := named.pop())
            named += reads[name] - needed
    return {name: reads[name] for name in order if name in needed}


def stale(folder: Folder) -> set[str]:
    """Stages that DVC finds changed; with what reads their outputs, those are all that can have to run."""
    found: list[str] = []
    dvc(folder, found.append, "status", "--json")
    changed: dict[str, Any] = next((json.loads(line) for line in found if line.startswith("{")), {})
    return set(changed)


def reproduce(folder: Folder, stage: str, on_line: OnLine) -> StageResult:
    """Bring one stage up to date, its inputs taken as they are.

    Raises:
        StageFailed: the stage or DVC ended with an error.
    """
    seen: list[str] = []

    def line(text: str) -> None:
        seen.append(text)
        if not _CHATTER.match(text):
            on_line(text)

    try:
        dvc(folder, line, "repro", "--single-item", stage)
    except DvcFailed as error:
        raise StageFailed(str(error)) from None
    is_run = any(text.startswith("Running stage") for text in seen)
    addresses = [found for text in seen for found in _ADDRESS.findall(text)]
    return StageResult("ran" if is_run else "cached", addresses[-1] if addresses else None)


def pull(folder: Folder, on_line: OnLine) -> None:
    """Bring what dvc.lock names, over what is there, from the cache and from the default remote where there is one.

    What neither has is left out: its stage will run.

    Raises:
        DvcFailed: the remote does not answer, or refuses.
    """
    from dvc.repo import Repo

    with Repo(str(folder.path)) as repo:
        has_remote = bool(repo.config["core"].get("remote"))
    dvc(
        folder,
        on_line,
        *(["pull", "--force", "--allow-missing"] if has_remote else ["checkout", "--force", "--allow-missing"]),
    )


def push(folder: Folder, branch: str | None, on_line: OnLine) -> None:
    """Commit the results, under a branch of their own where it is named, and send DVC's files to the default remote.

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
    """Commit what the pipeline rewrites in git, where any of it is new; other changes stay as they are.

    Raises:
        RepositoryError: git refuses, as it does where it knows no author.
    """
    paths = [path for path in REWRITTEN if (folder.path / path).exists()]
    git.run(folder.path, "add", "--", *paths)
    if git.run(folder.path, "diff", "--cached", "--name-only", "--", *paths):
        # hooks of the user's, as DVC's, find this environment's programs
        git.run(folder.path, "commit", "--quiet", "--message", message, "--", *paths, environment=folder.environment)
        on_line(f"committed: {message}")


def keep(folder: Folder, name: str, on_line: OnLine) -> None:
    """Keep a folder's parameters and results in the clone as a DVC experiment: `dvc exp show`, `dvc exp apply NAME`.

    DVC has one stash and one branch for that in all worktrees of a clone, and two at once would mix their results: so
    the clone's lock is held meanwhile.

    Raises:
        DvcFailed: results are missing.
    """
    from dvc.lock import LockError, make_lock

    clone = make_lock(".dvc/tmp/lock")
    while True:
        try:
            clone.lock()
            break
        except LockError:
            on_line(f"waiting for DVC's lock: {_holder('', Path())}")
    try:
        dvc(folder, on_line, "exp", "save", "--force", "--name", name)
    finally:
        clone.unlock()


def dvc(folder: Folder, on_line: OnLine, *arguments: str) -> None:
    """A command of DVC; where another one holds DVC's lock it waits, and says for whom.

    Where a killed one has left DVC's list of locks half written, the list is put away: DVC itself would stop there.

    Args:
        folder: where it runs.
        on_line: called with each line that it prints.
        arguments: of dvc.

    Raises:
        DvcFailed: it ended with an error.
    """
    told = ""
    while True:
        lines: list[str] = []
        held: list[str] = []

        def line(text: str, lines: list[str] = lines, held: list[str] = held) -> None:
            if held or _IS_HELD.search(text):
                held.append(text)
                return
            lines.append(text)
            on_line(text)

        status = run("dvc", *arguments, folder=folder.path, environment=folder.environment, on_line=line)
        if not status:
            return
        if any(_IS_BROKEN.search(text) for text in lines) and _mend(folder.path):
            on_line("a killed DVC had left its list of locks half written; it is put away")
            continue
        if not held:
            raise DvcFailed(_reason(lines) or f"dvc {arguments[0]} exited {status}")
        if (holder := _holder("\n".join(held), folder.path)) != told:
            told = holder
            on_line(f"waiting for DVC's lock: {holder}")
        time.sleep(_INTERVAL)


def _holder(said: str, folder: Path) -> str:
    """Who holds DVC's lock, by what DVC said, else by .dvc/tmp/lock."""
    named = _HOLDER.search(said)
    with suppress(OSError, ValueError, psutil.Error):
        pid = int(named[1] if named else (folder / ".dvc/tmp/lock").read_text(encoding="utf-8"))
        return f"process {pid} has it ({' '.join(psutil.Process(pid).cmdline())})"
    return "another process has it"


def _mend(folder: Path) -> bool:
    """Delete .dvc/tmp/rwlock where it is no JSON; whether it is gone now."""
    from dvc.lock import make_lock

    place = folder / ".dvc/tmp"
    with make_lock(str(place / "rwlock.lock"), tmp_dir=str(place)):  # DVC's own, around every change of the list
        try:
            json.loads((place / "rwlock").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return True  # another flow was faster
        except ValueError:
            (place / "rwlock").unlink()
            return True
    return False


def _reason(lines: Sequence[str]) -> str:
    """The last line of a stage, without what DVC says after it; where there is none, what DVC says."""
    own = [line for line in lines if not re.match(r"(ERROR|WARNING|Running stage|> |\s|Having any troubles)", line)]
    said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return next(iter([*own[-1:], *said[:1]]), "")
