"""Names of the tags that ferops reads back: on runs, on versions, or on both."""

from typing import Final

SCRATCH_KEY: Final = "ferops.scratch_key"
"""Run: key of the params and data that it trains with."""

PROCESS: Final = "ferops.process"
"""Run, lock: the process that writes to it."""

TRAINING: Final = "ferops.training"
"""Run, version: the identity of the training; one run has it."""

WEIGHTS_DIGEST: Final = "ferops.weights_digest"
"""Run, version, logged model: digest of the weights; one version has it."""

DVC_LOCK: Final = "ferops.dvc_lock"
"""Run, version: hash of the dvc.lock that its evaluation came from."""

EXPERIMENTS: Final = "ferops.experiments"
"""Run: the DVC experiments that led to it, with commas between."""

PARENT: Final = "mlflow.parentRunId"
"""Run: the one above it; of a trial its sweep's, given as the run is made and never changed."""

EVALUATION: Final = "ferops.evaluation"
"""Child run: hash of the training and of the parameters that come after it."""

ATTACHED: Final = "ferops.attached"
"""Run: digest of the evaluation attached to it; written last, so that a publish that was cut off is done again."""

REBUILT: Final = "ferops.rebuilt"
"""Run: made from the files, where the store had none."""

STATE: Final = "ferops.state"
"""Version: `pending` until its first alias and event stand, so that a publish that was cut off is finished."""

WAS_CHALLENGER: Final = "ferops.challenger"
"""Version: it was given the alias `challenger`; it is given only once."""

SWEEP: Final = "ferops.sweep"
"""Run of a sweep: the sweep's name."""

SWEEP_KEY: Final = "ferops.sweep_key"
"""Run of a sweep: hash of what it searches and of the commit; one run has it."""
