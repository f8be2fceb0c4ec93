"""The process that serves: until it is stopped, over HTTP, or for one agent over standard input and output."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import uvicorn

from embedding_assets.serving.app import make_app
from embedding_assets.serving.service import Service
from embedding_assets.serving.tools import make_tools

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from embedding_assets.config import Settings
    from embedding_assets.serving.desk import Desk
    from embedding_assets.serving.listening import Listening

_GRACE_SECONDS: Final = 6
"""Until connections are cut off when the service stops; searches are given up before."""


def serve_http(settings: Settings, listening: Listening) -> None:
    """Answer requests until a signal comes, which is raised again in the end.

    Args:
        settings: which table, which model, which key.
        listening: where.
    """
    make_server(settings, listening).run(sockets=[listening.socket])


def make_server(settings: Settings, listening: Listening) -> uvicorn.Server:
    """The server, to be run with the socket that listens."""
    service = Service(settings)
    key = settings.serve.key
    app = make_app(service, key=key.get_secret_value() if key else None, hosts=listening.hosts)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # ours says nothing of a question
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return _Server(config, service.desk)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self._desk = desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.stop()
        await super().shutdown(sockets)


def serve_stdio(settings: Settings) -> None:
    """Answer one agent by standard input and output, until the input ends or a signal comes, which is raised again."""
    service = Service(settings)
    end_input = _relay_input()
    captured: list[int] = []

    def stop(number: int, _: object) -> None:
        captured.append(number)
        service.desk.close()
        end_input()

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(_serve_stdio(service))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if captured:
        signal.raise_signal(captured[0])


async def _serve_stdio(service: Service) -> None:
    tools = make_tools(service)
    service.start()
    try:
        await tools.run_stdio_async()
    finally:
        service.close()


def _relay_input() -> Callable[[], None]:
    """Put a pipe in place of standard input, and return what ends it.

    What reads the input itself waits for it in a thread that nothing interrupts and that the process waits for.
    """
    given = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    lock, ended = threading.Lock(), False

    def end() -> None:
        nonlocal ended
        with lock:
            if not ended:
                ended = True
                os.close(writing)

    def relay() -> None:
        with suppress(OSError):  # its end is closed
            while data := os.read(given, 65536):
                while data:
                    data = data[os.write(writing, data) :]
        end()

    threading.Thread(target=relay, name="input", daemon=True).start()
    return end
