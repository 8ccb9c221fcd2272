"""`ferops trace --verify`: a version's pipeline run again in a worktree of its commit, and compared with the record."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain as joined
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from ferops.errors import FeropsError
from ferops.machine.worktrees import dvc, environment, worktree
from ferops.params import flat
from ferops.tracking import tags
from ferops.tracking.lineage import origins
from ferops.tracking.lineage.identity import read_dvc_lock
from ferops.tracking.lineage.origins import DVC_LOCK, Stage, Trace
from ferops.tracking.queries import read_artifact
from ferops.tracking.runs import describe
from ferops.tracking.store import MODEL, Store

EQUAL: Final = 1e-6
"""By how much a figure may differ where hardware and versions are the same: the training is the same to the bit there.

On other hardware sums are taken in another order, and a training that began the same ends as another network. It is
held to what can be measured on so many images: the two 95% intervals of accuracy must overlap.
"""

_COMMAND: Final = ("dvc", "repro", "--force", "--no-run-cache", "--no-commit", "evaluate")
"""Every stage anew, whatever any cache knows; and nothing that it writes enters the clone's cache."""

_TRAINING: Final = "models/training.json"
_METRICS: Final = {"validation": "metrics/val.json", "test": "metrics/test.json"}
_ARTIFACTS: Final = {
    DVC_LOCK: f"lineage/{DVC_LOCK}",
    _TRAINING: "training/training.json",
    "metrics/val.json": "evaluation/val.json",
    "metrics/test.json": "evaluation/test.json",
}
"""What is compared -> where a run keeps it."""

_MACHINE: Final = ("keras", "backend", "backend_version", "hardware")
_MODEL_STAGES: Final = ("train", "evaluate")
_GRACE: Final = 10.0  # seconds that a cancelled training has to end


class CannotRebuild(FeropsError):
    """What a version was made from is not all there, or its pipeline failed."""


class Origin(NamedTuple):
    """What a version is rebuilt from: a commit (None: the workspace), a patch to it, and the record that MLflow has."""

    commit: str | None
    patch: bytes
    record: Mapping[str, bytes]


class PipelineResult(NamedTuple):
    """What a pipeline left: its chain, models/training.json and the metrics of each split; empty where unknown."""

    chain: list[Stage]
    training: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]


class Row(NamedTuple):
    """One thing compared; `passed` is None where it is not held against the version, and the verdict says why."""

    what: str
    recorded: str
    rebuilt: str
    verdict: str
    passed: bool | None


def origin(store: Store, traced: Trace) -> Origin:
    """What a version can be rebuilt from: its commit, else what was checked out and changed when its training began.

    Raises:
        CannotRebuild: neither is known.
    """
    source, run = traced.source, traced.run
    kept = {name: read_artifact(store, run.info.run_id, path) for name, path in _ARTIFACTS.items()} if run else {}
    record = {name: content for name, content in kept.items() if content is not None}
    if source and source.commit:
        # a commit with another evaluation is held against itself
        return Origin(source.commit, b"", {k: v for k, v in record.items() if source.is_whole or k == _TRAINING})
    commit = traced.fact("mlflow.source.git.commit")
    if run and commit and tags.REBUILT not in run.data.tags:
        is_clean = traced.fact("ferops.git.dirty") != "true"
        patch = b"" if is_clean else read_artifact(store, run.info.run_id, describe.DIFF)
        if patch is not None:
            return Origin(commit, patch, record)
    if source:
        return Origin(None, b"", record)
    raise CannotRebuild(
        f"{MODEL} version {traced.number} cannot be rebuilt: no commit holds its dvc.lock, and MLflow does not have "
        "what was checked out and changed when it was trained"
    )


def rebuild(traced: Trace, source: Origin, root: Path = Path()) -> list[Row]:
    """Run the pipeline of a version again, and compare. What it says goes to stderr; nothing stays of it.

    Args:
        traced: the version.
        source: of `origin`.
        root: the repository's root.

    Raises:
        NoWorktree: its commit cannot be checked out.
        CannotRebuild: its data are gone, or its pipeline fails.
    """
    where = f"commit {source.commit[:12]}" if source.commit else "the workspace"
    with worktree(source.commit, root, source.patch) as folder:
        for name, content in source.record.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if not (folder / _TRAINING).is_file():
            dvc(folder, "checkout", _TRAINING)
        recorded = _left(folder)
        _bring_data(folder, recorded.chain)
        took = f"; its training took {recorded.training['seconds'] / 60:.1f} minutes" if recorded.training else ""
        print(f"\nrebuilding version {traced.number} from {where} in a worktree of its own{took}\n",
              file=sys.stderr, flush=True)  # fmt: skip
        status = _run(folder)
        if status:
            raise CannotRebuild(
                f"{MODEL} version {traced.number}: `dvc repro` of {where} ended with status {status}; "
                "what it said is above"
            )
        return compare(recorded, _left(folder))


def compare(recorded: PipelineResult, rebuilt: PipelineResult) -> list[Row]:
    """What was recorded against what was rebuilt: data, code and parameters exactly, figures as `EQUAL` says."""
    return [*_compare_files(recorded.chain, rebuilt.chain), *_compare_params(recorded.chain, rebuilt.chain),
            *_compare_metrics(recorded, rebuilt), _compare_weights(recorded, rebuilt)]  # fmt: skip


