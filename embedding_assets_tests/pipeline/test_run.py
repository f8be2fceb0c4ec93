"""One load with its index."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from embedding_assets import embed_pending, errors
from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import DatabaseError, ProviderError, ProviderUnavailableError
from embedding_assets.models import EmbeddingStats
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.pipeline.run import Load
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets.providers.space_selection import Selection
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks
from embedding_assets_tests.support.generator_runs import texts


class Limited(FakeProvider):
    """Gives up after so many texts."""

    def __init__(self, most: int, error: BaseException) -> None:
        super().__init__(batch_size=10, spoil=self._stop)
        self._most, self._error = most, error

    def _stop(self, portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if len(self.seen) > self._most:
            raise self._error
        return batch


Use = Callable[[FakeProvider], SpaceColumn]


@pytest.fixture
def use(database: Database, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Let runs embed with this provider; returns the space's column."""

    def with_provider(provider: FakeProvider) -> SpaceColumn:
        column = register_space(database, FAKE_SPACE)
        monkeypatch.setattr(Selection, "open_provider", lambda _: provider)
        monkeypatch.setattr(
            "embedding_assets.pipeline.run.select_for_run", lambda *given: Selection(given[0], column, given[1])
        )
        return column

    return with_provider


def test_a_first_load_leaves_its_index_behind(settings: Settings, database: Database, use: Use):
    column = use(FakeProvider())
    insert_chunks(database, texts(30))
    outcome = embed_pending(settings)
    assert (outcome.column, outcome.stats.embedded) == (column, 30)
    assert outcome.index_seconds is not None
    assert describe_index(database, column.index).matches(column, settings.index)

    again = embed_pending(settings, database=database)
    assert (again.stats.processed, again.index_seconds) == (0, None), "nothing to do"


def test_an_empty_table_has_no_index_to_build(settings: Settings, database: Database, use: Use):
    column = use(FakeProvider())
    assert embed_pending(settings, database=database).index_seconds is None
    assert not describe_index(database, column.index).exists


def test_without_care_for_the_index_it_stays_as_it_is(settings: Settings, database: Database, use: Use):
    column = use(FakeProvider())
    insert_chunks(database, texts(3))
    outcome = embed_pending(settings, database=database, defer_index=False, build_index="never")
    assert (outcome.stats.embedded, outcome.index_seconds) == (3, None)
    assert not describe_index(database, column.index).exists
    build_vector_index(database, column, settings.index)
    insert_chunks(database, texts(30, "more"))
    embed_pending(settings, database=database, defer_index=False, build_index="never")
    assert describe_index(database, column.index).valid
    insert_chunks(database, texts(300, "many more"))
    embed_pending(settings, database=database, build_index="never")
    assert describe_index(database, column.index).valid, "what is not to be built is not dropped either"


def test_a_range_that_another_run_holds_is_left_to_it_with_the_index(settings: Settings, database: Database, use: Use):
    column = use(FakeProvider())
    insert_chunks(database, texts(30))
    locks = PrefixLocks(database, column.space.name)
    locks.acquire(range(16))
    outcome = embed_pending(settings, database=database)
    locks.close()
    assert outcome.stats.busy_prefixes == ["0"]
    assert outcome.index_seconds is None
    assert not describe_index(database, column.index).exists


@pytest.mark.parametrize("build_index", ["always", "on_failure", "never"])
def test_when_the_provider_gives_up_what_is_there_is_indexed(settings, database, use, build_index):
    column = use(Limited(20, errors.QuotaExceededError("no credit")))
    insert_chunks(database, texts(50))
    with pytest.raises(ProviderError, match="no credit") as caught:
        embed_pending(settings, database=database, build_index=build_index)
    assert caught.value.__notes__ == ["30 of 50 due chunks are left."]
    assert describe_index(database, column.index).valid == (build_index != "never")


