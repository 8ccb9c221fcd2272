"""The wanted state of a run and of its version, made from DVC's files: plain values, without a store."""

import getpass
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from ferops import params as parameters
from ferops.tracking import lineage
from ferops.tracking.lineage import Commit, current_commit
from ferops.tracking.outputs import SETTINGS, DataSet, Epoch, Outputs, initial_labels
from ferops.tracking.pages import report

# Tags of runs and of versions. The prefix `x-ferops.` sorts last in MLflow's UI.
SCRATCH_KEY: Final = "x-ferops.key"  # run: key of its training's checkpoint folder, a hash of parameters and data
PROCESS: Final = "x-ferops.process"  # run: the process that writes to it
TRAINING: Final = "x-ferops.training"  # run, version: identity of the training; at most one run has it
WEIGHTS: Final = "x-ferops.weights"  # run, version, logged model: digest; one version of a registered model has it
EXPERIMENTS: Final = "x-ferops.experiments"  # run: the DVC experiments that it is the result of, with commas between
EVALUATION: Final = "x-ferops.evaluation"  # child run: hash of the training and of the parameters that come after it
FILES: Final = "x-ferops.files"  # run: digest of its files; set last: a publish that was interrupted is done again
START: Final = "x-ferops.start"  # run: JSON of what only the start of its training knew: `requirements`, `changes`
FACTS: Final = "x-ferops.facts"  # run, version: JSON of hashes, software and figures, `Outputs.facts`
REBUILT: Final = "x-ferops.rebuilt"  # run: created from the files; its system metrics are lost
SWEEP: Final = "x-ferops.sweep"  # run of a sweep: hash of its name, search space and commit; at most one run has it
PARENT: Final = "mlflow.parentRunId"  # run: a trial's is its sweep's run; set when it is created, never changed
NOTE: Final = "mlflow.note.content"  # run: its description, in Markdown

TRAINED: Final = ("sample", "data", "preprocess", "validate", "augment", "model", "train")
"""Sections of params.yaml that are a run's params; the later ones are a JSON artifact."""

DIFF: Final = "lineage/uncommitted.diff"  # artifact: uncommitted changes of tracked files when the training began
MAX_DIFF: Final = 1_000_000  # bytes; a larger difference is data, not code, and is not kept

SWEEP_RUN: Final = "FEROPS_SWEEP_RUN"
"""Environment variable of the stages of a trial: id of the sweep's run."""


@dataclass(frozen=True)
class Record:
    """The wanted state of a run.

    Fields:
        name: of a new run. started: its Unix time in seconds.
        identity: name of the tag that at most one run has with this value.
        origin: tags of a new run. tags: those that are kept up to date.
        params: flattened, as strings. epochs: in order. metrics: one value each.
        files: path among the artifacts -> the file, or its content.
        dataset: what it was trained on.
        patch: uncommitted changes, an artifact of a new run.
        status, ended: MLflow's, with the Unix time in seconds; None while it runs.
    """

    name: str
    started: float
    identity: str
    origin: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, Path | str | bytes] = field(default_factory=dict)
    dataset: DataSet | None = None
    patch: bytes = b""
    status: Literal["RUNNING", "FINISHED", "FAILED"] = "RUNNING"
    ended: float | None = None


def starting(params: Mapping[str, Any], scratch_key: str, started: float, history: Iterable[Epoch] = ()) -> Record:
    """Return the record of a training that begins, or goes on after an interruption.

    Args:
        params: flattened parameters, all sections.
        scratch_key: key of params and data, as in models/training.json.
        started: Unix time in seconds.
        history: epochs that an interrupted training has finished.
    """
    commit = current_commit()
    return Record(
        name=_run_name(params),
        started=started,
        identity=SCRATCH_KEY,
        origin={**origin(commit), SCRATCH_KEY: scratch_key},
        patch=_patch(commit),
        tags={"accuracy": "not measured yet", "hardware": "not recorded yet", **initial_labels(params)},
        params=run_params(params),
        epochs=tuple(history),
    )


def trained(outputs: Outputs) -> Record:
    """Return the record of a finished training, without its evaluation."""
    training, commit = outputs.training, current_commit(outputs.root)
    return Record(
        name=_run_name(outputs.params, outputs.root),
        started=float(training["started"]),
        identity=TRAINING,
        origin={**outputs.labels, **origin(commit, outputs.root), SCRATCH_KEY: str(training.get("scratch_key"))},
        patch=_patch(commit),
        tags={TRAINING: outputs.identity, WEIGHTS: outputs.weights_digest},
        params=run_params(outputs.params),
        epochs=outputs.history,
        status="FINISHED",
        ended=float(training["ended"]),
    )


