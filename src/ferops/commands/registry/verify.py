"""`ferops trace --verify`: run a version's pipeline again in a worktree of its commit, and compare with the record."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Column, Table

from ferops.errors import FeropsError
from ferops.machine import subprocesses
from ferops.machine.worktrees import environment, fetch, worktree
from ferops.params import flat
from ferops.tracking import lineage
from ferops.tracking.lineage import DVC_LOCK, read_dvc_lock
from ferops.tracking.outputs import ARTIFACTS
from ferops.tracking.record import DIFF, REBUILT
from ferops.tracking.registry.versions import Trace
from ferops.tracking.runs import read_artifact
from ferops.tracking.store import Store

# By how much a metric may differ where hardware and versions are the same: training is reproducible to the bit there.
# Other hardware sums in another order, and the same training ends as another network. What can be measured on so many
# images then counts: the two 95% intervals of accuracy must overlap.
EQUAL: Final = 1e-6

# runs every stage, whatever any cache holds, and adds nothing to the clone's cache
_REPRO: Final = ("repro", "--force", "--no-run-cache", "--no-commit", "evaluate")

_TRAINING: Final = "models/training.json"
_METRICS: Final = {"validation": "metrics/val.json", "test": "metrics/test.json"}
_RECORD: Final = {DVC_LOCK, _TRAINING, *_METRICS.values()}  # files to compare; the run has them as artifacts

_MACHINE: Final = ("keras", "backend", "backend_version", "hardware", "precision")

Values = Mapping[str, Any]


class CannotRebuild(FeropsError):
    """Something that a version was made from is missing, or its pipeline failed."""


class RebuildSource(NamedTuple):
    """What a version is rebuilt from: a commit (None: the workspace), a patch to it, and the files that MLflow has."""

    commit: str | None
    patch: bytes
    record: Mapping[str, bytes]


class PipelineResult(NamedTuple):
    """What a pipeline read and what came out.

    Fields:
        data: path -> md5 of the inputs up to the training. code: that of every stage. params: dotted key -> value.
        training: models/training.json; empty where it is lost.
        metrics: split -> flattened metrics; empty where it was not scored.
    """

    data: Mapping[str, str]
    code: Mapping[str, str]
    params: Values
    training: Values
    metrics: Mapping[str, Values]


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
    source, run, record = traced.source, traced.run, {}
    for path, file in ARTIFACTS.items():
        if run and file in _RECORD and (content := read_artifact(store, run.info.run_id, path)) is not None:
            record[file] = content
    if source and source.commit:
        # a commit with another evaluation is compared with itself
        return RebuildSource(source.commit, b"", {k: v for k, v in record.items() if source.is_whole or k == _TRAINING})
    if run and (commit := start_commit(traced)):
        patch = read_artifact(store, run.info.run_id, DIFF) if traced.start.get("changes") else b""
        if patch is not None:
            return RebuildSource(commit, patch, record)
    if source:
        return RebuildSource(None, b"", record)
    raise CannotRebuild(
        f"{traced.reference} cannot be rebuilt: no commit holds its dvc.lock, and MLflow does not have "
        "what was checked out and changed when it was trained"
    )


def start_commit(traced: Trace) -> str | None:
    """Return the commit that was checked out when it trained; None: not in git, or the run was lost since then."""
    tags = traced.run.data.tags if traced.run else {}
    return None if REBUILT in tags else tags.get("mlflow.source.git.commit")


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
    tell = partial(print, file=sys.stderr, flush=True)
    with worktree(source.commit, root, source.patch) as folder:
        for name, content in source.record.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        fetch(folder, [_TRAINING])
        recorded = _read_result(folder)
        _fetch_data(folder)
        took = f"; its training took {recorded.training['seconds'] / 60:.1f} minutes" if recorded.training else ""
        tell(f"\nrebuilding {traced.reference} from {where} in a worktree of its own{took}\n")
        # a store of its own: the user's gets no run
        variables = environment(folder) | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
        status = subprocesses.run("dvc", *_REPRO, folder=folder, environment=variables, on_line=tell)
        if status:
            raise CannotRebuild(
                f"{traced.reference}: `dvc repro` of {where} ended with status {status}; its output is above"
            )
        return list(compare(recorded, _read_result(folder)))


def compare(recorded: PipelineResult, rebuilt: PipelineResult) -> Iterator[ComparedValue]:
    """Compare the record with a rebuild: data, code and parameters exactly, metrics and weights as `EQUAL` says.

    Not by `dvc metrics diff` and `dvc params diff`: they compare git revisions, and some records are in MLflow alone;
    they read params.yaml, which a rebuild shares with its commit, and dvc.lock has what a stage ran with.
    """
    for path, md5 in recorded.data.items():
        yield _digests(path, md5, rebuilt.data.get(path, "missing"))
    yield _count("code", "files", recorded.code, rebuilt.code)
    was, now = recorded.params, rebuilt.params
    changed_params = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    rows = [_row(key, str(was.get(key)), str(now.get(key)), False) for key in changed_params]
    yield from rows or [_count("params", "values", was, now)]
    before, after = recorded.training, rebuilt.training
    changed = (f"other {name.replace('_', ' ')}" for name in _MACHINE if before.get(name) != after.get(name))
    different = next(changed, None) if before else "unknown hardware"
    for split in _METRICS:
        yield from _compare_metrics(split, recorded.metrics[split], rebuilt.metrics[split], is_same=different is None)
    weights = _digests("weights", before.get("weights_digest", "unknown"), after["weights_digest"])
    yield weights._replace(verdict=f"not compared: {different}", passed=None) if different else weights


def show(rows: list[ComparedValue], console: Console) -> None:
    """Print a table of the comparison, and a line that sums it up."""
    columns = (Column(heading, overflow="fold") for heading in ("", "recorded", "rebuilt"))
    table = Table(*columns, "verdict", box=box.SIMPLE_HEAD)
    colours = {True: "green", False: "red", None: "yellow"}
    for row in rows:
        table.add_row(row.what, row.recorded, row.rebuilt, f"[{colours[row.passed]}]{row.verdict}[/]")
    console.print(table)
    failed = [row.what for row in rows if row.passed is False]
    verdict = f"different: {', '.join(failed)}" if failed else "everything that was compared agrees"
    console.out(verdict, highlight=False)


def _read_result(folder: Path) -> PipelineResult:
    stages = lineage.chain(read_dvc_lock(folder / DVC_LOCK))
    made = {out.path for stage in stages if stage.name in ("train", "evaluate") for out in stage.outs}
    deps = {dep.path: dep.md5 for stage in stages for dep in stage.deps if dep.path not in made}
    files = {path: md5 for path, md5 in deps.items() if not any(path.startswith(f"{outer}/") for outer in deps)}
    return PipelineResult(
        data={path: md5 for path, md5 in files.items() if path.startswith("data/")},
        code={path: md5 for path, md5 in files.items() if not path.startswith("data/")},
        params={key: value for stage in stages for key, value in stage.params.items()},
        training=_read_json(folder / _TRAINING),
        metrics={split: flat(_read_json(folder / path)) for split, path in _METRICS.items()},
    )


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _fetch_data(folder: Path) -> None:
    """Fetch the pipeline's inputs that are not in git from DVC's cache, else from its remote."""
    stages = lineage.chain(read_dvc_lock(folder / DVC_LOCK))
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


def _compare_metrics(split: str, before: Values, after: Values, *, is_same: bool) -> Iterator[ComparedValue]:
    """Compare a split on the same machine figure by figure, elsewhere by the intervals of its accuracy."""
    if before and after:
        was, now = before["accuracy"], after["accuracy"]
        row = _row(f"{split} accuracy", f"{was:.4f}", f"{now:.4f}", _is_close(was, now))
        (low, high), (other_low, other_high) = before["accuracy_interval"], after["accuracy_interval"]
        overlap = low <= other_high and other_low <= high
        verdict = f"95% intervals {'overlap' if overlap else 'apart'}"
        yield row if is_same else row._replace(verdict=verdict, passed=overlap)
    if bool(before) != bool(after) or (is_same and before):
        yield _count(f"{split} metrics", "figures", before, after, _is_close)


def _count(what: str, unit: str, before: Values, after: Values, same: Callable[..., bool] = eq) -> ComparedValue:
    """Compare many values in one row that says how many differ, and names some of them."""
    differing = [key for key in {**before, **after} if not same(before.get(key), after.get(key))]
    now = f"{len(differing)} differ: {', '.join(differing[:3])}" if differing else f"{len(after)} {unit}"
    return _row(what, f"{len(before)} {unit}", now, not differing)


def _is_close(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_is_close, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= EQUAL
    return bool(one == other)


def _digests(what: str, before: str, after: str) -> ComparedValue:
    return _row(what, before[:12], after[:12], before == after)


def _row(what: str, recorded: str, rebuilt: str, is_equal: bool) -> ComparedValue:
    return ComparedValue(what, recorded, rebuilt, "equal" if is_equal else "different", is_equal)
