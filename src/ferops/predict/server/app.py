"""The API, and the files of the page."""

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ferops.predict.recognizer import Prediction
from ferops.predict.server.guard import App, guarded
from ferops.predict.server.schemas import Model, Predictions, Problem
from ferops.predict.server.service import Service
from ferops.predict.server.uploads import Gone, Pictures, Upload, read

_PAGE: Final = {"index.html": "text/html", "page.js": "text/javascript", "style.css": "text/css"}
"""Files of the page, and their types."""

_GONE: Final = 499
"""Status, as nginx counts it, of a request whose client did not wait for the answer: nobody reads it."""

_BODY: Final = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["pictures"],
                "properties": {"pictures": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "application/json": {"schema": Pictures.model_json_schema()},
    },
}
_REFUSALS: Final = {
    400: "nothing was sent, or it is malformed",
    401: "the token is missing or wrong",
    413: "the body or the number of pictures is over the limit",
    415: "neither a form nor JSON",
    503: "too many requests are waiting, or no network is loaded yet",
    504: "the time limit of a request has passed",
}


def build(service: Service, token: str | None = None, hosts: frozenset[str] | None = None) -> App:
    """Build the application, an ASGI callable; token and hosts as in `guarded`."""
    app = FastAPI(title="ferops", version=version("ferops"), docs_url=None, redoc_url=None)
    folder = Path(__file__).with_name("page")
    page = {name: (folder / name).read_bytes() for name in _PAGE}
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "model": Problem} for status, text in _REFUSALS.items()
    }
    unreadable = {422: {"description": "none of the pictures can be read", "model": Predictions}}
    of_predict = {200: {"model": Predictions}} | unreadable | refusals

    @app.post("/predict", responses=of_predict, openapi_extra={"requestBody": _BODY})
    async def predict(request: Request) -> Response:
        """Find the faces in pictures and their expressions."""
        try:
            async with asyncio.timeout(service.queue.limits.seconds):
                with service.queue.place() as hold:
                    uploads = await read(request, service.queue.limits.pictures, hold)
                    answers = await _unless_gone(request, service, uploads)
        except TimeoutError:
            raise HTTPException(504, f"no answer within {service.queue.limits.seconds:g} seconds") from None
        except Gone:
            return Response(status_code=_GONE)
        status = 200 if any(not answer.error for answer in answers) else 422
        return JSONResponse({"predictions": [answer.as_json() for answer in answers]}, status)

    @app.get("/model", response_model=Model, responses={503: refusals[503]})
    async def model() -> Response:
        """Describe the network that answers, and the limits."""
        network = service.recognizer.network
        return JSONResponse(
            {
                "name": network.name,
                "version": network.version,
                "digest": network.card.weights if network.card else None,
                "detector": service.detector,
                "card": network.card.model_dump(by_alias=True) if network.card else None,
                "limits": service.queue.limits._asdict(),
            }
        )

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the server runs."""
        return {"status": "alive"}

    @app.get("/ready", responses={503: refusals[503]})
    async def ready() -> dict[str, str]:
        """Say whether a network is loaded."""
        return {"status": "ready", "model": service.recognizer.network.name}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return the metrics, for Prometheus."""
        return Response(service.metrics.as_text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return await file("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in page:
            raise HTTPException(404, "the page has no such file")
        return Response(page[name], media_type=_PAGE[name])

    return guarded(app, token, hosts, service.metrics.count)


async def _unless_gone(request: Request, service: Service, uploads: list[Upload]) -> list[Prediction]:
    """Return the answers.

    Raises:
        Gone: the client went away; what is not begun is left out.
    """
    answers = asyncio.ensure_future(service.predict(uploads))
    gone = asyncio.ensure_future(request.receive())  # after the body there is nothing but its end
    try:
        await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise Gone
        return answers.result()
    finally:
        answers.cancel()
        gone.cancel()
