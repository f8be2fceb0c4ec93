"""The desk where questions of all kinds are answered: a bounded number at once, each in bounded time."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.interruption import Interruptible, interruptible
from embedding_assets.serving.problems import AGAIN_SECONDS, Outcome, Problem, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedding_assets.config import ServeConfig
    from embedding_assets.serving.metrics import SearchMetrics

T = TypeVar("T")

WAITING: Final = 4
"""Questions that may wait, as a multiple of those that are answered."""

STOP_SECONDS: Final = 3.0
"""That questions under way have when the service stops."""


class Desk:
    """Answers questions in threads of its own; all of its methods are called in the event loop.

    Args:
        config: how many at once, and how long.
        metrics: what became of each.
    """

    def __init__(self, config: ServeConfig, metrics: SearchMetrics) -> None:
        self._seconds = config.timeout_seconds
        self._most = config.concurrency * (1 + WAITING)
        self._metrics = metrics
        self._executor = ThreadPoolExecutor(config.concurrency, "question")
        self._running: dict[Future[Any], Interruptible] = {}
        self._stopping = False

    async def do(self, work: Callable[[], T], kind: str) -> T:
        """What ``work`` returns; what it waits for in the database is cancelled when its time is over.

        Args:
            work: that blocks.
            kind: of question, for the metrics.

        Raises:
            Problem: there is no answer.
        """
        started = time.perf_counter()
        outcome: Outcome = "failed"
        try:
            answer = await self._do(work)
            outcome = "answered"
        except Exception as error:  # noqa: BLE001 (whatever it is, it becomes a problem)
            problem = problem_of(error)
            outcome = problem.outcome
            raise problem from None
        finally:
            self._metrics.observe(kind, outcome, time.perf_counter() - started)
        return answer

    def stop(self) -> None:
        """Take no more questions; give up after ``STOP_SECONDS`` those that are not answered by then."""
        self._stopping = True
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._give_up, None)

    def close(self) -> None:
        """Give up whatever is left, and end the threads."""
        self._stopping = True
        self._give_up(None)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _do(self, work: Callable[[], T]) -> T:
        if self._stopping:
            raise _stopping()
        # What was given up counts until its thread is free.
        if len(self._running) >= self._most:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many searches are under way", outcome="busy", again_seconds=1
            )
        future = self._submit(work)
        answered = asyncio.wrap_future(future)
        answered.add_done_callback(lambda one: one.cancelled() or one.exception())  # it may come when nothing waits
        try:
            await asyncio.wait([answered], timeout=self._seconds)
        finally:
            if not answered.done():
                self._give_up(future)
        if not answered.done():
            raise Problem(
                HTTPStatus.GATEWAY_TIMEOUT, f"the search took longer than {self._seconds:g} s", outcome="timeout"
            )
        if answered.cancelled():
            raise _stopping()
        try:
            return answered.result()
        except DatabaseError:
            # A statement that was cancelled fails like any other.
            if self._stopping:
                raise _stopping() from None
            raise

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with interruptible() as interruption:
            future = self._executor.submit(copy_context().run, work)
        self._running[future] = interruption
        self._metrics.in_flight.set(len(self._running))
        loop = asyncio.get_running_loop()

        def ended(future: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._forget, future)

        future.add_done_callback(ended)
        return future

    def _forget(self, future: Future[Any]) -> None:
        self._running.pop(future, None)
        self._metrics.in_flight.set(len(self._running))

    def _give_up(self, one: Future[Any] | None) -> None:
        """Cancel the statements of one question, or of all; returns at once."""
        for future, interruption in [*self._running.items()]:
            if (one is None or future is one) and not future.cancel() and not interruption.over:
                threading.Thread(target=interruption.give_up, args=([future],), name="giving up", daemon=True).start()


def _stopping() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the service is stopping",
        outcome="unavailable",
        again_seconds=AGAIN_SECONDS,
    )
