"""Lineage of a training: its identity in dvc.lock, and the commit or DVC experiment that has that dvc.lock.

People run `dvc repro` first and commit afterwards, so a run cannot know its commit. It knows its dvc.lock: the commit
is found by a search for that dvc.lock in everything git keeps.
"""

import functools
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ferops.errors import FeropsError
from ferops.machine import git
from ferops.params import flat

DVC_LOCK: Final = "dvc.lock"
PREPARED: Final = "data/prepared"

_TRAIN: Final = re.compile(rb"^  train:\n(?:    .*\n?)+", re.MULTILINE)
_EXPERIMENT: Final = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")
"""Ref of a finished DVC experiment; the queue, the stash and running experiments have refs of other forms."""


class NotTrained(FeropsError):
    """dvc.lock does not hold a finished training."""


class Commit(NamedTuple):
    """A git commit and the uncommitted changes of tracked files, as a patch for `git apply`."""

    sha: str
    diff: bytes

    @property
    def is_dirty(self) -> bool:
        """Return whether a tracked file differs from the commit."""
        return bool(self.diff)


def read_dvc_lock(path: Path = Path("dvc.lock")) -> dict[str, Any]:
    """Read dvc.lock as a plain mapping; empty where there is none, or none that can be read."""
    return (parse_dvc_lock(path.read_bytes()) if path.is_file() else None) or {}


def parse_dvc_lock(content: bytes) -> dict[str, Any] | None:
    """Parse a dvc.lock as git or MLflow has it; None where it is damaged."""
    try:
        dvc_lock = YAML(typ="safe", pure=True).load(content)
    except (YAMLError, UnicodeDecodeError):  # a merge conflict that was committed
        return None
    return dict(dvc_lock) if isinstance(dvc_lock, dict) else None


