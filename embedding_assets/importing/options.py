"""What a person may say of any import, and how they hear of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows the progress of something that has a title and maybe a total."""


@contextmanager
def silent(_: str, __: int | None) -> Iterator[Callable[[int], None]]:
    """No progress."""
    yield lambda _: None


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a person may say of any import.

    Attributes:
        check: compare only.
        drop_differing: leave single vectors that differ to be embedded again.
        sample: how many vectors to compare; None: 64 with a local model, 16 with an API.
        progress: shows it.
        notice: called with a line before texts go to an API.
    """

    check: bool = False
    drop_differing: bool = False
    sample: int | None = None
    progress: Progress = silent
    notice: Callable[[str], None] = lambda _: None
