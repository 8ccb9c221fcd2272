"""Who does it: a process, named so that others can tell whether it still runs."""

import os
import socket

import psutil

_CLOCK_DRIFT = 60.0  # seconds by which a process seems younger or older after the clock was set


def me() -> str:
    """This process: host, number and start, as a tag carries it."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def is_here(process: str) -> bool:
    """Whether a process is one of this machine: of others nothing can be known."""
    return process.partition(" ")[0] == socket.gethostname()


def is_running(process: str) -> bool:
    """Whether a process of this machine still runs."""
    host, _, rest = process.partition(" ")
    number, _, created = rest.partition(" ")
    if host != socket.gethostname() or not created:
        return False
    try:
        found = psutil.Process(int(number))
        # after a restart of the machine the number may be that of anything
        is_it = abs(found.create_time() - float(created)) < _CLOCK_DRIFT
        return bool(is_it and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def in_words(process: str) -> str:
    """A process for a message: `process 12 on host`."""
    host, number, *_ = [*process.split(" "), "?", "?"]
    return f"process {number} on {host}"
