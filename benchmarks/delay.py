"""A proxy before PostgreSQL that holds back every byte, as a network between two machines does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


@contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """Give a URL for the same server, to which a round trip takes ``seconds`` more."""
    where = conninfo_to_dict(url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    connections: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def write(data: bytes) -> None:
            if not writer.is_closing():
                writer.write(data)

        while data := await reader.read(2**16):
            loop.call_later(seconds / 2, write, data)
        loop.call_later(seconds / 2, writer.close)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections.add(task)
        socket = f"{where['host']}/.s.PGSQL.{where.get('port') or 5432}"
        with suppress(asyncio.CancelledError, ConnectionError):
            server_reader, server_writer = await asyncio.open_unix_connection(socket)
            await asyncio.gather(forward(reader, server_writer), forward(server_reader, writer))

    async def close() -> None:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(connect, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    try:
        yield make_conninfo(url, host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
