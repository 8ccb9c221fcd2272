"""`ferops serve`: the API and the page, until Ctrl-C or SIGTERM."""

import errno
import ipaddress
import logging
import os
import re
import signal
import socket
from threading import Event, Thread
from typing import Any, Final

import uvicorn
from rich.console import Console
from uvicorn.protocols.http.h11_impl import H11Protocol

from ferops.errors import FeropsError
from ferops.predict.networks import ExpressionNetwork
from ferops.predict.server.app import build
from ferops.predict.server.limits import Limits
from ferops.predict.server.service import Service

_TOKEN: Final = re.compile("[!-~]+")

_HEAD_SECONDS: Final = 10
"""Time in which a connection must have sent the head of its first request."""

_BACKLOG: Final = 2048
"""Connections that the system accepts until the server takes them."""

_ASK_SECONDS: Final = 5
"""Time after which the registry is asked for a new version."""


class NoAddress(FeropsError):
    """The server cannot listen on this address."""


class BadToken(FeropsError):
    """The token is empty, or has signs that a header or the page cannot send."""


def serve(
    console: Console,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    detector: str = "blazeface",
    limits: Limits | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM, and answer what is in flight then.

    Args:
        console: where the address is shown, when the network is loaded.
        host: an address of this machine, or a name of one.
        port: 0 for any that is free.
        model: as `networks.load` takes it. Where it is a registered model, its new versions are loaded as they come.
        detector: a name of `detectors.DETECTORS`.
        limits: other limits than the usual ones.

    Raises:
        NoAddress: the port is in use, or the address is none of this machine.
        BadToken: of the environment variable FEROPS_TOKEN.
        BadNetwork, UnknownVersion, TrackingUnreachable, UnknownDetector: of `ExpressionRecognizer`.
    """
    token = os.environ.get("FEROPS_TOKEN")
    if token is not None and not _TOKEN.fullmatch(token):
        raise BadToken(
            "FEROPS_TOKEN: expected letters, digits and signs of ASCII without spaces; unset, none is needed"
        )
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it repeats what clients send
    service = Service(model, detector, limits)
    listening = _listen(host, port)
    address, bound = listening.getsockname()[:2]
    is_loopback = ipaddress.ip_address(address).is_loopback
    if not is_loopback and not token:
        warning = f"warning: whoever reaches {address} may use this server: FEROPS_TOKEN is not set"
        Console(stderr=True).print(warning, style="yellow", highlight=False, soft_wrap=True)
    hosts = frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if is_loopback else None
    config = uvicorn.Config(
        build(service, token, hosts),
        http=_Http,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=4 * service.queue.limits.requests,
        timeout_graceful_shutdown=int(service.queue.limits.seconds) + 1,
    )
    server = uvicorn.Server(config)
    failures: list[Exception] = []
    ended = Event()

    def load() -> None:
        try:
            network = service.load()
        except Exception as error:  # raised below
            failures.append(error)
            server.should_exit = True
            return
        url = f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}"
        console.print(f"{_named(network)} answers on {url}; Ctrl-C ends it", highlight=False, soft_wrap=True)
        if network.version:
            _follow(service, console, ended)

    def end(*_: Any) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended
        signal.signal(number, end)
    Thread(target=load, daemon=True).start()
    server.run(sockets=[listening])
    ended.set()
    if failures:
        raise failures[0]


def _follow(service: Service, console: Console, ended: Event) -> None:
    """Load each new version of a registered model; what stands in the way is said once."""
    from ferops.tracking import store

    said = ""
    with store.variables(store.tracking_uri()):  # once: native code of other threads reads the environment
        while not ended.wait(_ASK_SECONDS):
            try:
                network, problem = service.refresh(), ""
            except Exception as error:  # whatever it is, the old network answers
                network, problem = None, f"ferops: {error}; {_named(service.recognizer.network)} goes on answering"
            if network:
                console.print(f"{_named(network)} answers from now on", highlight=False, soft_wrap=True)
            if problem != said and (said := problem):
                console.print(problem, markup=False, highlight=False, soft_wrap=True)


def _named(network: ExpressionNetwork) -> str:
    return f"{network.version} ({network.name})" if network.version else network.name


def _listen(host: str, port: int) -> socket.socket:
    try:
        # with the protocol that getaddrinfo names: without it asyncio leaves Nagle's algorithm on, 40 ms an answer
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        return listening
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NoAddress(f"port {port} of {host} is in use; give another with --port") from None
        raise NoAddress(f"cannot listen on {host}:{port}: {error.strerror}") from None


class _Http(H11Protocol):
    """uvicorn's HTTP/1.1, with an end to connections that send nothing."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(_HEAD_SECONDS, lambda: self.scope or transport.abort())
