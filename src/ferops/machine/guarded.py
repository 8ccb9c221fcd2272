"""`python -m ferops.machine.guarded PID MODULE [ARGUMENT...]`: a Python module that ends with who started it."""

import runpy
import sys

import psutil

from ferops.machine.guard import end_with


def main() -> None:
    """Run MODULE as `python -m` would, and end it, child processes first, when process PID has gone."""
    _, starter, module, *arguments = sys.argv
    parent = psutil.Process().parent()
    if parent is None or parent.pid != int(starter):
        sys.exit(1)  # it was killed before this process could look
    end_with(parent)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