def show(rows: list[Row], console: Console) -> None:
    """A table of what was compared, and the sum of it."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "recorded", "rebuilt"):
        table.add_column(heading, overflow="fold")
    table.add_column("verdict")
    colours = {True: "green", False: "red", None: "yellow"}
    for row in rows:
        table.add_row(row.what, row.recorded, row.rebuilt, f"[{colours[row.passed]}]{row.verdict}[/]")
    console.print(table)
    failed = [row.what for row in rows if row.passed is False]
    console.print(
        f"different: {', '.join(failed)}" if failed else "everything that was compared agrees",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _left(folder: Path) -> PipelineResult:
    read = {name: _json(folder / path) for name, path in _METRICS.items()}
    return PipelineResult(origins.chain(read_dvc_lock(folder / DVC_LOCK)), _json(folder / _TRAINING), read)


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _bring_data(folder: Path, stages: list[Stage]) -> None:
    """The files that the pipeline starts from and that are not in git: from DVC's cache, else from its remote."""
    outs = [out.path for stage in stages for out in stage.outs]
    for path in sorted({dep.path for stage in stages for dep in stage.deps}):
        if any(origins.overlap(path, out) for out in outs):
            continue
        # a folder in git, as data/extra, may hold what DVC tracks
        for source in (path, *(f"{path}/{held.stem}" for held in sorted((folder / path).glob("*.dvc")))):
            _bring(folder, source)


def _bring(folder: Path, path: str) -> None:
    for word in ("checkout", "pull"):
        if not (folder / path).exists():
            dvc(folder, word, path)
    if not (folder / path).exists():
        raise CannotRebuild(
            f"{path}, which the pipeline starts from, is neither in DVC's cache nor in a remote; bring it back by "
            "`dvc pull`, or `ferops data use` the same copy"
        )


def _run(folder: Path) -> int:
    """`dvc repro` in a session of its own, which ends with this process; nothing of it reaches the user's store."""
    own = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    with subprocess.Popen(
        [sys.executable, "-m", *_COMMAND], cwd=folder, env=environment(folder) | own,
        stdin=subprocess.DEVNULL, stdout=2, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            return process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def _compare_files(recorded: list[Stage], rebuilt: list[Stage]) -> Iterator[Row]:
    """Data, file by file, and code in one row. Outputs that nothing reads may carry times, and are left out."""
    before, after = _files(recorded), _files(rebuilt)
    data = [path for path in before if path.startswith("data/")]
    for path in (path for path in data if not any(path.startswith(f"{folder}/") for folder in data)):
        yield _row(path, before[path][:12], after.get(path, "missing")[:12], before[path] == after.get(path))
    code = {path for path in before if not path.startswith("data/")}
    changed = sorted(path for path in code if before[path] != after.get(path))
    now = f"{len(changed)} differ" if changed else f"{len(code)} files"
    yield _row("code", f"{len(code)} files", now, not changed)


def _files(stages: list[Stage]) -> dict[str, str]:
    """What was read up to the training, and the code of every stage: path -> md5."""
    made = {out.path for stage in stages if stage.name in _MODEL_STAGES for out in stage.outs}
    return {dep.path: dep.md5 for stage in stages for dep in stage.deps if dep.path not in made}


def _compare_params(recorded: list[Stage], rebuilt: list[Stage]) -> Iterator[Row]:
    before, after = ({k: v for stage in chain for k, v in stage.params.items()} for chain in (recorded, rebuilt))
    changed = [key for key in joined(before, after.keys() - before.keys()) if before.get(key) != after.get(key)]
    for key in changed:
        yield _row(key, str(before.get(key)), str(after.get(key)), False)
    if not changed:
        yield _row("params", f"{len(before)} values", f"{len(after)} values", True)


def _compare_metrics(recorded: PipelineResult, rebuilt: PipelineResult) -> Iterator[Row]:
    for split in _METRICS:
        before, after = recorded.metrics[split], rebuilt.metrics[split]
        if not before:
            if after:
                yield Row(f"{split} metrics", "none", "", "not compared: none recorded", None)
        elif not after:
            yield _row(f"{split} metrics", f"{len(before)} figures", "none", False)
        elif _is_same_machine(recorded, rebuilt):
            yield _row(
                f"{split} accuracy", *_accuracies(before, after), _is_close(before["accuracy"], after["accuracy"])
            )
            figures, others = flat(before), flat(after)
            apart = [key for key in figures if not _is_close(figures[key], others.get(key))]
            now = f"{len(apart)} differ" if apart else f"{len(others)} figures"
            yield _row(f"{split} metrics", f"{len(figures)} figures", now, not apart)
        else:
            (low, high), (other_low, other_high) = before["accuracy_interval"], after["accuracy_interval"]
            is_near = low <= other_high and other_low <= high
            verdict = "95% intervals overlap" if is_near else "95% intervals apart"
            yield Row(f"{split} accuracy", *_accuracies(before, after), verdict, is_near)


def _accuracies(*splits: Mapping[str, Any]) -> tuple[str, str]:
    first, second = (f"{figures['accuracy']:.4f}" for figures in splits)
    return first, second


def _is_close(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_is_close, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= EQUAL
    return bool(one == other)


def _compare_weights(recorded: PipelineResult, rebuilt: PipelineResult) -> Row:
    was, now = (str(left.training.get("weights_digest", "unknown")) for left in (recorded, rebuilt))
    if _is_same_machine(recorded, rebuilt):
        return _row("weights", was[:12], now[:12], was == now)
    before, after = recorded.training, rebuilt.training
    other = next((name for name in _MACHINE if before.get(name) != after.get(name)), "hardware")
    why = f"other {other.replace('_', ' ')}" if before else "unknown hardware"
    return Row("weights", was[:12], now[:12], f"not compared: {why}", None)


def _is_same_machine(recorded: PipelineResult, rebuilt: PipelineResult) -> bool:
    return bool(recorded.training) and all(recorded.training.get(k) == rebuilt.training.get(k) for k in _MACHINE)


def _row(what: str, recorded: str, rebuilt: str, is_equal: bool) -> Row:
    return Row(what, recorded, rebuilt, "equal" if is_equal else "different", is_equal)
