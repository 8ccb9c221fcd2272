"""Names of the tags that ferops reads back: on runs, on versions, or on both."""

from typing import Final

SCRATCH_KEY: Final = "ferops.scratch_key"
"""Run: key of its training's checkpoint folder, a hash of parameters and data."""

PROCESS: Final = "ferops.process"
"""Run, lock: the process that writes to it."""

TRAINING: Final = "ferops.training"
"""Run, version: identity of the training; at most one run has it."""

WEIGHTS_DIGEST: Final = "ferops.weights_digest"
"""Run, version, logged model: digest of the weights; at most one version has it."""

DVC_LOCK: Final = "ferops.dvc_lock"
"""Run, version: hash of the dvc.lock of its evaluation."""

EXPERIMENTS: Final = "ferops.experiments"
"""Run: names of the DVC experiments that it is the result of, separated by commas."""

PARENT: Final = "mlflow.parentRunId"
"""Run: id of the parent run; a trial's is its sweep's run. Set when the run is created and never changed."""

EVALUATION: Final = "ferops.evaluation"
"""Child run: hash of the training and of the parameters that come after it."""

ATTACHED: Final = "ferops.attached"
"""Run: digest of the evaluation attached to it; written last, so that a publish that was interrupted is done again."""

REBUILT: Final = "ferops.rebuilt"
"""Run: created from the files, because the store had none."""

STATE: Final = "ferops.state"
"""Version: `pending` until its first alias and event are written, so that an interrupted publish is completed."""

WAS_CHALLENGER: Final = "ferops.challenger"
"""Version: the alias `challenger` was set on it; that happens at most once."""

SWEEP: Final = "ferops.sweep"
"""Run of a sweep: name of the sweep."""

SWEEP_KEY: Final = "ferops.sweep_key"
"""Run of a sweep: hash of its search space and of the commit; at most one run has it."""
