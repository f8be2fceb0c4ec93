"""Vectors are computed again and compared: right ones pass, another model's are found, in every space."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pgvector import Vector

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.errors import ProviderUnavailableError
from embedding_assets.health.audit import SpaceSample, audit_space, audit_spaces
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets.providers.space_selection import select_for_run, select_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.generator_runs import embed, texts
from embedding_assets_tests.support.rounding import let_int8_pay, needs_int8
from embedding_assets_tests.support.tiny_model import DIMENSIONS, PROMPTS, save_tiny_model

FORTY = texts(40)


@pytest.fixture
def column(settings: Settings, database: Database) -> SpaceColumn:
    """The fake provider's space, with all of ``FORTY``."""
    insert_chunks(database, FORTY)
    embed(settings, database)
    return register_space(database, FAKE_SPACE)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that puts something in front of documents, and something else in front of queries."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "prompted", normalize=False, prompts=PROMPTS)


def overwrite(database: Database, column: str, vectors: dict[str, np.ndarray]) -> None:
    """Another hand's vectors: text → vector."""
    statement = f"UPDATE knowledge_base SET {column} = %s WHERE chunk_text = %s"
    rows = [(Vector(vector), text) for text, vector in vectors.items()]
    database.run(lambda connection: connection.cursor().executemany(statement, rows))


def others(chosen: list[str], dimensions: int = 768) -> dict[str, np.ndarray]:
    return {text: vector_of(f"another model's {text}", dimensions) for text in chosen}


def test_right_vectors(database: Database, column: SpaceColumn):
    sample = audit_space(database, column, FakeProvider())
    assert sample == SpaceSample(column, compared=40, lowest_cosine=pytest.approx(1.0))


def test_a_tenth_of_another_model(database: Database, column: SpaceColumn):
    overwrite(database, column.name, others(FORTY[:4]))
    sample = audit_space(database, column, FakeProvider())
    assert (sample.compared, sample.mismatched) == (40, tuple(sorted(map(hash_of, FORTY[:4]))))
    assert sample.lowest_cosine is not None
    assert sample.lowest_cosine < 0.2


def test_rounding_is_no_mismatch(database: Database, column: SpaceColumn):
    noise = {text: vector_of(text) + 0.05 * vector_of(f"noise {text}") for text in FORTY}
    overwrite(database, column.name, noise)
    sample = audit_space(database, column, FakeProvider())
    assert sample.mismatched == ()
    assert 0.995 < (sample.lowest_cosine or 0) < 0.9999


def test_no_more_rows_than_asked_for(database: Database, column: SpaceColumn):
    provider = FakeProvider()
    assert audit_space(database, column, provider, rows=7).compared == 7
    assert len(provider.seen) == 7


