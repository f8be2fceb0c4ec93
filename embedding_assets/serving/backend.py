"""What answers: the database and the model, opened in the background, and again and again where that fails."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

from embedding_assets.errors import (
    ConfigurationError,
    DatabaseError,
    EmbeddingAssetsError,
    ModelUnavailableError,
    ProviderError,
)
from embedding_assets.logs import correlate
from embedding_assets.postgres.interruption import within
from embedding_assets.postgres.search import NeighbouringChunk, find_neighbours, has_positions
from embedding_assets.postgres.spaces import serving_space
from embedding_assets.providers.space_selection import select_for_search
from embedding_assets.reporting.gather import gather_overview
from embedding_assets.retrieval import Question, Searcher
from embedding_assets.serving.problems import AGAIN_SECONDS, Problem

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.reporting.overview import Overview
    from embedding_assets.retrieval import Answer, SearchMode

logger = logging.getLogger(__name__)

State = Literal["starting", "ready", "no database", "nothing embedded", "no model", "failing"]
"""In a word: whether questions are answered, or what hinders it."""

_AGAIN_SECONDS: Final = 5.0
"""Between two attempts to open database and model."""

_PATIENCE_SECONDS: Final = 5
"""Longest time that a request waits for a database that is down."""

_SPARE_CONNECTIONS: Final = 2
"""Besides those of searches: one tells whether the database is there, one reads for the metrics."""

_CHECK_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether questions are answered.

    Attributes:
        state: in a word.
    """

    state: State

    @property
    def is_ready(self) -> bool:
        """True if they are."""
        return self.state == "ready"


class Backend:
    """A ``Searcher`` that comes by itself.

    Args:
        settings: which table, which model.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = _for_requests(settings)
        self._searcher: Searcher | None = None
        self._state: State = "starting"
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to open it, in a thread that the process does not wait for."""
        threading.Thread(target=self._open, name="opening", daemon=True).start()

    def close(self) -> None:
        """Close the database, or stop trying to open it."""
        self._over.set()
        if self._searcher is not None:
            self._searcher.close()

    @property
    def database(self) -> Database | None:
        """The database, once it is there."""
        return self._searcher.database if self._searcher is not None else None

    def mode_of(self, question: Question) -> SearchMode:
        """By what a question's chunks are ranked."""
        return question.mode or self._settings.search.mode

    def answer(self, question: Question) -> Answer:
        """The answer to a question; blocks.

        Raises:
            Problem: nothing can be asked yet.
            EmbeddingAssetsError: as ``Searcher.ask``.
        """
        return self._opened().ask(question)

    def neighbours(self, chunk_hash: str, most: int) -> list[NeighbouringChunk]:
        """The chunks up to ``most`` places before and after one in its document; blocks.

        Raises:
            Problem: nothing can be asked yet, or the table does not say what stands beside what.
            DatabaseError: PostgreSQL cannot be reached, or refuses.
        """
        database = self._opened().database
        if not has_positions(database):
            raise Problem(HTTPStatus.BAD_REQUEST, "rows of this table stand alone: there is nothing beside them")
        return find_neighbours(database, [chunk_hash], most)

    def _opened(self) -> Searcher:
        """The searcher.

        Raises:
            Problem: it is not there yet.
        """
        if self._searcher is None:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the service is not ready: {self._state}",
                outcome="unavailable",
                again_seconds=AGAIN_SECONDS,
            )
        return self._searcher

    def readiness(self) -> Readiness:
        """Whether the database answers now, and a space serves searches; blocks for two seconds or so."""
        if self._searcher is None:
            return Readiness(self._state)
        database = self._searcher.database
        try:
            column = within(_CHECK_SECONDS, lambda: serving_space(database))
        except DatabaseError:
            return Readiness("no database")
        return Readiness("nothing embedded") if column is None else Readiness("ready")

    def overview(self) -> Overview | None:
        """The state of the table; None before there is a database. Blocks."""
        if self._searcher is None:
            return None
        return gather_overview(self._searcher.database, self._searcher.settings)

    def _open(self) -> None:
        searcher: Searcher | None = None
        while not self._over.is_set():
            try:
                searcher = searcher or Searcher(self._settings)
                with correlate():
                    _warm_up(searcher)
            except EmbeddingAssetsError as error:
                self._note(_state_of(error), str(error))
            except Exception as error:  # noqa: BLE001 (it is tried again, and must not end the thread)
                self._note("failing", type(error).__name__)
            else:
                self._searcher, self._state = searcher, "ready"
                logger.info("ready to answer", extra={"database": searcher.database.address})
                return
            self._over.wait(_AGAIN_SECONDS)
        if searcher is not None:
            searcher.close()

    def _note(self, state: State, why: str) -> None:
        if state != self._state:
            logger.warning("not ready, and trying again every %g s: %s", _AGAIN_SECONDS, why)
        self._state = state


def _warm_up(searcher: Searcher) -> None:
    """Have everything in memory that the first question needs; an API is asked nothing, since it would bill for it."""
    selection = select_for_search(searcher.settings, searcher.database)
    selection.open_provider().load()
    if selection.column.space.provider == "local":
        searcher.ask(Question("ready?", k=1))


def _state_of(error: EmbeddingAssetsError) -> State:
    if isinstance(error, DatabaseError):
        return "no database"
    if isinstance(error, ModelUnavailableError | ProviderError):
        return "no model"
    return "nothing embedded" if isinstance(error, ConfigurationError) else "failing"


def _for_requests(settings: Settings) -> Settings:
    """With a connection for each search, and with no more patience than somebody has who waits for an answer."""
    given = settings.database
    changes: dict[str, Any] = {
        "retry_seconds": min(given.retry_seconds, _PATIENCE_SECONDS),
        "connect_timeout_seconds": min(given.connect_timeout_seconds, _PATIENCE_SECONDS),
    }
    if "pool_size" not in given.model_fields_set:
        changes["pool_size"] = min(64, settings.serve.concurrency + _SPARE_CONNECTIONS)
    return settings.model_copy(update={"database": given.model_copy(update=changes)})
