"""A flow run from the terminal: no server needed, and a user's mistake is one line."""

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import typer
from prefect import Flow, State
from prefect.settings import PREFECT_API_URL
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ferops.errors import FeropsError
from ferops.machine import reaper
from ferops.params import BadParams
from ferops.tracking.store import address

_PATIENCE: Final = 5.0  # seconds for a server to accept a connection


def main(flow: Flow[..., State], **parameters: Any) -> None:
    """Run a flow in this process: with the server of PREFECT_API_URL, else one of its own for as long as it runs.

    Exits with status 1, after one line, where the flow does not complete or the server does not answer.
    """
    url = PREFECT_API_URL.value()
    if url and (why := _unreachable(url)):
        sys.exit(
            f"{flow.name}: no Prefect server at {address(url)}: {why}; `make server` starts one, and without "
            "PREFECT_API_URL none is needed"
        )
    if not url:
        os.environ[reaper.MARK] = uuid.uuid4().hex
        subprocess.Popen([sys.executable, "-m", reaper.__name__], start_new_session=True)
    try:
        state = flow(**parameters, return_state=True)
    except KeyboardInterrupt:
        sys.exit(130)
    if not state.is_completed():
        sys.exit(f"{flow.name}: {state.message or state.name}")
    print(f"{flow.name}: {state.message}")


def command(function: Callable[..., None], example: str) -> None:
    """Make a command line of a function, with `--help`; a user's mistake is one line and exit status 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command(epilog=f"Example:  {example}")(function)
    try:
        app()
    except FeropsError as error:
        sys.exit(str(error))


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts, the values as YAML reads them: `train.epochs=3` -> {"train.epochs": 3}.

    Raises:
        BadParams: one has no `=`, or a value that is no YAML.
    """
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            values[key] = YAML(typ="safe").load(value)
        except YAMLError:
            equals = ""
        if not equals:
            raise BadParams(f"{text!r}: expected KEY=VALUE, as in train.epochs=3")
    return values


def number(name: str, kind: Callable[[str], float]) -> Callable[[str], float]:
    """Makes a parser of a command line's option, `int` or `float`, for which a mistake is one line too."""

    def parse(text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise BadParams(f"{name}: expected {wanted}, found {text!r}") from None

    return parse


def table(header: Sequence[str], rows: Iterable[Sequence[str]], whole: str) -> None:
    """Print a table; the column of that title is the one that is never broken into lines."""
    shown = Table()
    for title in header:
        shown.add_column(title, overflow="fold", no_wrap=title == whole)
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)


def _unreachable(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _PATIENCE).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
