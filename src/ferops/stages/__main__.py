"""`python -m ferops.stages STAGE [ARGUMENT...]`: what the commands in dvc.yaml call."""

import sys
from importlib import import_module

from ferops.errors import FeropsError
from ferops.stages.quiet import native_stderr_dropped


def main() -> None:
    """Run a stage's `main`; a user's mistake becomes one line on stderr and exit status 1."""
    stage, *arguments = sys.argv[1:]
    with native_stderr_dropped():
        module = import_module(f"ferops.stages.{stage}")
        if "keras" in sys.modules:  # its backend looks for a GPU at the first operation, and tells
            sys.modules["keras"].ops.zeros(())
    try:
        module.main(*arguments)
    except FeropsError as error:
        sys.exit(f"{stage}: {error}")


if __name__ == "__main__":
    main()
