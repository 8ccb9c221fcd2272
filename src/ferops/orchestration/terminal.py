"""Run a flow from the terminal: without a server, and with one line for a user's mistake."""

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import typer
from prefect import Flow, State
from prefect.settings import PREFECT_API_URL
from rich.console import Console
from rich.table import Column, Table
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ferops.errors import FeropsError
from ferops.machine import reaper
from ferops.machine.environment import settle
from ferops.params import BadParams
from ferops.tracking.store import address


def main(flow: Flow[..., State], **parameters: Any) -> None:
    """Run a flow in this process: with the server of PREFECT_API_URL, else with a temporary one.

    Exits with status 1 and one line where the flow does not complete or the server does not answer.
    """
    if url := PREFECT_API_URL.value():
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), timeout=5.0).close()
        except OSError as error:
            sys.exit(
                f"{flow.name}: no Prefect server at {address(url)}: {error.strerror or error}; `make server` starts "
                "one, and without PREFECT_API_URL none is needed"
            )
    else:
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
    """Run a function as a command line with `--help`; a user's mistake is one line and exit status 1."""
    settle()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command(epilog=f"Example:  {example}")(function)
    try:
        app(standalone_mode=False)
    except typer.TyperException as error:  # an option that there is not, a value that is no number
        sys.exit(" ".join(error.format_message().split()))
    except FeropsError as error:
        sys.exit(str(error))


def value(text: str) -> Any:
    """Parse the value of an argument, which is YAML."""
    return YAML(typ="safe").load(text)


def assignments(texts: Iterable[str], parse: Callable[[str], Any] = value) -> dict[str, Any]:
    """Parse `KEY=VALUE` arguments: `train.epochs=3` -> {"train.epochs": 3}.

    Args:
        texts: the arguments.
        parse: the parser of a value.

    Raises:
        BadParams: an argument has no `=`, or its value is no YAML.
    """
    values = {}
    for text in texts:
        key, _, given = text.partition("=")
        try:
            values[key] = parse(given)
        except YAMLError:
            given = ""
        if not (key and given):
            raise BadParams(f"{text!r}: expected KEY=VALUE, as in the example that --help shows")
    return values


def table(header: Sequence[str], *rows: Sequence[str], unbroken: str) -> None:
    """Print a table; the cells of the column `unbroken` are never broken into lines."""
    shown = Table(*(Column(title, overflow="fold", no_wrap=title == unbroken) for title in header))
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)
