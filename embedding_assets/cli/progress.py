"""Progress on the command line: bars, counts, signs of life."""

from __future__ import annotations

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

from embedding_assets.pipeline.pace import Pace


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
