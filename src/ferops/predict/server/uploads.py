"""Read the pictures of a request, in memory alone: FastAPI's own forms would be written to temporary files."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from fastapi import HTTPException, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, FormParser, parse_options_header


class Gone(Exception):
    """The client went away."""


class Upload(NamedTuple):
    """A picture that was sent: the name of its file, empty where it has none, and its content."""

    name: str
    content: bytes


class Pictures(BaseModel):
    """The body of a request in JSON.

    Attributes:
        pictures: image files, each in base64.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    pictures: list[str]


async def read(request: Request, most: int, hold: Callable[[int], None]) -> list[Upload]:
    """Read the pictures of a request.

    Args:
        request: its body is a form or JSON.
        most: pictures that it may have.
        hold: called with the number of bytes before these are kept; it raises where they are too many.

    Raises:
        HTTPException: 400, 413 or 415, with the reason.
        Gone: before the end of the body.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind == b"application/json":
        body = bytearray()
        async for chunk in _held(request, hold):
            body += chunk
        pictures = await asyncio.to_thread(_from_json, bytes(body), most)
    elif kind == b"multipart/form-data":
        pictures = await _from_form(_held(request, hold), options.get(b"boundary"), most)
    else:
        raise HTTPException(415, "expected multipart/form-data with files named pictures, or application/json")
    if not pictures:
        raise HTTPException(400, "there is no picture in the request")
    return pictures


async def _held(request: Request, hold: Callable[[int], None]) -> AsyncIterator[bytes]:
    declared = int(request.headers.get("content-length", "0"))
    hold(declared)  # refused before it is sent
    hold(-declared)
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        hold(len(message["body"]))
        yield message["body"]
        more = message["more_body"]


def _from_json(body: bytes, most: int) -> list[Upload]:
    _check_number(body.count(b'"') // 2 - 1, most)  # millions of them would take long to parse
    try:
        texts = Pictures.model_validate_json(body).pictures
    except ValidationError:
        raise HTTPException(400, 'expected {"pictures": [base64, ...]}') from None
    _check_number(len(texts), most)
    pictures = []
    for number, text in enumerate(texts):
        try:
            pictures.append(Upload("", base64.b64decode(text, validate=True)))
        except ValueError:
            raise HTTPException(400, f"pictures[{number}] is no base64") from None
    return pictures


async def _from_form(chunks: AsyncIterator[bytes], boundary: bytes | None, most: int) -> list[Upload]:
    pictures: list[Upload] = []
    ends: list[None] = []

    def take(file: File) -> None:
        if file.field_name != b"pictures":
            raise FormParserError
        _check_number(len(pictures) + 1, most)
        file.file_object.seek(0)
        pictures.append(Upload((file.file_name or b"").decode(errors="replace"), file.file_object.read()))

    def refuse(_: object) -> None:
        raise FormParserError

    try:
        form = FormParser(
            "multipart/form-data", refuse, take, lambda: ends.append(None), boundary,
            config={"MAX_MEMORY_FILE_SIZE": float("inf")},
        )  # fmt: skip
        async for chunk in chunks:
            form.write(chunk)
    except FormParserError:
        raise HTTPException(400, "expected a form of files named pictures") from None
    if not ends:
        raise HTTPException(400, "the form is cut short")
    return [picture for picture in pictures if picture.name or picture.content]  # a browser's field without a file


def _check_number(number: int, most: int) -> None:
    if number > most:
        raise HTTPException(413, f"a request has at most {most} pictures")
