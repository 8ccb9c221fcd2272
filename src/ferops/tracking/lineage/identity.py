"""What a training is: the hash of its entry in dvc.lock, and the commit it ran on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from ferops.errors import FeropsError
from ferops.machine import git

PREPARED: Final = "data/prepared"

_PIPELINE_OUTPUTS: Final = ("dvc.lock", "metrics", "reports")


class NotTrained(FeropsError):
    """dvc.lock does not hold a finished training."""


class Commit(NamedTuple):
    """A git commit, and how tracked files differ from it (what a `dvc repro` rewrites aside), for `git apply`."""

    sha: str
    diff: bytes

    @property
    def dirty(self) -> bool:
        """Whether a tracked file differs."""
        return bool(self.diff)


def read_dvc_lock(path: Path = Path("dvc.lock")) -> dict[str, Any]:
    """Read dvc.lock as a plain mapping; empty where there is none."""
    if not path.is_file():
        return {}
    return dict(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) or {})


def training_identity(lock: Mapping[str, Any]) -> str:
    """Hex sha256 of train's command, deps, params and outs, as canonical JSON.

    The order in which dvc.lock lists files does not matter; every other stage, `publish` above all, has no part in it.

    Raises:
        NotTrained: dvc.lock has no `train` with outs.
    """
    entry = _stage(lock, "train")
    if not entry.get("outs"):
        raise NotTrained("dvc.lock has no finished `train`; run `dvc repro`")
    kept = {key: entry.get(key) for key in ("cmd", "deps", "params", "outs")}
    for key in ("deps", "outs"):
        kept[key] = sorted(kept[key] or [], key=lambda file: str(file["path"]))
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def dvc_lock_hash(lock: Mapping[str, Any]) -> str:
    """Hex sha256 of every stage's entry but `publish`, whose own enters dvc.lock after it ran."""
    stages = {name: entry for name, entry in (lock.get("stages") or {}).items() if name != "publish"}
    return hashlib.sha256(json.dumps(stages, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def data_digest(lock: Mapping[str, Any]) -> str:
    """DVC's md5 of data/prepared, at most 36 characters (MLflow's limit for a digest).

    Where its files are outs of their own, it is the hash of their hashes.

    Raises:
        NotTrained: dvc.lock has no prepared data.
    """
    outs = {str(out["path"]): str(out.get("md5", "")) for out in _stage(lock, "preprocess").get("outs", [])}
    if PREPARED in outs:
        return outs[PREPARED]
    parts = sorted(f"{path} {md5}" for path, md5 in outs.items() if path.startswith(f"{PREPARED}/"))
    if not parts:
        raise NotTrained(f"dvc.lock has no {PREPARED}; run `dvc repro`")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def current_commit(folder: Path = Path()) -> Commit | None:
    """The commit that a folder is at; None without git, a repository or a commit.

    dvc.lock, metrics/ and reports/ are left out of the difference: the pipeline rewrites them before anyone can commit
    them.
    """
    sha = git.query(folder, "rev-parse", "HEAD")
    if not sha:
        return None
    outputs = [f":(exclude,top){name}" for name in _PIPELINE_OUTPUTS]
    diff = git.query(folder, *git.WHOLE_DIFF, "HEAD", "--", ":/", *outputs)
    return Commit(sha.decode().strip(), diff or b"")


def requirements_hash(folder: Path = Path()) -> str | None:
    """Hex sha256 of requirements.lock; None where there is none."""
    path = folder / "requirements.lock"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _stage(lock: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (lock.get("stages") or {}).get(name) or {}
