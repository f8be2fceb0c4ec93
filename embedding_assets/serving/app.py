"""The application: its addresses, and what each answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from embedding_assets.errors import EmbeddingAssetsError
from embedding_assets.serving.answers import answer_document
from embedding_assets.serving.asked import MOST_BODY_BYTES, asked_in_address, asked_in_json
from embedding_assets.serving.guard import Guard, respond, too_large
from embedding_assets.serving.openapi import document, page
from embedding_assets.serving.problems import Problem, problem_of
from embedding_assets.serving.tools import make_tools, over_http

if TYPE_CHECKING:
    from collections.abc import Collection

    from embedding_assets.serving.service import Service


_PATHS: Final = ("/", "/openapi.json", "/search", "/mcp", "/healthz", "/healthz/live", "/metrics")


def make_app(service: Service, *, key: str | None, hosts: Collection[str]) -> Guard:
    """The ASGI application.

    Args:
        service: that answers, started and closed with the application.
        key: that requests bring; None: none is asked for.
        hosts: names that requests may be addressed to; empty: any.
    """
    tools, manager = over_http(make_tools(service))
    routes = [
        *_Handlers(service, needs_key=key is not None).routes(),
        Route("/mcp", tools, methods=["POST"]),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        try:
            async with manager.run():
                yield
        finally:
            service.close()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            HTTPException: _not_here,
            Problem: _failed,
            EmbeddingAssetsError: _failed,
            Exception: _failed,  # and raised again, to the guard
        },
    )
    return Guard(app, key=key, hosts=hosts, paths=_PATHS, metrics=service.metrics.searches)


class _Handlers:
    def __init__(self, service: Service, *, needs_key: bool) -> None:
        self._service = service
        self._needs_key = needs_key

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/openapi.json", self.openapi),
            Route("/search", self.search, methods=["GET", "POST"]),
            Route("/healthz", self.health),
            Route("/healthz/live", self.live),
            Route("/metrics", self.metrics),
        ]

    async def search(self, request: Request) -> Response:
        if request.method == "POST":
            question = asked_in_json(await _json_body(request))
        else:
            question = asked_in_address(request.query_params.multi_items())
        answer = await self._service.ask(question)
        return JSONResponse(answer_document(answer))

    async def health(self, _: Request) -> Response:
        readiness = await asyncio.to_thread(self._service.backend.readiness)
        body = {"live": True, "ready": readiness.is_ready, "state": readiness.state}
        return JSONResponse(body, HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def metrics(self, _: Request) -> Response:
        body, media_type = await self._service.metrics.scrape()
        return Response(body, headers={"content-type": media_type})

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(document(needs_key=self._needs_key))

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page(str(request.base_url).rstrip("/"), needs_key=self._needs_key))


async def _json_body(request: Request) -> bytes:
    """The body of a request that says it is JSON.

    Raises:
        Problem: it does not, or it is too large.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with the header `Content-Type: application/json`")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY_BYTES:
                raise too_large()
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body ended early") from None
    return bytes(body)


async def _not_here(_: Request, error: Exception) -> Response:
    """What the router refuses."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: "there is nothing at this address; see /openapi.json",
        HTTPStatus.METHOD_NOT_ALLOWED: "this address takes another method; see /openapi.json",
    }
    return respond(Problem(status, details.get(status, status.phrase), headers=error.headers))


async def _failed(_: Request, error: Exception) -> Response:
    return respond(problem_of(error))
