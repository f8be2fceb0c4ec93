"""Work in other threads that is given up: the statements it waits for are cancelled, and none is begun again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from psycopg import Error

from embedding_assets.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

T = TypeVar("T")

_AGAIN_SECONDS: Final = 0.2
"""Between two attempts to cancel: one may find the connection between two statements."""

_CANCEL_SECONDS: Final = 2.0


class WorkInterruptedError(DatabaseError):
    """The work was given up by the thread that had asked for it."""

    def __init__(self) -> None:
        super().__init__("interrupted; what was committed stays, run again to go on")


class Interruptible:
    """Database work that can be given up, in whatever threads it is done.

    Attributes:
        over: whether it has been.
        polling: whether it asks for a lock again and again.
    """

    def __init__(self) -> None:
        self.over = False
        self.polling = False
        self._lock = threading.Lock()
        self._connections: set[psycopg.Connection[Any]] = set()

    def give_up(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel statements until all of ``futures``, which do the work, have ended; then it may go on otherwise."""
        self.over = True
        left = set(futures)
        while left := wait(left, timeout=_AGAIN_SECONDS).not_done:
            for connection in self._watched():
                with suppress(Error):
                    connection.cancel_safe(timeout=_CANCEL_SECONDS)
        self.over = False

    def is_blocked(self, session: Callable[[], AbstractContextManager[psycopg.Connection[Any]]]) -> bool:
        """True if the work waits for a lock that another session holds; asks on a ``session`` of its own."""
        if self.polling:
            return True
        query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY(%s) AND wait_event_type = 'Lock')"
        with session() as connection:
            return connection.execute(query, [self.pids()]).fetchone() == (True,)

    def pids(self) -> list[int]:
        """Of the server's processes that work for it just now."""
        return [connection.info.backend_pid for connection in self._watched() if not connection.closed]

    def _watched(self) -> list[psycopg.Connection[Any]]:
        with self._lock:
            return list(self._connections)

    @contextmanager
    def _watch(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        with self._lock:
            self._connections.add(connection)
        try:
            check_interrupted()
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)


_stop: ContextVar[Callable[[], None] | None] = ContextVar("embedding_assets_stop", default=None)

_current: ContextVar[Interruptible | None] = ContextVar("embedding_assets_interruptible", default=None)


@contextmanager
def interruptible() -> Iterator[Interruptible]:
    """Database work in this context, and in copies of it, is that of the ``Interruptible`` yielded."""
    work = Interruptible()
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)


@contextmanager
def watched(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """What ``connection`` executes meanwhile is cancelled when the work under way is given up.

    Raises:
        WorkInterruptedError: it has been.
    """
    work = _current.get()
    if work is None:
        yield
        return
    with work._watch(connection):
        yield


@contextmanager
def polling() -> Iterator[None]:
    """The work under way waits for a lock, though no statement of it does."""
    work = _current.get()
    if work is None:
        yield
        return
    work.polling = True
    try:
        yield
    finally:
        work.polling = False


@contextmanager
def stopped_by(check: Callable[[], None]) -> Iterator[None]:
    """Have ``check`` called now and then by long work in this context; what it raises ends that work."""
    token = _stop.set(check)
    try:
        yield
    finally:
        _stop.reset(token)


def check_stopped() -> None:
    """Call what the context has for it; to be called from the thread that began the work."""
    check = _stop.get()
    if check is not None:
        check()


def is_interrupted() -> bool:
    """True if the work under way has been given up."""
    work = _current.get()
    return work is not None and work.over


def check_interrupted() -> None:
    """Raise ``WorkInterruptedError`` if the work under way has been given up."""
    if is_interrupted():
        raise WorkInterruptedError


def within(seconds: float, work: Callable[[], T]) -> T:
    """Do ``work`` in a thread, given up after ``seconds``.

    Raises:
        WorkInterruptedError: it was not done in time.
        DatabaseError: it failed.
    """
    started = time.monotonic()
    with interruptible() as limited, ThreadPoolExecutor(1, "within") as executor:
        future = executor.submit(copy_context().run, work)
        wait([future], timeout=seconds)
        if not future.done():
            limited.give_up([future])
        try:
            return future.result()
        except DatabaseError:
            if time.monotonic() - started >= seconds:
                raise WorkInterruptedError from None
            raise
