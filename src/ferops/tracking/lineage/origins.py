"""Where a model comes from: the commit or DVC experiment that holds its dvc.lock, and the chain of files in that lock.

People run `dvc repro` first and commit afterwards, so no run can know its commit. What it knows is its dvc.lock: the
commit is found by looking for that lock in everything git keeps.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ferops.machine import git
from ferops.params import flat
from ferops.tracking import tags
from ferops.tracking.lineage.identity import NotTrained, dvc_lock_hash, training_identity
from ferops.tracking.registry import ledger, versions
from ferops.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

DVC_LOCK: Final = "dvc.lock"

_TRAIN: Final = re.compile(rb"^  train:\n(?:    .*\n?)+", re.MULTILINE)
_EXPERIMENT: Final = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")
"""A finished DVC experiment; the queue, the stash and what runs now have refs of other forms."""


class Source(NamedTuple):
    """A dvc.lock that holds the training that was looked for.

    Fields:
        commit: sha of the commit that has it; None: only the workspace has it.
        experiment: name of the DVC experiment that the commit is; None for any other commit.
        is_whole: it is the very lock that was looked for; else its training, with another evaluation.
        dvc_lock: all of it.
    """

    commit: str | None
    experiment: str | None
    is_whole: bool
    dvc_lock: Mapping[str, Any]


class CommitInfo(NamedTuple):
    """What tells a commit to a person: first line, time (ISO 8601), branches and tags that contain it."""

    subject: str
    time: str
    refs: tuple[str, ...]


class File(NamedTuple):
    """A dependency or output of a stage, with DVC's md5 (of a folder: that of its list of files, `....dir`)."""

    path: str
    md5: str


class Stage(NamedTuple):
    """An entry of dvc.lock; parameters under their dotted keys."""

    name: str
    cmd: str
    deps: tuple[File, ...]
    params: Mapping[str, Any]
    outs: tuple[File, ...]


@dataclass(frozen=True)
class Trace:
    """What is known of a version.

    Fields:
        version: in the registry. aliases: that stand on it.
        run: of its training; None where it is gone.
        source: where its dvc.lock lies in git; None where no commit, experiment or workspace has it.
        dvc_lock: its dvc.lock, from the run or else from git; empty where both are gone.
        events: what happened to it, oldest first.
    """

    version: "ModelVersion"
    aliases: tuple[str, ...]
    run: "Run | None"
    source: Source | None
    dvc_lock: Mapping[str, Any]
    events: tuple[ledger.Event, ...]

    @property
    def number(self) -> int:
        """Of the version."""
        return int(self.version.version)

    def fact(self, name: str) -> str | None:
        """A tag of the run, or of the version where the run is gone."""
        found = (self.run.data.tags if self.run else self.version.tags).get(name)
        return str(found) if found else None


class DvcLockHistory:
    """Every dvc.lock of a repository: of its commits, oldest first, of its DVC experiments, and the workspace's."""

    def __init__(self, root: Path = Path()) -> None:
        """Read them all, with three git commands however many there are."""
        self._held = [*_committed(root)]
        if (root / DVC_LOCK).is_file():
            self._held.append(_Held(None, None, (root / DVC_LOCK).read_bytes()))
        self._trainings: dict[bytes, str | None] = {}

    def source(self, training: str, lock: str | None = None) -> Source | None:
        """Where a training lies; commits before experiments before the workspace, the whole lock before all.

        Args:
            training: its identity (`training_identity`).
            lock: hash of the whole lock (`dvc_lock_hash`), evaluation included; None: any evaluation will do.
        """
        found = [self._read(held, lock) for held in self._held if self._training(held.content) == training]
        return min(filter(None, found), key=lambda source: not source.is_whole, default=None)

    def _training(self, content: bytes) -> str | None:
        """The training in a dvc.lock; of hundreds of locks only train's entry is parsed, and no entry twice."""
        entry = _TRAIN.search(content)
        if entry is None:
            return None
        text = entry[0]
        if text not in self._trainings:
            lock = _parse(b"stages:\n" + text)
            try:
                self._trainings[text] = training_identity(lock or {})
            except NotTrained:
                self._trainings[text] = None
        return self._trainings[text]

    def _read(self, held: "_Held", wanted: str | None) -> Source | None:
        lock = _parse(held.content)
        if lock is None:
            return None
        return Source(held.commit, held.experiment, wanted is None or dvc_lock_hash(lock) == wanted, lock)


