"""One event loop for all that is asked of stores, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future, wait
from functools import cache
from typing import Any, Final, TypeVar

from embedding_assets.logs import unlogged_client
from embedding_assets.postgres.interruption import check_stopped

T = TypeVar("T")

_LOOK_SECONDS: Final = 5.0


def start(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin ``work``; to cancel the future cancels it."""
    return asyncio.run_coroutine_threadsafe(work, _loop(os.getpid()))


def result_of(future: Future[T]) -> T:
    """The result of what was begun, or what it raised. Whatever ends the wait before that cancels it."""
    try:
        while not wait([future], _LOOK_SECONDS).done:
            check_stopped()
        return future.result()
    except BaseException:
        future.cancel()
        raise


def run(work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
    """The result of ``work``.

    Raises:
        TimeoutError: it takes longer than ``seconds``.
    """
    return result_of(start(work if seconds is None else asyncio.wait_for(work, seconds)))


async def next_of(stream: AsyncIterator[T]) -> T | None:
    """The next one; None at the end."""
    async for one in stream:
        return one
    return None


@cache
def _loop(process: int) -> asyncio.AbstractEventLoop:  # noqa: ARG001 (a forked process has no thread of its parent's)
    loop = asyncio.new_event_loop()

    def live() -> None:
        with unlogged_client():
            loop.run_forever()

    # A daemon: a program that ends does not wait for answers.
    threading.Thread(target=live, name="stores", daemon=True).start()
    return loop
