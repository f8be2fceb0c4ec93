"""Questions by week, counted as they come and written now and then; no question is kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import DatabaseError, DatabaseUnavailableError
from embedding_assets.postgres.interruption import WorkInterruptedError, within
from embedding_assets.postgres.question_weeks import add_questions

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.retrieval.random_scores import BestScore

logger = logging.getLogger(__name__)

WRITE_SECONDS: Final = 60.0
"""Between two writings; so many seconds of questions are lost at most where the process is killed."""

_PATIENCE_SECONDS: Final = 2.0
"""Longest time that a writing takes, and so the end of the service."""


class QuestionCounts:
    """Counts of questions, written in a thread of their own, never beside an answer.

    Args:
        database: where to write; None: there is none yet.
    """

    def __init__(self, database: Callable[[], Database | None]) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counts: dict[tuple[date, str], tuple[int, int]] = {}
        self._over = threading.Event()
        self._may_write = True

    def start(self) -> None:
        """Begin to write now and then, in a thread that the process does not wait for."""
        threading.Thread(target=self._write_again_and_again, name="counting", daemon=True).start()

    def add(self, best: BestScore) -> None:
        """Count a question whose best score was compared."""
        if best.is_low is not None and self._may_write:
            self._add((_monday(), best.space), 1, int(best.is_low))

    def write(self) -> None:
        """Write what was counted since the last time; what a database that is down does not take is kept for the next.

        Where this role may not write, or the schema is an older one, nothing is counted any more.
        """
        database = self._database()
        if database is None:
            return
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            within(_PATIENCE_SECONDS, lambda: add_questions(database, counts))
        except (DatabaseUnavailableError, WorkInterruptedError):  # it is down, or takes its time
            for key, (questions, low) in counts.items():
                self._add(key, questions, low)
        except DatabaseError as error:
            self._may_write = False
            logger.info("questions are not counted by week: %s", error)

    def close(self) -> None:
        """Write what is left."""
        self._over.set()
        self.write()

    def _add(self, key: tuple[date, str], questions: int, low: int) -> None:
        with self._lock:
            before = self._counts.get(key, (0, 0))
            self._counts[key] = (before[0] + questions, before[1] + low)

    def _write_again_and_again(self) -> None:
        while not self._over.wait(WRITE_SECONDS):
            self.write()


def _monday() -> date:
    today = datetime.now(UTC).date()
    return today - timedelta(days=today.weekday())
