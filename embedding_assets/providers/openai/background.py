"""Results of coroutines, for callers that know nothing of event loops."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from embedding_assets.postgres.interruption import check_stopped
from embedding_assets.providers.cancelling import CallCancelledError, when_cancelled

R = TypeVar("R")
T = TypeVar("T")

Emit = Callable[[T], Awaitable[None]]
"""Hands a result over; waits while too many have not been taken."""

_STOPPING_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class _Loop(Generic[R]):
    """An event loop in a thread, with a resource that is opened by the first task and closed with the loop."""

    def __init__(self, open_resource: Callable[[], AbstractAsyncContextManager[R]]) -> None:
        self._open_resource = open_resource
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._opening = asyncio.Lock()
        self._resources = AsyncExitStack()
        self._resource: list[R] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # A daemon: a program that ends does not wait for answers.
        self.thread = threading.Thread(target=self._live, name="background", daemon=True)
        self.thread.start()

    async def resource(self) -> R:
        async with self._opening:
            if not self._resource:
                self._resource.append(await self._resources.enter_async_context(self._open_resource()))
        return self._resource[0]

    def start(
        self, work: Callable[[], Awaitable[None]], end: Callable[[BaseException | None], object]
    ) -> Callable[[], object]:
        """Begin ``work``; once it is over, ``end`` is given what it raised. Returns what cancels it."""
        raised: list[BaseException] = []
        begun: list[asyncio.Task[None]] = []

        async def run() -> None:
            try:
                await work()
            except BaseException as error:  # noqa: BLE001 (raised again by the thread that waits for it)
                raised.append(error)

        def begin() -> None:
            task = self._loop.create_task(run())
            begun.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda done: end(raised.pop() if raised else _cancelled(done)))

        if not self.call(begin):
            end(RuntimeError("closed before the call had begun"))
        return lambda: self.call(lambda: begun[0].cancel())  # noqa: PLW0108 (it has not begun yet)

    def call(self, action: Callable[[], object]) -> bool:
        """Run ``action`` on the loop; returns whether it is still open."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)
            return True
        return False

    def stop(self, *, at_exit: bool = True) -> None:
        """Cancel the tasks and close the resource; at the end of the program, only where there are no tasks."""
        # After a fork, or while the interpreter ends, the thread is no more.
        if not self.thread.is_alive() or sys.is_finalizing() or (at_exit and self._tasks):
            return
        self.call(self._stopping.set)
        if threading.current_thread() is not self.thread:
            self.thread.join(_STOPPING_SECONDS if at_exit else None)

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        async with self._resources:
            await self._stopping.wait()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Background(Generic[R]):
    """Runs coroutines on an event loop in a thread of its own, with a resource that all of them share.

    Thread and resource are there from the first call on until ``close``, or until this object or the program ends. A
    forked process has its own.

    Args:
        open_resource: makes it, on the loop; must not refer to the owner of this object, or neither would ever end.
    """

    def __init__(self, open_resource: Callable[[], AbstractAsyncContextManager[R]]) -> None:
        self._open_resource = open_resource
        self._lock = threading.Lock()
        self._running: _Loop[R] | None = None
        self._end: weakref.finalize[[], Any] | None = None
        _backgrounds.add(self)

    def iterate(self, produce: Callable[[R, Emit[T]], Awaitable[None]], *, most_waiting: int) -> Iterator[T]:
        """Iterate over what ``produce`` emits. What it raises is raised here.

        Closing the iterator, or giving up the call (``cancelling``), cancels it and waits until it has tidied up.

        Args:
            produce: is given the resource, and the function to emit with.
            most_waiting: results that may wait to be taken before ``produce`` has to wait.
        """
        results: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        ended = threading.Event()
        room = asyncio.Semaphore(most_waiting)
        loop = self._loop()

        async def emit(result: T) -> None:
            try:
                await room.acquire()
            finally:
                results.put(result)  # also when it is cancelled: it may have been paid for

        async def work() -> None:
            await produce(await loop.resource(), emit)

        def end(error: BaseException | None) -> None:
            ended.set()
            results.put(_End(error))

        cancel = loop.start(work, end)
        when_cancelled(lambda: results.put(_End(CallCancelledError())))
        try:
            while not isinstance(result := _take(results), _End):
                loop.call(room.release)
                yield result
            if result.error is not None:
                raise result.error
        finally:
            result = _End(None)  # or the error would keep itself alive, and what it has seen
            if loop.thread.is_alive() and not sys.is_finalizing():
                cancel()
                ended.wait()

    def close(self) -> None:
        """Cancel what runs, and close thread and resource; a later call opens them again."""
        with self._lock:
            running, self._running = self._running, None
            if self._end is not None:
                self._end.detach()
        if running is not None:
            running.stop(at_exit=False)

    def _loop(self) -> _Loop[R]:
        with self._lock:
            if self._running is None:
                self._running = _Loop(self._open_resource)
                self._end = weakref.finalize(self, self._running.stop)
            return self._running

    def _renew(self) -> None:
        """In a forked process: its parent's thread is not there, and must not lose its files by what is closed here."""
        self._lock = threading.Lock()
        _left_to_parents.append(self._running)
        self._running = None


def _take(results: queue.SimpleQueue[T]) -> T:
    """The next result; what the work under way is stopped by is asked meanwhile, as an outage may last."""
    while True:
        with suppress(queue.Empty):
            return results.get(timeout=_LOOK_SECONDS)
        check_stopped()


def _cancelled(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else None


_backgrounds: weakref.WeakSet[Background[Any]] = weakref.WeakSet()
_left_to_parents: list[object] = []


def _renew_all() -> None:
    for background in list(_backgrounds):
        background._renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_all)
