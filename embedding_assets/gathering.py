"""Single items that tasks of an event loop hand in side by side, worked on together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
R = TypeVar("R")

_SECONDS: Final = 0.003
"""For which a group waits for further items while others are worked on."""


class _Group(Generic[T, R]):
    """Items that will be worked on together, each with what is to hold its outcome."""

    def __init__(self, serving: Callable[[_Group[T, R]], Coroutine[None, None, None]]) -> None:
        self._items: list[tuple[T, asyncio.Future[R]]] = []
        self.serving = asyncio.ensure_future(serving(self))

    def add(self, item: T) -> asyncio.Future[R]:
        outcome: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._items.append((item, outcome))
        return outcome

    @property
    def wanted(self) -> list[tuple[T, asyncio.Future[R]]]:
        """The items without outcome that somebody waits for."""
        return [(item, outcome) for item, outcome in self._items if not outcome.done()]


class _Side(Generic[K, T, R]):
    """What goes on in one event loop: the groups that are open for further items, and the calls under way."""

    def __init__(self, most_at_once: int) -> None:
        self.open: dict[K, _Group[T, R]] = {}
        self.room = asyncio.Semaphore(most_at_once)
        self.under_way = 0

    def close(self, key: K, group: _Group[T, R]) -> None:
        """Let no further items into a group."""
        if self.open.get(key) is group:
            del self.open[key]


class Gatherer(Generic[K, T, R]):
    """Hands items of the same key to one call of ``work``, as a data loader does.

    An item that finds nothing under way is worked on at once, with all others that are ready then. While something is,
    further ones gather for some milliseconds, or for as long as ``most_at_once`` calls are under way.

    Args:
        work: is given the key and the items; returns for each its result, or the error that is its caller's alone.
            What it raises is raised for all of them. It is cancelled once none of its callers waits any more.
        most_at_once: calls of ``work`` at once on an event loop.
    """

    def __init__(
        self, work: Callable[[K, Sequence[T]], Awaitable[Sequence[R | Exception]]], *, most_at_once: int
    ) -> None:
        self._work = work
        self._most_at_once = most_at_once
        self._sides: dict[asyncio.AbstractEventLoop, _Side[K, T, R]] = {}

    async def submit(self, key: K, item: T) -> R:
        """The result of one item; cancelled before the work on it began, it is left out."""
        loop = asyncio.get_running_loop()
        side = self._sides.setdefault(loop, _Side(self._most_at_once))
        group = side.open.get(key)
        if group is None:
            group = side.open[key] = _Group(lambda group: self._serve(loop, side, key, group))
        try:
            return await group.add(item)
        except asyncio.CancelledError:
            if not group.wanted:
                side.close(key, group)
                group.serving.cancel()
            raise

    async def _serve(self, loop: asyncio.AbstractEventLoop, side: _Side[K, T, R], key: K, group: _Group[T, R]) -> None:
        try:
            await asyncio.sleep(_SECONDS if side.under_way else 0)
            async with side.room:
                side.close(key, group)
                side.under_way += 1
                try:
                    wanted = group.wanted
                    results = await self._work(key, [item for item, _ in wanted])
                finally:
                    side.under_way -= 1
            for (_, outcome), result in zip(wanted, results, strict=True):
                _settle(outcome, result)
        except Exception as error:  # noqa: BLE001 (raised where it is waited for)
            for _, outcome in group.wanted:
                _settle(outcome, error)
        finally:
            side.close(key, group)
            for _, outcome in group.wanted:
                outcome.cancel()
            if not side.open and not side.under_way:
                self._sides.pop(loop, None)


def _settle(outcome: asyncio.Future[R], result: R | Exception) -> None:
    if outcome.done():
        return
    if isinstance(result, Exception):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)
