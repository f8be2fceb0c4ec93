"""What becomes of requests, given to the database in threads of its own: money is concerned, so nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Concatenate, Final, ParamSpec, TypeVar

from embedding_assets.errors import DatabaseError, EmbeddingAssetsError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.admission import release
from embedding_assets.postgres.usage.sums import sum_up_usage
from embedding_assets.providers.openai.account import ApiAccount

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_LEDGER_THREADS: Final = 2
"""Of the pool's connections; the pipeline needs others to fetch and to write."""

_SUMMING_SECONDS: Final = 3600.0
_SUMMING_ON_SECONDS: Final = 5.0
"""Between two times of summing up old requests; the shorter one where many are left."""


class Recorder:
    """Asks and tells the database, without keeping the event loop from its work.

    Args:
        account: whose requests they are.
        database: where they are counted.
        counted: False: it cannot be written, and nothing is recorded.

    Attributes:
        failure: why an outcome could not be recorded.
    """

    def __init__(self, account: ApiAccount, database: Database, *, counted: bool = True) -> None:
        self._counted = counted
        self.failure: DatabaseError | None = None
        self._account = account
        self._database = database
        self._threads = ThreadPoolExecutor(_LEDGER_THREADS, "ledger")

    def open(self) -> None:
        """Sum up old requests if it is time for that."""
        if self._counted and time.monotonic() >= self._account.summing_at:
            self._account.summing_at = time.monotonic() + _SUMMING_SECONDS
            self._threads.submit(copy_context().run, self._sum_up)

    async def close(self) -> None:
        """Wait for what is under way, while the event loop goes on with other calls."""
        await asyncio.to_thread(self._threads.shutdown)

    def submit(
        self, function: Callable[Concatenate[Database, P], T], *arguments: P.args, **options: P.kwargs
    ) -> asyncio.Future[T]:
        """Call ``function`` with the database and these arguments."""
        # In a copy of the context, so that what is logged carries the run's id.
        work: Callable[[], T] = partial(copy_context().run, function, self._database, *arguments, **options)
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def run(self, function: Callable[Concatenate[Database, P], T], *arguments: P.args, **options: P.kwargs) -> T:
        """The same, to the end even when cancelled."""
        return await _to_the_end(self.submit(function, *arguments, **options))

    async def give_back(self, reservation: int) -> None:
        """Release a reservation that is not used after all."""
        if self._counted:
            await self.run(release, reservation, given_up=True)

    async def record(self, record: Callable[[Database], float]) -> float | None:
        """Give the database an outcome; if it fails, ``failure`` says so, and the outcome is kept for ``record_late``.

        Returns:
            What ``record`` returns; None: it failed, or nothing is recorded.
        """
        if not self._counted:
            return None
        try:
            return await self._record(record)
        except DatabaseError as error:
            self.failure = self.failure or error
            logger.warning("the outcome of a request could not be recorded, which the next call does")
            return None

    async def record_late(self) -> None:
        """Give the database what it could not be given before.

        Raises:
            DatabaseError: it still cannot, or an outcome of this call could not.
        """
        if self.failure is not None:
            raise self.failure
        while self._account.unrecorded:
            await self._record(self._account.unrecorded.pop())

    async def _record(self, record: Callable[[Database], float]) -> float:
        def keep(recorded: asyncio.Future[float]) -> None:
            if isinstance(recorded.exception(), DatabaseError):
                self._account.unrecorded.append(record)

        recording = self.submit(record)
        # Whether or not it is waited for.
        recording.add_done_callback(keep)
        return await _to_the_end(recording)

    def _sum_up(self) -> None:
        try:
            if sum_up_usage(self._database):
                self._account.summing_at = time.monotonic() + _SUMMING_ON_SECONDS
        except EmbeddingAssetsError as error:
            logger.info("old requests were not summed up: %s", error)  # the next hour will do


async def _to_the_end(running: asyncio.Future[T]) -> T:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
