"""`python -m ferops.stages STAGE [ARGUMENT...]`: the commands in dvc.yaml."""

import os
import sys
from importlib import import_module
from typing import Final

from ferops.errors import FeropsError, describe_os_error
from ferops.machine.environment import settle
from ferops.machine.guard import guard_stage
from ferops.machine.tensorflow import quiet_imports

STAGES: Final = ("sample", "preprocess", "validate", "augment", "train", "evaluate", "publish")


def main() -> None:
    """Run a stage's `main`; a user's mistake becomes one line on stderr and exit status 1."""
    stage, *arguments = sys.argv[1:] or ("",)
    if stage not in STAGES:
        print(f"usage: python -m ferops.stages STAGE; STAGE is one of {', '.join(STAGES)}", file=sys.stderr)
        sys.exit(2)
    guard_stage()  # before the imports, which take many seconds
    settle()
    try:
        with quiet_imports():
            module = import_module(f"ferops.stages.{stage}")
        module.main(*arguments)
    except FeropsError as error:
        sys.exit(f"{stage}: {error}")
    except OSError as error:
        print(f"{stage}: {describe_os_error(error)}", file=sys.stderr, flush=True)
        os._exit(1)  # at once: on a full disk h5py prints a traceback for every file that it then fails to close


if __name__ == "__main__":
    main()
