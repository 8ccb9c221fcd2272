"""Identify processes, also after a restart of the machine, and end them."""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress

import psutil

_CLOCK_DRIFT = 60.0  # seconds by which a process seems younger or older after the clock was set


def this_process() -> str:
    """Return the identity of this process for a tag: host name, process ID and start time."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def is_local(identity: str) -> bool:
    """Return whether a process belongs to this machine; whether one of another machine runs is unknown."""
    return identity.partition(" ")[0] == socket.gethostname()


def is_running(identity: str) -> bool:
    """Return whether a process of this machine still runs."""
    _, _, rest = identity.partition(" ")
    pid, _, created = rest.partition(" ")
    if not is_local(identity) or not created:
        return False
    try:
        process = psutil.Process(int(pid))
        # after a restart of the machine the ID may be that of any other process
        return abs(process.create_time() - float(created)) < _CLOCK_DRIFT and is_alive(process)
    except psutil.NoSuchProcess:
        return False


def describe(identity: str) -> str:
    """Return `process 12 on host` for a message."""
    host, pid, *_ = [*identity.split(" "), "?", "?"]
    return f"process {pid} on {host}"


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; a zombie, which nobody has waited for, does not."""
    try:
        # `is_running` compares the creation time too: a recycled process ID is not this process
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], grace: float) -> None:
    """Terminate processes in the given order, and kill those that still run after `grace` seconds."""
    left = list(processes)
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                stop(process)
        left = psutil.wait_procs(left, grace)[1]
