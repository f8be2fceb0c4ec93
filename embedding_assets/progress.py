"""Progress on the command line: bars, counts, signs of life."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["bar", "counter", "spinner"]

_PLAIN_EVERY_SECONDS = 10.0


@contextmanager
def bar(console: Console, title: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar with rate and time left; where there is no terminal, a line every ten seconds."""
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
        ) as progress:
            task = progress.add_task(title, total=total, rate="")

            def advance(amount: int) -> None:
                progress.update(task, advance=amount)
                speed = progress.tasks[0].speed
                progress.update(task, rate=f"{speed:.1f} chunks/s" if speed else "")

            yield advance
    else:
        yield _PlainProgress(console, title, total)


class _PlainProgress:
    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._done = 0
        self._started = self._last = time.monotonic()

    def __call__(self, amount: int) -> None:
        if not amount:
            return
        complete = self._done < self._total <= self._done + amount
        self._done += amount
        now = time.monotonic()
        if now - self._last < _PLAIN_EVERY_SECONDS and not complete:
            return
        self._last = now
        rate = self._done / max(now - self._started, 1e-9)
        left = max(0, self._total - self._done) / rate if rate else 0
        total = max(self._done, self._total)
        self._console.print(
            f"{self._title}: {self._done:,} of {total:,} chunks, {rate:.1f} chunks/s, {left:.0f} s left",
            highlight=False,
        )


@contextmanager
def counter(console: Console, title: str, unit: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A running count of something whose total is unknown."""
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f} " + unit),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda amount: progress.advance(task, amount)


@contextmanager
def spinner(console: Console, title: str, *, quiet: bool = False) -> Iterator[None]:
    """A sign of life for something short."""
    if quiet:
        yield
    elif console.is_terminal:
        with console.status(title):
            yield
    else:
        console.print(title)
        yield
