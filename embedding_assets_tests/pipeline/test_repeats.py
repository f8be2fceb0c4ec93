"""A text that several chunks have is embedded once, in whatever window they are."""

import pytest

from embedding_assets.config import Settings
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import list_failures
from embedding_assets.postgres.spaces import serving_space
from embedding_assets_tests.support.fakes import FakeProvider, vector_of
from embedding_assets_tests.support.tables import stored_vectors


def insert(database: Database, *texts: str) -> list[str]:
    """Rows of these texts, each with a hash of its own."""
    statement = """
        INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(place || text), text
        FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, place) RETURNING chunk_hash
    """
    rows = database.run(lambda connection: connection.execute(statement, [list(texts)]).fetchall())
    return [chunk_hash for (chunk_hash,) in rows]


@pytest.mark.parametrize("window", [2, 2048])
def test_a_text_is_read_once_and_every_chunk_gets_its_vector(settings: Settings, database: Database, window: int):
    texts = ["Yes.", "No.", "Yes.", "Yes.", "Maybe.", "No."] * 5
    hashes = insert(database, *texts)
    provider = FakeProvider(batch_size=2)
    seen: list[int] = []
    stats = EmbeddingGenerator(
        settings.with_embedding(window_size=window, commit_seconds=0.001), database=database, provider=provider,
        on_progress=seen.append,
    ).generate_embeddings_batch()  # fmt: skip
    assert (stats.embedded, stats.failed, stats.skipped, sum(seen)) == (30, 0, 0, 30)
    if window == 2048:
        assert sorted(provider.seen) == ["Maybe.", "No.", "Yes."]
    column = serving_space(database)
    assert column is not None
    vectors = stored_vectors(database, column)
    assert all((vectors[one] == vector_of(text)).all() for one, text in zip(hashes, texts, strict=True))


def test_a_text_that_another_chunk_has_embedded_is_not_read_again(settings: Settings, database: Database):
    insert(database, "Yes.")
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    insert(database, "other", "and", "Yes.")
    provider = FakeProvider()
    stats = EmbeddingGenerator(settings, database=database, provider=provider).generate_embeddings_batch()
    assert (stats.embedded, sorted(provider.seen)) == (3, ["and", "other"])
    column = serving_space(database)
    assert column is not None
    assert count_backlog(database, column).pending == 0


def test_a_text_that_fails_fails_for_every_chunk(settings: Settings, database: Database):
    from dataclasses import replace

    hashes = insert(database, "bad", "bad", "good")

    def spoil(texts, batch):
        if "bad" not in texts:
            return batch
        kept = [place for place, index in enumerate(batch.indices) if texts[place] != "bad"]
        bad = [index for place, index in enumerate(batch.indices) if texts[place] == "bad"]
        return replace(
            batch, indices=[batch.indices[place] for place in kept], vectors=batch.vectors[kept],
            token_counts=[batch.token_counts[place] for place in kept],
            truncated=[batch.truncated[place] for place in kept], errors=dict.fromkeys(bad, "encoding_failed"),
        )  # fmt: skip

    provider = FakeProvider(spoil=spoil)
    stats = EmbeddingGenerator(settings, database=database, provider=provider).generate_embeddings_batch()
    assert (stats.embedded, stats.failed) == (1, 2)
    assert {failure.chunk_hash for failure in list_failures(database)} == set(hashes[:2])
