"""The package's log lines in the log of the run that they belong to, whatever the instance captures."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.logs import redact

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext

_PACKAGE: Final = "embedding_assets"


@dataclass(frozen=True, slots=True, eq=False)
class _RunLog:
    """A run's log, and the loggers that Dagster itself copies into it."""

    log: logging.Logger
    captured: tuple[str, ...]

    def write(self, record: logging.LogRecord) -> None:
        if not any(_is_below(record.name, name) for name in self.captured):
            # The message alone: a driver's traceback may quote a row.
            self.log.log(record.levelno, "%s", redact(record.getMessage()))


class _RunLogHandler(logging.Handler):
    """Hands records to the run of the context they come from; from threads without one, to the only run there is."""

    def __init__(self) -> None:
        super().__init__()
        self._current: ContextVar[_RunLog | None] = ContextVar("embedding_assets_run_log", default=None)
        self._open: list[_RunLog] = []
        self._opening = threading.Lock()
        self._level = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        target = self._current.get()
        if target is None:
            with self._opening:
                target = self._open[0] if len(self._open) == 1 else None
        if target is not None:
            target.write(record)

    @contextmanager
    def writing_to(self, target: _RunLog) -> Iterator[None]:
        token = self._current.set(target)
        with self._opening:
            if not self._open:
                self._lower_level()
            self._open.append(target)
        try:
            yield
        finally:
            with self._opening:
                self._open.remove(target)
                if not self._open:
                    logging.getLogger(_PACKAGE).setLevel(self._level)
            self._current.reset(token)

    def _lower_level(self) -> None:
        logger = logging.getLogger(_PACKAGE)
        self._level = logger.level
        # Python's own default shows warnings alone; what the project has set for the package holds.
        if logger.level == logging.NOTSET and logger.getEffectiveLevel() > logging.INFO:
            logger.setLevel(logging.INFO)


_handler: Final = _RunLogHandler()


@contextmanager
def logged_to(context: AssetExecutionContext | AssetCheckExecutionContext) -> Iterator[None]:
    """Send what the package logs meanwhile to ``context.log`` too, its level kept; not twice where Dagster does so."""
    logger = logging.getLogger(_PACKAGE)
    if _handler not in logger.handlers:
        logger.addHandler(_handler)
    # A step within a step, as a test runs them, has the log of the inner one.
    with _handler.writing_to(_RunLog(context.log, tuple(context.instance.managed_python_loggers))):
        yield


def _is_below(name: str, captured: str) -> bool:
    return captured in ("root", name) or name.startswith(f"{captured}.")