def training_identity(dvc_lock: Mapping[str, Any]) -> str:
    """Return the identity of a training: hex sha256 of train's command, deps, params and outs as canonical JSON.

    The order of files in dvc.lock does not matter. Other stages are left out, `publish` above all.

    Raises:
        NotTrained: dvc.lock has no `train` with outs.
    """
    entry = _entry_of(dvc_lock, "train")
    if not entry.get("outs"):
        raise NotTrained("dvc.lock has no finished `train`; run `dvc repro`")
    kept = {key: entry.get(key) for key in ("cmd", "deps", "params", "outs")}
    for key in ("deps", "outs"):
        kept[key] = sorted(kept[key] or [], key=lambda file: str(file["path"]))
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def dvc_lock_hash(dvc_lock: Mapping[str, Any]) -> str:
    """Return the hash of a dvc.lock: hex sha256 of all stages but `publish`, whose entry is written after it ran."""
    stages = {name: entry for name, entry in (dvc_lock.get("stages") or {}).items() if name != "publish"}
    return hashlib.sha256(json.dumps(stages, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def data_digest(dvc_lock: Mapping[str, Any]) -> str:
    """Return DVC's md5 of data/prepared: at most 36 characters, MLflow's limit for a digest.

    Raises:
        NotTrained: dvc.lock has no prepared data.
    """
    for out in _entry_of(dvc_lock, "preprocess").get("outs", []):
        if out["path"] == PREPARED:
            return str(out.get("md5", ""))
    raise NotTrained(f"dvc.lock has no {PREPARED}; run `dvc repro`")


def current_commit(folder: Path = Path()) -> Commit | None:
    """Return the commit that is checked out in a folder; None without git, a repository or a commit.

    dvc.lock, metrics/ and reports/ are left out of the changes: every `dvc repro` rewrites them before they can be
    committed.
    """
    sha = git.query(folder, "rev-parse", "HEAD")
    if not sha:
        return None
    outputs = [f":(exclude,top){name}" for name in ("dvc.lock", "metrics", "reports")]
    diff = git.query(folder, *git.WHOLE_DIFF, "HEAD", "--", ":/", *outputs)
    return Commit(sha.decode().strip(), diff or b"")


def requirements_hash(folder: Path = Path()) -> str | None:
    """Return the hex sha256 of requirements.lock; None where there is none."""
    path = folder / "requirements.lock"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


class Source(NamedTuple):
    """A dvc.lock that has a certain training.

    Fields:
        commit: sha of its commit; None: only the workspace has it.
        experiment: name of the DVC experiment that the commit belongs to; None for any other commit.
        is_whole: the evaluation is the one searched for too, not only the training.
        dvc_lock: its content.
    """

    commit: str | None
    experiment: str | None
    is_whole: bool
    dvc_lock: Mapping[str, Any]


class CommitInfo(NamedTuple):
    """A commit's subject line, time (ISO 8601), and the branches and tags that contain it."""

    subject: str
    time: str
    refs: tuple[str, ...]


class File(NamedTuple):
    """A dependency or output of a stage, with DVC's md5 (of a folder: that of its list of files, `....dir`)."""

    path: str
    md5: str


class Stage(NamedTuple):
    """A stage's entry in dvc.lock; parameters under their dotted keys."""

    name: str
    cmd: str
    deps: tuple[File, ...]
    params: Mapping[str, Any]
    outs: tuple[File, ...]


class DvcLockHistory:
    """Every dvc.lock of a repository: of its commits, oldest first, of its DVC experiments, and the workspace's."""

    def __init__(self, root: Path = Path()) -> None:
        """Read them all, with three git commands whatever their number."""
        self._entries: list[tuple[str | None, str | None, bytes]] = [*_committed(root)]
        if (root / DVC_LOCK).is_file():
            self._entries.append((None, None, (root / DVC_LOCK).read_bytes()))

    def source(self, training: str, lock_hash: str | None = None) -> Source | None:
        """Find a training: with the same evaluation if possible; in a commit, else an experiment, else the workspace.

        Args:
            training: its identity (`training_identity`).
            lock_hash: hash of the whole dvc.lock (`dvc_lock_hash`), with the evaluation; None: any evaluation.
        """
        found = [
            Source(commit, experiment, lock_hash in (None, dvc_lock_hash(dvc_lock)), dvc_lock)
            for commit, experiment, content in self._entries
            if (train := _TRAIN.search(content)) and _identity(train[0]) == training
            if (dvc_lock := parse_dvc_lock(content)) is not None
        ]
        return min(found, key=lambda source: not source.is_whole, default=None)


def commit_info(commit: str, root: Path = Path()) -> CommitInfo:
    """Return subject, time and branches of a commit; empty where git does not know it."""
    shown = _git(root, "log", "-1", "--no-show-signature", "--format=%cI %s", commit).decode(errors="replace").strip()
    time, _, subject = shown.partition(" ")
    name = "--format=%(if)%(symref)%(then)%(else)%(refname:short)%(end)"  # origin/HEAD is no branch of its own
    refs = _git(root, "for-each-ref", "--contains", commit, name, "refs/heads", "refs/remotes", "refs/tags")
    return CommitInfo(subject, time, tuple(refs.decode(errors="replace").split()))


def chain(dvc_lock: Mapping[str, Any]) -> list[Stage]:
    """Return the stages that the model and its metrics depend on, in dvc.lock's order.

    Other entries of dvc.lock are left out: that of the synthetic sample, for example, once the data are FER2013.
    """
    entries: Mapping[str, Any] = dvc_lock.get("stages") or {}
    every = {name: _stage(name, entry or {}) for name, entry in entries.items()}
    kept: set[str] = set()
    waiting = [name for name in every if name in ("train", "evaluate")]
    while waiting:
        stage = every[waiting.pop()]
        kept.add(stage.name)
        waiting += [
            other.name
            for other in every.values()
            if other.name not in kept and any(overlap(dep.path, out.path) for dep in stage.deps for out in other.outs)
        ]
    return [stage for name, stage in every.items() if name in kept]


def mismatches(stages: list[Stage]) -> list[str]:
    """Describe the files that a stage read with another md5 than the one recorded when they were written."""
    written = {out.path: out.md5 for stage in stages for out in stage.outs}
    return sorted(
        {
            f"{stage.name} read {dep.path} as {dep.md5[:12]}, what is recorded as written is {written[dep.path][:12]}"
            for stage in stages
            for dep in stage.deps
            if written.get(dep.path, dep.md5) != dep.md5
        }
    )


def overlap(one: str, other: str) -> bool:
    """Return whether two paths are the same, or one is inside the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _entry_of(dvc_lock: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (dvc_lock.get("stages") or {}).get(name) or {}


def _committed(root: Path) -> Iterator[tuple[str, str | None, bytes]]:
    """Yield commit, DVC experiment and dvc.lock of everything that git keeps."""
    # an experiment's ref points to a commit of its own; the user's stash is not part of the history
    listed = _git(
        root, "rev-list", "--exclude=refs/exps/*", "--exclude=refs/stash", "--all", "--full-history", "--date-order",
        "--reverse", "--", DVC_LOCK,
    )  # fmt: skip
    places: list[tuple[str, str | None]] = [(commit, None) for commit in listed.decode().split()]
    refs = _git(root, "for-each-ref", "--sort=creatordate", "--format=%(objectname) %(refname)", "refs/exps")
    for line in refs.decode().splitlines():
        commit, _, ref = line.partition(" ")
        if named := _EXPERIMENT.fullmatch(ref):
            places.append((commit, named["name"]))
    for (commit, experiment), content in zip(places, _blobs(root, [commit for commit, _ in places]), strict=True):
        if content is not None:
            yield commit, experiment, content


def _blobs(root: Path, commits: list[str]) -> Iterator[bytes | None]:
    """Yield the dvc.lock of each commit, None where it has none."""
    if not commits:
        return
    request = "".join(f"{commit}:./{DVC_LOCK}\n" for commit in commits)
    answer = io.BytesIO(_git(root, "cat-file", "--batch", given=request.encode()))
    for _ in commits:
        size = answer.readline().split()[-1]  # or "missing"
        yield answer.read(int(size) + 1)[:-1] if size.isdigit() else None


def _git(root: Path, *args: str, given: bytes | None = None) -> bytes:
    return git.query(root, *args, stdin=given) or b""


@functools.cache
def _identity(train: bytes) -> str | None:
    """Return the identity of the training in train's entry of a dvc.lock; each distinct entry is parsed once."""
    try:
        return training_identity(parse_dvc_lock(b"stages:\n" + train) or {})
    except NotTrained:
        return None


def _stage(name: str, entry: Mapping[str, Any]) -> Stage:
    cmd = entry.get("cmd", "")
    params: dict[str, Any] = {}
    for values in (entry.get("params") or {}).values():
        params |= flat(values or {})
    deps, outs = (
        tuple(sorted({File(str(file["path"]), str(file.get("md5", ""))) for file in entry.get(key) or []}))
        for key in ("deps", "outs")
    )
    return Stage(name, "; ".join(cmd) if isinstance(cmd, list) else str(cmd), deps, params, outs)
