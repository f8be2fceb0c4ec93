"""Results of a coroutine, for a caller that knows nothing of event loops."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

Emit = Callable[[T], Awaitable[None]]
"""Hands a result over; waits while too many have not been taken."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def iterate_in_background(produce: Callable[[Emit[T]], Awaitable[None]], *, most_waiting: int) -> Iterator[T]:
    """Iterate over what ``produce`` emits, while it runs on an event loop in a thread of its own.

    What it raises is raised here. Closing the iterator cancels it and waits until it has tidied up.

    Args:
        produce: is given the function to emit with.
        most_waiting: results that may wait to be taken before ``produce`` has to wait.
    """
    results: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    room, closing = asyncio.Semaphore(most_waiting), asyncio.Event()

    async def emit(result: T) -> None:
        await room.acquire()
        results.put(result)

    async def run() -> None:
        work, closed = asyncio.ensure_future(produce(emit)), asyncio.ensure_future(closing.wait())
        await asyncio.wait([work, closed], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        closed.cancel()
        await work

    def call(action: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nothing waits any more
            loop.call_soon_threadsafe(action)

    def live() -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(run())
        except BaseException as raised:  # noqa: BLE001 (raised again by the thread that waits for it)
            error = raised
        results.put(_End(error))

    # A daemon: a program that ends without closing the iterator does not wait for answers.
    thread = threading.Thread(target=copy_context().run, args=(live,), name="background", daemon=True)
    thread.start()
    try:
        while not isinstance(result := results.get(), _End):
            call(room.release)
            yield result
        if result.error is not None:
            raise result.error
    finally:
        # After a fork, or while the interpreter ends, the thread is no more.
        if thread.is_alive() and not sys.is_finalizing():
            call(closing.set)
            thread.join()
