"""On PYTHONPATH: no Python process connects to another machine; attempts are written to the file that LEFT names."""

import os
import sys
from typing import Any

_HERE = ("127.", "::1", "localhost", "0.0.0.0", "::")
_ASKS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
"""Audit event of Python's socket module -> index of the argument that is the host or address."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _ASKS:
        return
    whom = arguments[_ASKS[event]]
    if event in ("socket.connect", "socket.sendto"):
        if not isinstance(whom, tuple):  # a socket of the file system
            return
        whom = whom[0]
    host = whom.decode() if isinstance(whom, bytes) else str(whom or "localhost")
    if not host.startswith(_HERE):
        with open(os.environ["LEFT"], "a") as stream:  # noqa: PTH123  # before anything else is imported
            stream.write(f"{event} {host}: {' '.join(sys.orig_argv)}\n")
        raise OSError(f"{host} is not this machine")


sys.addaudithook(_watch)
