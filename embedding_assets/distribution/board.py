"""What a worker's threads leave for its driver, and what the driver asks of them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from embedding_assets.logs import redact
from embedding_assets.postgres.interruption import check_interrupted, polling

_ASK_AGAIN_SECONDS: Final = 0.2
_MOST_RECORDS: Final = 1000
"""Of log lines between two looks of the driver; the oldest of more are dropped, and counted."""


class StopEmbedding(BaseException):
    """The driver wants this worker to stop: what is embedded is written, as after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Report:
    """What has happened since the last report.

    Attributes:
        advanced: chunks finished.
        asks_to_write: whether the worker has its first vectors, and waits for leave to write them.
        records: log records as ``logging.makeLogRecord`` takes them, oldest first.
        dropped: records that were too many to keep.
    """

    advanced: int
    asks_to_write: bool
    records: list[dict[str, Any]]
    dropped: int


class Board:
    """Between the thread that embeds, the one that writes and those that answer the driver."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._advanced = 0
        self._records: deque[dict[str, Any]] = deque()
        self._dropped = 0
        self._asks = self._may_write = self._stopped = False

    def advance(self, chunks: int) -> None:
        """Note that chunks are finished.

        Raises:
            StopEmbedding: this was asked for.
        """
        with self._changed:
            self._advanced += chunks
            self._changed.notify_all()
        self.check_stopped()

    def check_stopped(self) -> None:
        """Raise ``StopEmbedding`` if this was asked for."""
        if self._stopped:
            raise StopEmbedding

    def log(self, record: dict[str, Any]) -> None:
        """Keep a log record."""
        with self._changed:
            if len(self._records) >= _MOST_RECORDS:
                self._records.popleft()
                self._dropped += 1
            self._records.append(record)
            self._changed.notify_all()

    def wait_until_allowed(self) -> None:
        """Wait for the leave to write.

        Raises:
            WorkInterruptedError: the run was given up meanwhile.
        """
        with self._changed, polling():
            self._asks = not self._may_write
            self._changed.notify_all()
            while not self._may_write:
                check_interrupted()
                self._changed.wait(_ASK_AGAIN_SECONDS)
            self._asks = False

    def allow(self) -> None:
        """Give leave to write, now and from now on."""
        with self._changed:
            self._may_write = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Have the thread that embeds stop at its next step."""
        self._stopped = True

    def take(self, timeout_seconds: float) -> Report:
        """What has happened since the last call; waits for something to happen."""
        with self._changed:
            self._changed.wait_for(lambda: self._advanced or self._records or self._asks, timeout_seconds)
            report = Report(self._advanced, self._asks, list(self._records), self._dropped)
            self._advanced = self._dropped = 0
            self._records.clear()
            return report


class RelayHandler(logging.Handler):
    """Leaves log records on a board, formatted and without passwords, so that they can be sent to the driver."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board

    def emit(self, record: logging.LogRecord) -> None:
        """Leave a record."""
        kept = {name: value for name, value in vars(record).items() if _is_plain(value)}
        try:
            text = redact(record.getMessage())
        except (TypeError, ValueError, KeyError):  # the standard handler would print the values
            text = f"{record.filename}:{record.lineno} logged a message that its values do not fit"
        if record.exc_info:
            kept["exc_text"] = redact(logging.Formatter().formatException(record.exc_info))
        self._board.log({**kept, "msg": text, "args": None, "exc_info": None})


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
