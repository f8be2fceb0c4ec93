"""Questions that are answered: a bounded number at once, each in bounded time."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.interruption import Interruptible, interruptible
from embedding_assets.serving.problems import AGAIN_SECONDS, Outcome, Problem, problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedding_assets.config import ServeConfig
    from embedding_assets.retrieval import Answer, Question
    from embedding_assets.serving.metrics import SearchMetrics

WAITING: Final = 4
"""Searches that may wait, as a multiple of those that are answered."""

STOP_SECONDS: Final = 3.0
"""That searches under way have when the service stops."""


class Answering:
    """Answers questions in threads of its own. Everything but ``answer`` itself runs in the event loop.

    Args:
        answer: to a question; what it waits for in the database is cancelled when its time is over.
        config: how many at once, and how long.
        metrics: what became of each.
    """

    def __init__(self, answer: Callable[[Question], Answer], config: ServeConfig, metrics: SearchMetrics) -> None:
        self._answer = answer
        self._seconds = config.timeout_seconds
        self._most = config.concurrency * (1 + WAITING)
        self._metrics = metrics
        self._executor = ThreadPoolExecutor(config.concurrency, "search")
        self._running: dict[Future[Answer], Interruptible] = {}
        self._stopping = False

    async def ask(self, question: Question) -> Answer:
        """The answer.

        Raises:
            Problem: there is none.
        """
        started = time.perf_counter()
        outcome: Outcome = "failed"
        try:
            answer = await self._ask(question)
            outcome = "answered"
        except Exception as error:  # noqa: BLE001 (whatever it is, it becomes a problem)
            problem = problem_of(error)
            outcome = problem.outcome
            raise problem from None
        finally:
            self._metrics.observe(question.mode, outcome, time.perf_counter() - started)
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

    async def _ask(self, question: Question) -> Answer:
        if self._stopping:
            raise _stopping()
        # What was given up counts until its thread is free.
        if len(self._running) >= self._most:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many searches are under way", outcome="busy",
                          again_seconds=1)  # fmt: skip
        future = self._submit(question)
        answered = asyncio.wrap_future(future)
        answered.add_done_callback(lambda one: one.cancelled() or one.exception())  # it may come when nothing waits
        try:
            await asyncio.wait([answered], timeout=self._seconds)
        finally:
            if not answered.done():
                self._give_up(future)
        if not answered.done():
            raise Problem(HTTPStatus.GATEWAY_TIMEOUT, f"the search took longer than {self._seconds:g} s",
                          outcome="timeout")  # fmt: skip
        if answered.cancelled():
            raise _stopping()
        try:
            return answered.result()
        except DatabaseError:
            # A statement that was cancelled fails like any other.
            if self._stopping:
                raise _stopping() from None
            raise

    def _submit(self, question: Question) -> Future[Answer]:
        with interruptible() as work:
            future = self._executor.submit(copy_context().run, self._answer, question)
        self._running[future] = work
        self._metrics.in_flight.set(len(self._running))
        loop = asyncio.get_running_loop()

        def ended(future: Future[Answer]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._forget, future)

        future.add_done_callback(ended)
        return future

    def _forget(self, future: Future[Answer]) -> None:
        self._running.pop(future, None)
        self._metrics.in_flight.set(len(self._running))

    def _give_up(self, one: Future[Answer] | None) -> None:
        """Cancel the statements of one search, or of all; returns at once."""
        for future, work in [*self._running.items()]:
            if (one is None or future is one) and not future.cancel() and not work.over:
                threading.Thread(target=work.give_up, args=([future],), name="giving up", daemon=True).start()


def _stopping() -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the service is stopping", outcome="unavailable",
                   again_seconds=AGAIN_SECONDS)  # fmt: skip
