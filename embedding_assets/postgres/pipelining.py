"""Statements that are sent together and answered together, so that a distant server costs one round trip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from psycopg import Pipeline


@contextmanager
def pipelined(connection: psycopg.Connection[Any]) -> Iterator[Pipeline]:
    """Send what is executed inside together, at the end or when the pipeline is synchronized.

    BEGIN and COMMIT are to be executed inside: the driver's own are round trips of their own. A transaction that was
    not committed is rolled back.
    """
    connection.autocommit = True
    try:
        with connection.pipeline() as pipeline:
            yield pipeline
    finally:
        with suppress(psycopg.OperationalError):
            connection.rollback()
        if not connection.closed:
            connection.autocommit = False