def evaluated(outputs: Outputs, one: Record) -> Record:
    """Return the record of a training's evaluation: figures, files, data set, description.

    Args:
        outputs: of the pipeline.
        one: the record of the training, `trained`.
    """
    settings = json.dumps(outputs.settings, indent=2, sort_keys=True)
    tags = {**outputs.labels, FACTS: json.dumps(outputs.facts), NOTE: report.note(outputs), FILES: outputs.files_digest}
    return replace(
        one,
        tags={**one.tags, **tags},
        params={},
        epochs=(),
        metrics=outputs.metrics,
        files={**outputs.files, SETTINGS: f"{settings}\n", report.REPORT: report.page(outputs)},
        dataset=outputs.prepared,
    )


def evaluated_again(outputs: Outputs, one: Record, experiment: str, parent: str) -> Record:
    """Return the record of a DVC experiment that changes only what comes after a training that has its own evaluation.

    Args:
        outputs: of the experiment.
        one: the record of its evaluation, `evaluated`.
        experiment: its name.
        parent: id of the training's run; in a sweep all trials are children of the sweep's run.
    """
    key = hashlib.sha256(json.dumps([outputs.identity, outputs.settings], sort_keys=True).encode()).hexdigest()
    # the parent has the training's params; a sweep's trials get them too, since the UI compares those runs
    params = run_params(outputs.params) if os.environ.get(SWEEP_RUN) else {}
    tags = {name: value for name, value in one.tags.items() if name not in (TRAINING, WEIGHTS)}
    return replace(
        one,
        name=experiment,
        started=time.time(),
        identity=EVALUATION,
        origin={PARENT: parent, **{name: value for name, value in one.origin.items() if name != SCRATCH_KEY}},
        tags={**tags, EVALUATION: key},
        params=params | {name: str(value) for name, value in outputs.settings.items()},
        ended=None,
    )


def origin(commit: Commit | None, root: Path | None = None, source: str = "dvc repro") -> dict[str, str]:
    """Return the tags that a run is created with: user, commit, environment, DVC experiment, sweep.

    MLflow's own names where it has some.

    Args:
        commit: that is checked out.
        root: folder of requirements.lock.
        source: what ran.
    """
    start = {"requirements": lineage.requirements_hash(root or Path()), "changes": None}
    tags = {"mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # the user of a container may have no name
        tags["mlflow.user"] = getpass.getuser()
    if commit is not None:
        tags |= {"mlflow.source.git.commit": commit.sha, "commit": commit.sha[:10] + " + changes" * commit.is_dirty}
        if commit.is_dirty:
            start["changes"] = DIFF if _patch(commit) else f"not kept: {len(commit.diff) / 1e6:.0f} MB"
    tags[START] = json.dumps(start)
    if name := experiment():
        tags[EXPERIMENTS] = name
    if parent := os.environ.get(SWEEP_RUN):
        tags[PARENT] = parent
    return tags


def run_params(flat: Mapping[str, Any]) -> dict[str, str]:
    """Select the flattened parameters that belong to a run, as strings."""
    return {key: str(value) for key, value in flat.items() if key.partition(".")[0] in TRAINED}


def experiment() -> str | None:
    """Return the name of the DVC experiment that this process runs in."""
    return os.environ.get("DVC_EXP_NAME") or None


def _run_name(params: Mapping[str, Any], root: Path = Path()) -> str:
    """Return a name for a run: the DVC experiment's, else system, data, and what differs from the closest recipe."""
    if named := experiment():
        return named
    recipe, changed = parameters.closest_recipe(params, root / "recipes")
    system = str(params["model.name"])
    differing = [f"{key.rpartition('.')[2]} {value}" for key, value in changed.items()]
    parts = [system, str(params["data.dataset"]), recipe if recipe != system else "", ", ".join(differing[:3])]
    return " ".join(filter(None, parts))


def _patch(commit: Commit | None) -> bytes:
    """Return the uncommitted changes, together with the commit what ran; nothing where they are too large."""
    return commit.diff if commit and len(commit.diff) <= MAX_DIFF else b""
