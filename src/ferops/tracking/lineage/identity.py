"""Identity of a training: the hash of its entry in dvc.lock, its data, and the commit it ran on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from ferops.errors import FeropsError
from ferops.machine import git

PREPARED: Final = "data/prepared"


class NotTrained(FeropsError):
    """dvc.lock does not hold a finished training."""


class Commit(NamedTuple):
    """A git commit and the uncommitted changes of tracked files, as a patch for `git apply`."""

    sha: str
    diff: bytes

    @property
    def dirty(self) -> bool:
        """Return whether a tracked file differs from the commit."""
        return bool(self.diff)


def read_dvc_lock(path: Path = Path("dvc.lock")) -> dict[str, Any]:
    """Read dvc.lock as a plain mapping; empty where there is none."""
    if not path.is_file():
        return {}
    return dict(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) or {})


def training_identity(dvc_lock: Mapping[str, Any]) -> str:
    """Return the identity of a training: hex sha256 of train's command, deps, params and outs as canonical JSON.

    The order of files in dvc.lock does not matter. Other stages are left out, `publish` above all.

    Raises:
        NotTrained: dvc.lock has no `train` with outs.
    """
    entry = _stage(dvc_lock, "train")
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
    for out in _stage(dvc_lock, "preprocess").get("outs", []):
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


def _stage(dvc_lock: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (dvc_lock.get("stages") or {}).get(name) or {}
