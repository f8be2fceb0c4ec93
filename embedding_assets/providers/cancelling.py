"""Giving up a call of a provider from another thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar

_given_up: ContextVar[Future[None] | None] = ContextVar("embedding_assets_given_up", default=None)


class CallCancelledError(Exception):
    """The call was given up by its caller, who no longer waits for it."""


@contextmanager
def cancellable(given_up: Future[None]) -> Iterator[None]:
    """Calls within end early once ``given_up`` is cancelled, which any thread may do at any time."""
    token = _given_up.set(given_up)
    try:
        yield
    finally:
        _given_up.reset(token)


def check_cancelled() -> None:
    """Raise ``CallCancelledError`` if the call under way has been given up."""
    given_up = _given_up.get()
    if given_up is not None and given_up.cancelled():
        raise CallCancelledError


def when_cancelled(wake: Callable[[], object]) -> None:
    """Have ``wake`` called when the call under way is given up: in that thread, or here if it has been."""
    given_up = _given_up.get()
    if given_up is not None:
        given_up.add_done_callback(lambda _: wake())
