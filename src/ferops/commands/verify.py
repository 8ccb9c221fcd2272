"""`ferops trace --verify`: run a version's pipeline again in a worktree of its commit, and compare with the record."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from ferops.errors import FeropsError
from ferops.machine import subprocesses
from ferops.machine.worktrees import dvc, environment, fetch, worktree
from ferops.params import flat
from ferops.tracking import lineage
from ferops.tracking.lineage import DVC_LOCK, Stage, read_dvc_lock
from ferops.tracking.record import ARTIFACTS, DIFF, REBUILT
from ferops.tracking.runs import read_artifact
from ferops.tracking.store import Store
from ferops.tracking.versions import Trace

EQUAL: Final = 1e-6
"""By how much a metric may differ where hardware and versions are the same: training is reproducible to the bit there.

Other hardware sums in another order, and the same training ends as another network. What can be measured on so many
images then counts: the two 95% intervals of accuracy must overlap.
"""

_REPRO: Final = ("repro", "--force", "--no-run-cache", "--no-commit", "evaluate")
"""Runs every stage, whatever any cache holds, and adds nothing to the clone's cache."""

_TRAINING: Final = "models/training.json"
_METRICS: Final = {"validation": "metrics/val.json", "test": "metrics/test.json"}
_RECORD: Final = {DVC_LOCK, _TRAINING, *_METRICS.values()}
"""Files to compare; the run has them as artifacts."""

_MACHINE: Final = ("keras", "backend", "backend_version", "hardware")


class CannotRebuild(FeropsError):
    """Something that a version was made from is missing, or its pipeline failed."""


class RebuildSource(NamedTuple):
    """What a version is rebuilt from: a commit (None: the workspace), a patch to it, and the files that MLflow has."""

    commit: str | None
    patch: bytes
    record: Mapping[str, bytes]


class PipelineResult(NamedTuple):
    """The stages of dvc.lock, models/training.json and the metrics of each split; empty where unknown."""

    chain: list[Stage]
    training: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]


class ComparedValue(NamedTuple):
    """One comparison; `passed` is None where the two cannot be compared, and the verdict says why."""

    what: str
    recorded: str
    rebuilt: str
    verdict: str
    passed: bool | None


def rebuild_source(store: Store, traced: Trace) -> RebuildSource:
    """Find what to rebuild a version from: its commit, else the commit and changes that its training began with.

    Raises:
        CannotRebuild: neither is known.
    """
    source, run = traced.source, traced.run
    files = [(path, file) for path, file in ARTIFACTS.items() if file in _RECORD]
    kept = {file: read_artifact(store, run.info.run_id, path) for path, file in files if run}
    record = {file: content for file, content in kept.items() if content is not None}
    if source and source.commit:
        # a commit with another evaluation is compared with itself
        return RebuildSource(source.commit, b"", {k: v for k, v in record.items() if source.is_whole or k == _TRAINING})
    commit = run.data.tags.get("mlflow.source.git.commit") if run else None
    if run and commit and REBUILT not in run.data.tags:
        patch = read_artifact(store, run.info.run_id, DIFF) if traced.start.get("changes") else b""
        if patch is not None:
            return RebuildSource(commit, patch, record)
    if source:
        return RebuildSource(None, b"", record)
    raise CannotRebuild(
        f"{traced.reference} cannot be rebuilt: no commit holds its dvc.lock, and MLflow does not have "
        "what was checked out and changed when it was trained"
    )


def rebuild(traced: Trace, source: RebuildSource, root: Path = Path()) -> list[ComparedValue]:
    """Run the pipeline of a version again, and compare. Its output goes to stderr; no file of it stays.

    Args:
        traced: the version.
        source: of `rebuild_source`.
        root: the repository's root.

    Raises:
        RepositoryError: its commit cannot be checked out.
        CannotRebuild: its data are missing, or its pipeline fails.
    """
    where = f"commit {source.commit[:12]}" if source.commit else "the workspace"
    with worktree(source.commit, root, source.patch) as folder:
        for name, content in source.record.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if not (folder / _TRAINING).is_file():
            dvc(folder, "checkout", _TRAINING)
        recorded = _read_result(folder)
        _fetch_data(folder, recorded.chain)
        took = f"; its training took {recorded.training['seconds'] / 60:.1f} minutes" if recorded.training else ""
        _print_line(f"\nrebuilding {traced.reference} from {where} in a worktree of its own{took}\n")
        # a store of its own: the user's gets no run
        variables = environment(folder) | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
        status = subprocesses.run("dvc", *_REPRO, folder=folder, environment=variables, on_line=_print_line)
        if status:
            raise CannotRebuild(
                f"{traced.reference}: `dvc repro` of {where} ended with status {status}; its output is above"
            )
        return compare(recorded, _read_result(folder))


def compare(recorded: PipelineResult, rebuilt: PipelineResult) -> list[ComparedValue]:
    """Compare the record with a rebuild: data, code and parameters exactly, metrics and weights as `EQUAL` says.

    Not by `dvc metrics diff` and `dvc params diff`: they compare git revisions, and some records are in MLflow alone;
    they read params.yaml, which a rebuild shares with its commit, and dvc.lock has what a stage ran with.
    """
    different = _different_machine(recorded, rebuilt)
    before, after = (str(result.training.get("weights_digest", "unknown")) for result in (recorded, rebuilt))
    return [
        *_compare_files(recorded.chain, rebuilt.chain),
        *_compare_params(recorded.chain, rebuilt.chain),
        *_compare_metrics(recorded, rebuilt, is_same_machine=different is None),
        ComparedValue("weights", before[:12], after[:12], f"not compared: {different}", None)
        if different
        else _row("weights", before[:12], after[:12], before == after),
    ]


