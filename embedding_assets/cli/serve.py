"""The command ``embedding-assets serve``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from embedding_assets.cli.console import Json, err, print_json, session
from embedding_assets.errors import ConfigurationError

_PACKAGES: Final = ("mcp", "prometheus_client", "starlette", "uvicorn")


def serve(
    host: Annotated[
        str, typer.Option(help="Name or address to listen on. Other machines can reach all but loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8080,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="Listen on a Unix socket at this path instead.")
    ] = None,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Serve one agent by standard input and output (MCP) instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer questions of other programs over HTTP, and of agents over MCP, until it is stopped.

    EMBEDDING_SERVE_KEY is the key that requests have to bring; without it only this machine is served.
    """
    if stdio and socket is not None:
        raise ConfigurationError("--stdio and --socket exclude each other")
    with session() as settings:
        if missing := [name for name in _PACKAGES if find_spec(name) is None]:
            raise ConfigurationError(
                f"serving needs packages that are not installed ({', '.join(missing)}); run: "
                "pip install 'embedding-assets[serve]'"
            )
        from embedding_assets.serving.listening import listening, listening_at
        from embedding_assets.serving.server import serve_http, serve_stdio

        if stdio:
            serve_stdio(settings)
            return
        with ExitStack() as stack:
            at = stack.enter_context(
                listening(host, port, settings.serve) if socket is None else listening_at(socket, settings.serve)
            )
            if as_json:
                print_json({"address": at.address, "port": at.port, "pid": os.getpid()})
                sys.stdout.flush()
            err.print(f"Serving on {at.address} (stop it with Ctrl-C)", highlight=False, soft_wrap=True)
            serve_http(settings, at)
