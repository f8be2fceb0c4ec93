"""Trying again: for how long, what the log says, and what became of a transaction whose commit was not answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import tenacity
from psycopg import errors as pg

logger = logging.getLogger(__name__)


class Patience:
    """Stops attempts some time after the first that failed, however long that one took."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failed_at: float | None = None
        self.waited_seconds = 0.0

    def __call__(self, _: tenacity.RetryCallState) -> bool:
        now = time.monotonic()
        if self._failed_at is None:
            self._failed_at = now
        self.waited_seconds = now - self._failed_at
        return self.waited_seconds >= self._seconds


def log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    code = getattr(error, "sqlstate", None) or type(error).__name__
    # The first, second, fourth, eighth …: a server that is away for long must not fill the log.
    if state.attempt_number.bit_count() == 1:
        logger.warning(
            "database failure %s may pass, trying again (attempt %d)",
            code,
            state.attempt_number,
            extra={"sqlstate": code},
        )


def transaction_status(transaction: str, *, connect: Callable[[], psycopg.Connection[Any]], seconds: float) -> str:
    """``committed``, ``aborted``, or ``unknown`` where PostgreSQL does not say so in time.

    Args:
        transaction: its id.
        connect: opens a connection in autocommit mode.
        seconds: for which it is asked.
    """

    def ask() -> str:
        try:
            with closing(connect()) as connection:
                row = connection.execute("SELECT pg_xact_status(%s::text::xid8)", [transaction]).fetchone()
        except pg.InvalidParameterValue:
            # An id the server has yet to give out: it crashed before it wrote anything of this transaction.
            return "aborted"
        except psycopg.OperationalError:
            return "in progress"  # lost again; raised, it would repeat the transaction in doubt
        return (row and row[0]) or "unknown"

    # Still in progress: the server has not yet noticed that its client is gone.
    status: str = tenacity.Retrying(
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(0.2),
        retry=tenacity.retry_if_result(lambda status: status == "in progress"),
        retry_error_callback=lambda _: "unknown",
    )(ask)
    return status