def test_an_index_that_cannot_be_built_does_not_hide_why_the_run_ended(settings, database, use, monkeypatch, caplog):
    use(Limited(20, ProviderUnavailableError("down")))
    insert_chunks(database, texts(50))

    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("index idx was not built: disk full")

    monkeypatch.setattr("embedding_assets.pipeline.run.build_missing", refuse)
    caplog.set_level(logging.WARNING, "embedding_assets")
    with pytest.raises(ProviderUnavailableError, match="down"):
        embed_pending(settings, database=database)
    assert "no index until the next run: index idx was not built: disk full" in caplog.messages


def test_an_index_that_cannot_be_built_after_a_load_is_an_error(settings, database, use, monkeypatch):
    use(FakeProvider())
    insert_chunks(database, texts(5))

    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr("embedding_assets.pipeline.run.build_missing", refuse)
    with pytest.raises(DatabaseError, match="disk full"):
        embed_pending(settings, database=database)


def test_an_interrupted_run_says_what_is_left(settings, database, use):
    column = use(Limited(20, KeyboardInterrupt()))
    insert_chunks(database, texts(50))
    with pytest.raises(KeyboardInterrupt) as caught:
        embed_pending(settings.with_embedding(commit_seconds=0.001), database=database)
    [note] = caught.value.__notes__
    assert note.endswith(" of 50 due chunks are left.")
    assert not describe_index(database, column.index).exists, "a run that is stopped must not end in a wait for a build"


def test_progress_is_given_what_is_due_and_what_was_done(settings, database, use):
    use(FakeProvider())
    insert_chunks(database, texts(40))
    seen: list[object] = []

    @contextmanager
    def progress(due: int) -> Iterator[Callable[[int], object]]:
        seen.append(due)
        yield seen.append
        seen.append("over")

    outcome = embed_pending(settings, database=database, prefixes=PrefixRange.parse("0-7"), progress=progress)
    due, *steps, last = seen
    assert due == outcome.stats.embedded == sum(steps)
    assert 0 < due < 40
    assert last == "over"


def test_the_batch_size_is_checked_before_anything_is_embedded(settings, database, use):
    use(FakeProvider())
    insert_chunks(database, texts(3))
    with pytest.raises(errors.ConfigurationError, match="EMBEDDING_BATCH_SIZE"):
        embed_pending(settings, database=database, batch_size=0)
    assert list_spaces(database)[0].space == FAKE_SPACE


@pytest.mark.parametrize("pool_size", [1, 2])
def test_a_whole_run_works_with_few_connections(settings, database_url, pool_size, monkeypatch):
    """A first load with its index, a local model, and a second load into the index."""
    monkeypatch.setenv("EMBEDDING_DATABASE_POOL_SIZE", str(pool_size))
    few = get_settings()
    with open_database(few) as opened:
        insert_chunks(opened, texts(60))
        first = embed_pending(few, database=opened)
        insert_chunks(opened, texts(5, "later"))
        second = embed_pending(few, database=opened)
    assert (first.stats.embedded, second.stats.embedded) == (60, 5)
    assert first.index_seconds is not None
    assert second.index_seconds is None


def test_an_engine_embeds_what_is_due_and_nothing_else_changes(settings, database, use):
    column = use(FakeProvider())
    insert_chunks(database, texts(30))
    seen: list[Load] = []

    def engine(load: Load, advance: Callable[[int], object]) -> EmbeddingStats:
        seen.append(load)
        generator = EmbeddingGenerator(
            load.settings, prefixes=load.prefixes, database=load.database, selection=load.selection,
            on_progress=advance, before_writing=load.before_writing,
        )  # fmt: skip
        return generator.generate_embeddings_batch(load.batch_size)

    outcome = embed_pending(settings, database=database, prefixes=PrefixRange.parse("0-7"), engine=engine, batch_size=4)
    assert outcome.stats.embedded == seen[0].due > 0
    assert (seen[0].prefixes, seen[0].batch_size) == (PrefixRange("0", "7"), 4)
    assert describe_index(database, column.index).valid
    embed_pending(settings, database=database, prefixes=PrefixRange.parse("0-7"), engine=engine)
    assert len(seen) == 1, "no cluster is started where nothing is due"