def test_zeros_and_vectors_of_another_length(database: Database, column: SpaceColumn):
    database.run(lambda c: c.execute("DROP TRIGGER embedding_removed ON knowledge_base"))
    database.run(lambda c: c.execute("ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE vector"))
    overwrite(database, "embedding", {FORTY[0]: np.zeros(768), FORTY[1]: vector_of(FORTY[1], 32)})
    assert set(audit_space(database, column, FakeProvider()).mismatched) == {hash_of(FORTY[0]), hash_of(FORTY[1])}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'text 3'",
        "UPDATE knowledge_base SET embedding = NULL WHERE chunk_text = 'text 3'",
        "DELETE FROM knowledge_base WHERE chunk_text = 'text 3'",
        "UPDATE knowledge_base SET embedding = (SELECT embedding FROM knowledge_base WHERE chunk_text = 'text 4') "
        "WHERE chunk_text = 'text 3'",
    ],
)
def test_what_changes_meanwhile_is_not_reported(database: Database, column: SpaceColumn, change: str):
    overwrite(database, column.name, others(["text 3", "text 5"]))

    def meddle(_: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        database.run(lambda connection: connection.execute(change))
        return batch

    sample = audit_space(database, column, FakeProvider(batch_size=64, spoil=meddle))
    assert sample.mismatched == (hash_of("text 5"),)


def test_texts_that_cannot_be_embedded_now_are_left_out(database: Database, column: SpaceColumn):
    def refuse(chosen: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        bad = [batch.indices[row] for row, text in enumerate(chosen) if text in FORTY[:10]]
        kept = [row for row, index in enumerate(batch.indices) if index not in bad]
        return EmbeddedBatch(
            [batch.indices[row] for row in kept],
            batch.vectors[kept],
            [1] * len(kept),
            [False] * len(kept),
            dict.fromkeys(bad, "refused"),
        )

    assert audit_space(database, column, FakeProvider(spoil=refuse)).compared == 30

    database.run(lambda c: c.execute("DELETE FROM knowledge_base WHERE chunk_text <> ALL(%s)", [FORTY[:3]]))
    sample = audit_space(database, column, FakeProvider(spoil=refuse))
    assert (sample.compared, sample.unchecked) == (0, "none of 3 texts could be embedded again: refused")


def test_blank_texts_of_an_adopted_table(database: Database, column: SpaceColumn):
    insert_chunks(database, [" "])
    overwrite(database, column.name, {" ": vector_of(" ")})
    provider = FakeProvider()
    assert audit_space(database, column, provider).compared == 40
    assert " " not in provider.seen

    database.run(lambda c: c.execute("DELETE FROM knowledge_base WHERE chunk_text <> ' '"))
    sample = audit_space(database, column, provider)
    assert (sample.compared, sample.unchecked) == (0, "there is no vector of a text")


def test_prompts_are_part_of_what_is_computed(settings: Settings, database: Database, prompted: Path):
    settings = settings.with_embedding(model_name=str(prompted), dimensions=DIMENSIONS)
    insert_chunks(database, FORTY)
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    [sample] = audit_spaces(database, settings)
    assert (sample.compared, sample.mismatched) == (40, ())

    # As queries the same texts have other vectors, by the same model.
    provider = select_space(settings, sample.column, database).open_provider()
    [*batches] = provider.embed(FORTY, query=True)
    as_queries = {FORTY[i]: vector for b in batches for i, vector in zip(b.indices, b.vectors, strict=True)}
    overwrite(database, "embedding", as_queries)
    [sample] = audit_spaces(database, settings)
    assert len(sample.mismatched) == 40


@needs_int8
def test_int8_is_compared_with_what_it_is_to_be_like(
    settings: Settings, database: Database, prompted: Path, monkeypatch: pytest.MonkeyPatch
):
    let_int8_pay(monkeypatch)
    settings = settings.with_embedding(model_name=str(prompted), dimensions=DIMENSIONS, precision="int8")
    insert_chunks(database, FORTY)
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    # On a CPU that could not have computed them.
    monkeypatch.setattr("embedding_assets.encoder.int8.products_are_exact", lambda: False)
    [sample] = audit_spaces(database, settings.with_embedding(precision="float32"))
    assert (sample.compared, sample.mismatched) == (40, ())
    assert (sample.lowest_cosine or 0) > 0.98

    overwrite(database, "embedding", others(FORTY[:4], DIMENSIONS))
    [sample] = audit_spaces(database, settings)
    assert len(sample.mismatched) == 4


def test_every_space_that_has_vectors(settings: Settings, database: Database, prompted: Path):
    insert_chunks(database, FORTY)
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    other = settings.with_embedding(model_name=str(prompted), dimensions=DIMENSIONS, new_space=True)
    second = select_for_run(other, database).column
    # The second has no vector yet; its model must not even be looked for.
    assert [sample.column.serving for sample in audit_spaces(database, settings)] == [True]

    EmbeddingGenerator(other, database=database).generate_embeddings_batch()
    first, sample = audit_spaces(database, other)
    assert (first.compared, sample.compared) == (40, 40)
    overwrite(database, second.name, others(FORTY[:4], DIMENSIONS))
    first, sample = audit_spaces(database, other)
    assert first.mismatched == ()
    assert len(sample.mismatched) == 4

    # Settings that no longer name the folder cannot make its vectors; that says nothing about those.
    first, sample = audit_spaces(database, settings)
    assert first.compared == 40
    assert (sample.compared, sample.mismatched) == (0, ())
    assert "set EMBEDDING_MODEL_NAME to that folder" in (sample.unchecked or "")


def test_a_provider_that_is_down_is_reported(
    settings: Settings, database: Database, column: SpaceColumn, monkeypatch: pytest.MonkeyPatch
):
    class Down(FakeProvider):
        def embed(self, texts: object, *, query: bool = False) -> Iterator[EmbeddedBatch]:
            raise ProviderUnavailableError("the API has been failing for 120 s")
            yield

    monkeypatch.setattr("embedding_assets.providers.space_selection.Selection.open_provider", lambda _: Down())
    assert audit_spaces(database, settings) == [SpaceSample(column, unchecked="the API has been failing for 120 s")]


def test_a_model_that_cannot_be_had_is_reported(settings: Settings, database: Database, column: SpaceColumn):
    database.run(lambda c: c.execute("UPDATE embedding_spaces SET provider = 'local'"))
    [sample] = audit_spaces(database, settings)
    assert "model fake/hashing is neither cached nor could it be fetched" in (sample.unchecked or "")
    assert sample.compared == 0


def test_a_provider_of_one_s_own_is_reported(settings: Settings, database: Database, column: SpaceColumn):
    reason = "fake is no provider of this package; pass yours to the call, e.g. embed_pending(provider=...) or search("
    [sample] = audit_spaces(database, settings)
    assert (sample.unchecked or "").startswith(reason)
    assert replace(sample, unchecked=None) == SpaceSample(column)
