"""Runs one after the other, each when something is due: new rows are embedded within seconds, without a scheduler."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import DatabaseUnavailableError, ProviderError
from embedding_assets.pipeline.readiness import check_readiness
from embedding_assets.pipeline.run import RunOutcome, embed_pending
from embedding_assets.providers.space_selection import find_for_run, select_for_run

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.pipeline.run import Progress
    from embedding_assets.planning import PrefixRange
    from embedding_assets.postgres.connection import Database

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks for due chunks, each some milliseconds of the database's time."""

_LONGEST_PAUSE_SECONDS: Final = 60.0
"""After failure upon failure, each twice as long as the one before."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why nothing is embedded at the moment. It is looked again until something can be."""

    reason: str


@dataclass(slots=True)
class Watch:
    """Runs over a range of prefixes, for as long as it is iterated over.

    Args:
        settings: of all runs.
        database: opened.
        prefixes: the range to work on.
        batch_size: most texts in one forward pass; default: as configured.
        index: whether a first load drops the index, and runs build it where it is missing.
        progress: how to follow a run.
        wait: called with the seconds between two looks.
    """

    settings: Settings
    database: Database
    prefixes: PrefixRange
    batch_size: int | None = None
    index: bool = True
    progress: Progress | None = None
    wait: Callable[[float], object] = time.sleep

    def __iter__(self) -> Iterator[RunOutcome | Obstacle]:
        """The outcome of each run, and each obstacle once, until a new one or a run follows.

        Outages of the database and of providers are waited for.

        Raises:
            ConfigurationError: the settings do not lead to the table's model, or a dollar limit needs a price.
            ModelUnavailableError: the model cannot be had.
            EmbeddingAssetsError: a run cannot go on for a reason that waiting does not remove.
        """
        self._load_model()
        last = Obstacle("")
        pause = LOOK_SECONDS
        while True:
            result = self._look()
            if isinstance(result, RunOutcome):
                last = Obstacle("")
                yield result
            elif result.reason != last.reason:
                last = result
                if last.reason:
                    yield last
            # A run without an effect, as where another one holds what is due, is no reason to hurry either.
            hopeless = bool(last.reason) or (isinstance(result, RunOutcome) and not _has_effect(result))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if hopeless else LOOK_SECONDS
            self.wait(pause)

    def _load_model(self) -> None:
        """Not when the first row is there, which would wait for it."""
        _, column = find_for_run(self.settings, self.database)
        if column is not None and column.space.provider == "local":
            select_for_run(self.settings, self.database).open_provider().load()

    def _look(self) -> RunOutcome | Obstacle:
        """One look, and a run where something is due; without a reason where nothing is."""
        try:
            ready = check_readiness(self.database, self.settings, _cover(self.prefixes))
            if not ready.prefixes:
                return Obstacle(ready.obstacle)
            return self._run()
        except (DatabaseUnavailableError, ProviderError) as outage:
            logger.debug("waiting", exc_info=True)
            return Obstacle(" ".join([str(outage), *getattr(outage, "__notes__", [])]))

    def _run(self) -> RunOutcome:
        return embed_pending(
            self.settings,
            prefixes=self.prefixes,
            database=self.database,
            # Each time: the table's space may be another one by now. A model stays loaded.
            selection=select_for_run(self.settings, self.database),
            batch_size=self.batch_size,
            defer_index=self.index,
            build_index="always" if self.index else "never",
            progress=self.progress,
        )


def _has_effect(outcome: RunOutcome) -> bool:
    stats = outcome.stats
    return bool(stats.embedded or stats.failed or (stats.fallback and stats.fallback.embedded))


def _cover(prefixes: PrefixRange) -> list[str]:
    """As few prefixes as make up a range."""
    buckets = prefixes.buckets
    if buckets.start % 16 == buckets.stop % 16 == 0:
        return [format(first, "x") for first in range(buckets.start // 16, buckets.stop // 16)]
    return [format(bucket, "02x") for bucket in buckets]
