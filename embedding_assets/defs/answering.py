"""Looks at a database that end in time, whatever the database does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Final, TypeVar

from embedding_assets.errors import DatabaseUnavailableError, EmbeddingAssetsError
from embedding_assets.postgres.bootstrap import resolve_url
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.interruption import Interruptible, interruptible
from embedding_assets.postgres.lock_holders import describe_waiting

if TYPE_CHECKING:
    from embedding_assets.config import Settings

T = TypeVar("T")

_DIAGNOSIS_SECONDS: Final = 5.0

_under_way: Final[dict[str, Future[object]]] = {}
"""By the name of the sensor that waited for them in vain."""


def answer_within(name: str, seconds: float, settings: Settings, work: Callable[[], T]) -> T:
    """What ``work`` returns, which uses the database of ``settings``; given up after some seconds.

    Args:
        name: of the caller, of whom at most one look is under way.
        seconds: to wait.
        settings: to ask the database what keeps it.
        work: done in a thread of its own: neither the look-up of a name nor a login can be cancelled.

    Raises:
        DatabaseUnavailableError: there was no answer in time; says what the database was doing.
        EmbeddingAssetsError: ``work`` failed.
    """
    before = _under_way.get(name)
    if before is not None and not before.done():
        raise DatabaseUnavailableError(_said(settings, f"still does not answer{_reason(settings, None)}"))
    handle, outcome = _start(work)
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():
            raise
    reason = _reason(settings, handle)
    _under_way[name] = outcome  # type: ignore[assignment]
    threading.Thread(target=handle.give_up, args=([outcome],), name="give up", daemon=True).start()
    raise DatabaseUnavailableError(_said(settings, f"has not answered within {seconds:g} s{reason}"))


def _start(work: Callable[[], T]) -> tuple[Interruptible, Future[T]]:
    outcome: Future[T] = Future()
    with interruptible() as handle:
        context = copy_context()

    def do() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            outcome.set_exception(error)

    threading.Thread(target=context.run, args=(do,), name="look", daemon=True).start()
    return handle, outcome


def _said(settings: Settings, what: str) -> str:
    if settings.database.url is None:
        return f"the embedded PostgreSQL {what}"
    address = Database(settings.database.url.get_secret_value(), settings.database).address
    return f"PostgreSQL at {address} {what}"


def _reason(settings: Settings, handle: Interruptible | None) -> str:
    """What keeps the database, asked on another connection; in words that follow on others."""
    if handle is not None and handle.polling:
        return ": the look waits for an index build or a migration to end"
    brief = settings.database.model_copy(update={"retry_seconds": 0.0, "connect_timeout_seconds": 3})
    pids = handle.pids() if handle else []

    def ask() -> str:
        with Database(resolve_url(settings), brief).session() as connection:
            return describe_waiting(connection, pids)

    _, outcome = _start(ask)
    try:
        found = outcome.result(_DIAGNOSIS_SECONDS)
    except (TimeoutError, EmbeddingAssetsError):
        return " and accepts no connection; check that its server is well, and EMBEDDING_DATABASE_URL"
    return f": {found}" if found else "; it accepts connections by now, so the next tick may be answered"