def trace(store: Store, reference: str, root: Path = Path()) -> Trace:
    """Where a version comes from.

    Args:
        store: the open store.
        reference: `fer-vgg16@ALIAS` or `fer-vgg16/NUMBER`.
        root: the repository's root.

    Raises:
        UnknownVersion: there is none of that name.
    """
    version = versions.resolve(store, reference)
    run = versions.run_of(store, version)
    source = DvcLockHistory(root).source(str(version.tags.get(tags.TRAINING)), version.tags.get(tags.DVC_LOCK))
    kept = artifact(store, run, f"lineage/{DVC_LOCK}") if run else None
    lock = (_parse(kept) if kept else None) or (source.dvc_lock if source else {})
    standing = versions.aliases_of(store, int(version.version))
    return Trace(version, standing, run, source, lock, tuple(ledger.history(version)))


def artifact(store: Store, run: "Run", path: str) -> bytes | None:
    """A file among a run's artifacts; None where it is gone."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as scratch:
        try:
            return Path(store.client.download_artifacts(run.info.run_id, path, scratch)).read_bytes()
        except (MlflowException, OSError):
            return None


def commit_info(commit: str, root: Path = Path()) -> CommitInfo:
    """Subject, time and branches of a commit; empty where git does not know it."""
    shown = _git(root, "log", "-1", "--no-show-signature", "--format=%cI %s", commit).decode(errors="replace").strip()
    time, _, subject = shown.partition(" ")
    name = "--format=%(if)%(symref)%(then)%(else)%(refname:short)%(end)"  # origin/HEAD is no branch of its own
    refs = _git(root, "for-each-ref", "--contains", commit, name, "refs/heads", "refs/remotes", "refs/tags")
    return CommitInfo(subject, time, tuple(refs.decode(errors="replace").split()))


def chain(lock: Mapping[str, Any]) -> list[Stage]:
    """The stages that the model and its figures come from, in dvc.lock's order.

    What dvc.lock remembers beside them is left out: the synthetic sample's entry, say, once the data are FER2013.
    """
    entries: Mapping[str, Any] = lock.get("stages") or {}
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
    """Files that a stage read in another state than the one in which the stage before it left them."""
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
    """Whether one path is the other or lies in it, either way round."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


class _Held(NamedTuple):
    commit: str | None
    experiment: str | None
    content: bytes


def _committed(root: Path) -> Iterator[_Held]:
    # an experiment's ref leads to one commit of its own; the user's stash is nobody's history
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
            yield _Held(commit, experiment, content)


def _blobs(root: Path, commits: list[str]) -> Iterator[bytes | None]:
    """dvc.lock of each commit, None where it has none."""
    if not commits:
        return
    asked = "".join(f"{commit}:./{DVC_LOCK}\n" for commit in commits)
    answer, at = _git(root, "cat-file", "--batch", given=asked.encode()), 0
    for _ in commits:
        header, _, _ = answer[at:].partition(b"\n")
        at += len(header) + 1
        words = header.split()
        if words[-1].isdigit():
            yield answer[at : at + int(words[-1])]
            at += int(words[-1]) + 1
        else:  # "... missing"
            yield None


def _git(root: Path, *args: str, given: bytes | None = None) -> bytes:
    return git.query(root, *args, stdin=given) or b""


def _parse(content: bytes) -> dict[str, Any] | None:
    try:
        lock = YAML(typ="safe", pure=True).load(content)
    except (YAMLError, UnicodeDecodeError):  # a merge conflict that was committed
        return None
    return dict(lock) if isinstance(lock, dict) else None


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
