"""`ferops serve` as a process of its own, on a free port, for the tests of the server and of its page."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

FEROPS = Path(sys.executable).with_name("ferops")


class Served(NamedTuple):
    """A server: its address, and its process."""

    url: str
    process: subprocess.Popen[str]

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        host, port = re.fullmatch(r"http://(.+):(\d+)", self.url).groups()
        return host, int(port)

    def resident(self) -> int:
        """Bytes of memory."""
        return psutil.Process(self.process.pid).memory_info().rss


@contextmanager
def served(*options: str, limits: dict[str, float] | None = None, **environment: str) -> Iterator[Served]:
    """Serve with these options; other limits than the usual ones cannot be given on the command line."""
    command = [FEROPS, "serve", "--port", "0", *options]
    if limits:
        code = "import sys, ferops.commands.serve as s; s.Limits.__new__.__defaults__ = tuple("
        code += f"(s.Limits()._asdict() | {limits}).values()); import ferops.cli; ferops.cli.main()"
        command = [sys.executable, "-c", code, *command[1:]]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        line = process.stdout.readline()
        assert "answers on http" in line
        yield Served(re.search(r"http://\S+(?=;)", line)[0], process)
    finally:
        process.terminate()
        process.communicate(timeout=40)
