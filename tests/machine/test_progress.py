"""The progress bar of a reader: bytes on a terminal, nothing elsewhere."""

import io

import pytest
from rich.console import Console

from ferops.machine.progress import byte_progress


def shown(*, is_terminal: bool) -> str:
    stream = io.StringIO()
    with byte_progress("reading [b]fer2013.csv", Console(file=stream, force_terminal=is_terminal, width=120)) as report:
        report(1_000, 4_000)
        report(4_000, 4_000)
    return stream.getvalue()


@pytest.mark.parametrize("part", ["reading [b]fer2013.csv", "4.0/4.0 kB"])
def test_a_terminal_shows_the_name_unchanged_and_the_bytes_read(part: str) -> None:
    assert part in shown(is_terminal=True)


def test_where_the_console_is_no_terminal_nothing_is_shown() -> None:
    assert shown(is_terminal=False) == ""
