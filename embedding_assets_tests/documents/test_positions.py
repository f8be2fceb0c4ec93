"""Where chunks stand, in the table."""

from __future__ import annotations

from pathlib import Path

from embedding_assets.config import Settings
from embedding_assets.documents.loading import load_documents
from embedding_assets.documents.splitting import Splitter
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.formats import read_as


def test_a_text_that_only_moves_has_another_position_and_its_vector(
    settings: Settings, database: Database, splitter: Splitter, tmp_path: Path
) -> None:
    def load(text: str) -> tuple[int, int]:
        documents, _ = read_as(tmp_path, "a.md", text)
        report = load_documents(database, documents, splitter)
        return report.added, report.removed

    def positions() -> list[tuple[str, bool]]:
        query = """
            SELECT document_metadata -> 'position' ->> 'line', embedding IS NOT NULL FROM knowledge_base ORDER BY 1
        """
        return database.run(lambda connection: connection.execute(query).fetchall())

    assert load("# A\n\n## One\n\none\n\n## Two\n\ntwo\n") == (2, 0)
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    assert positions() == [("5", True), ("9", True)]
    assert load("# A\n\n\n\n## One\n\none\n\n## Two\n\ntwo\n") == (0, 0)
    assert positions() == [("11", True), ("7", True)]