def show(rows: list[ComparedValue], console: Console) -> None:
    """Print a table of the comparison, and a line that sums it up."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "recorded", "rebuilt"):
        table.add_column(heading, overflow="fold")
    table.add_column("verdict")
    colours = {True: "green", False: "red", None: "yellow"}
    for row in rows:
        table.add_row(row.what, row.recorded, row.rebuilt, f"[{colours[row.passed]}]{row.verdict}[/]")
    console.print(table)
    failed = [row.what for row in rows if row.passed is False]
    verdict = f"different: {', '.join(failed)}" if failed else "everything that was compared agrees"
    console.out(verdict, highlight=False)


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _read_result(folder: Path) -> PipelineResult:
    metrics = {split: _read_json(folder / path) for split, path in _METRICS.items()}
    return PipelineResult(lineage.chain(read_dvc_lock(folder / DVC_LOCK)), _read_json(folder / _TRAINING), metrics)


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _fetch_data(folder: Path, stages: list[Stage]) -> None:
    """Fetch the pipeline's inputs that are not in git from DVC's cache, else from its remote."""
    outs = [out.path for stage in stages for out in stage.outs]
    deps = sorted({dep.path for stage in stages for dep in stage.deps})
    inputs = [path for path in deps if not any(lineage.overlap(path, out) for out in outs)]
    # a folder in git, as data/extra, may hold files that DVC tracks
    tracked = [f"{path}/{file.stem}" for path in inputs for file in sorted((folder / path).glob("*.dvc"))]
    if missing := fetch(folder, [*inputs, *tracked]):
        raise CannotRebuild(
            f"{missing[0]}, which the pipeline starts from, is neither in DVC's cache nor in a remote; bring it back "
            "by `dvc pull`, or `ferops data use` the same copy"
        )


def _different_machine(recorded: PipelineResult, rebuilt: PipelineResult) -> str | None:
    """Return the first difference in hardware and software, for people; None where there is none."""
    before, after = recorded.training, rebuilt.training
    if not before:
        return "unknown hardware"
    return next((f"other {name.replace('_', ' ')}" for name in _MACHINE if before.get(name) != after.get(name)), None)


def _compare_files(recorded: list[Stage], rebuilt: list[Stage]) -> Iterator[ComparedValue]:
    """Compare data, file by file, and code in one row. Outputs that no stage reads may hold times, and are left out."""
    before, after = _files(recorded), _files(rebuilt)
    data = [path for path in before if path.startswith("data/")]
    for path in (path for path in data if not any(path.startswith(f"{folder}/") for folder in data)):
        yield _row(path, before[path][:12], after.get(path, "missing")[:12], before[path] == after.get(path))
    code = ({path: md5 for path, md5 in files.items() if not path.startswith("data/")} for files in (before, after))
    yield _count("code", "files", *code)


def _files(stages: list[Stage]) -> dict[str, str]:
    """Return the inputs up to the training, and the code of every stage: path -> md5."""
    made = {out.path for stage in stages if stage.name in ("train", "evaluate") for out in stage.outs}
    return {dep.path: dep.md5 for stage in stages for dep in stage.deps if dep.path not in made}


def _compare_params(recorded: list[Stage], rebuilt: list[Stage]) -> list[ComparedValue]:
    before, after = ({k: v for stage in chain for k, v in stage.params.items()} for chain in (recorded, rebuilt))
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    rows = [_row(key, str(before.get(key)), str(after.get(key)), False) for key in changed]
    return rows or [_count("params", "values", before, after)]


def _compare_metrics(
    recorded: PipelineResult, rebuilt: PipelineResult, *, is_same_machine: bool
) -> Iterator[ComparedValue]:
    for split in _METRICS:
        before, after = recorded.metrics[split], rebuilt.metrics[split]
        if after and not before:
            yield ComparedValue(f"{split} metrics", "none", "", "not compared: none recorded", None)
        if before and not after:
            yield _row(f"{split} metrics", f"{len(before)} figures", "none", False)
        if not (before and after):
            continue
        what = f"{split} accuracy"
        was, now = (f"{metrics['accuracy']:.4f}" for metrics in (before, after))
        if is_same_machine:
            yield _row(what, was, now, _is_close(before["accuracy"], after["accuracy"]))
            yield _count(f"{split} metrics", "figures", flat(before), flat(after))
        else:
            (low, high), (other_low, other_high) = before["accuracy_interval"], after["accuracy_interval"]
            overlap = low <= other_high and other_low <= high
            yield ComparedValue(what, was, now, f"95% intervals {'overlap' if overlap else 'apart'}", overlap)


def _count(what: str, unit: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> ComparedValue:
    """Compare many values in one row that says how many differ."""
    differing = [key for key in before if not _is_close(before[key], after.get(key))]
    now = f"{len(differing)} differ" if differing else f"{len(after)} {unit}"
    return _row(what, f"{len(before)} {unit}", now, not differing)


def _is_close(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_is_close, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= EQUAL
    return bool(one == other)


def _row(what: str, recorded: str, rebuilt: str, is_equal: bool) -> ComparedValue:
    return ComparedValue(what, recorded, rebuilt, "equal" if is_equal else "different", is_equal)
