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

from embedding_assets.pipeline.pace import Pace, seconds_between_lines


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
        yield Pace(total, lambda line: console.print(f"{title}: {line}", highlight=False))


@contextmanager
def steps(console: Console, title: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar of a few long steps; where there is no terminal, a line for each."""
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda amount: progress.update(task, advance=amount)
    else:
        done = 0

        def advance(amount: int) -> None:
            nonlocal done
            done += amount
            console.print(f"{title}: {done} of {total}", highlight=False)

        yield advance


class FileProgress:
    """Counts of files that are done and of what came of them, and a way to show them.

    Args:
        show: called with both whenever one of them has changed.
    """

    def __init__(self, show: Callable[[int, int], None] = lambda *_: None) -> None:
        self._show = show
        self._files = self._chunks = 0

    def files(self, count: int) -> None:
        """So many more files are done."""
        self._files += count
        self._show(self._files, self._chunks)

    def chunks(self, count: int) -> None:
        """So many more chunks are stored."""
        self._chunks += count
        self._show(self._files, self._chunks)


@contextmanager
def of_files(console: Console, title: str, total: int | None, *, quiet: bool = False) -> Iterator[FileProgress]:
    """A progress bar of files, with the chunks that came of them; without a terminal, a line every ten seconds.

    Args:
        console: where it is shown.
        title: what is done with them.
        total: how many files there are, if that is known.
        quiet: show nothing.
    """
    if quiet:
        yield FileProgress()
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn() if total else SpinnerColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(title, total=total, counts="")

            def show(files: int, chunks: int) -> None:
                progress.update(task, completed=files, counts=_files_and_chunks(files, chunks, total))

            yield FileProgress(show)
    else:
        begun = last = time.monotonic()

        def write(files: int, chunks: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= seconds_between_lines(now - begun):
                last = now
                console.print(f"{title}: {_files_and_chunks(files, chunks, total)}", highlight=False)

        yield FileProgress(write)


def _files_and_chunks(files: int, chunks: int, total: int | None) -> str:
    of_all = "" if total is None else f" of {max(total, files):,}"
    return f"{files:,}{of_all} files, {chunks:,} chunks"


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
