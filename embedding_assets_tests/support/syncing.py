"""A table of a test as a source, and what was made of it."""

from embedding_assets.config import Settings
from embedding_assets.documents.syncing import add_source
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_lookup import define_table
from embedding_assets_tests.support.fakes import FakeProvider

ARTICLES = "shop.articles"
OURS = """
    SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'shop.articles'::regclass),
           (SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'embedding_assets_note'))
"""
"""Triggers and functions that notes are made with."""


def add(database: Database, relation: str = ARTICLES, *, watched: bool | None = None, **said: object) -> str:
    with database.session() as connection:
        definition = define_table(connection, relation, **{"text": "body", **said})
    add_source(database, definition, watched=watched)
    return definition.name


def chunks(database: Database) -> list[tuple[str, str, bool]]:
    """Origin, text, whether embedded."""
    query = """
        SELECT document_metadata ->> 'origin', chunk_text, embedding IS NOT NULL FROM knowledge_base
        ORDER BY 1, chunk_index
    """
    return database.run(lambda connection: connection.execute(query).fetchall())


def texts(database: Database) -> dict[str, str]:
    return {origin: text for origin, text, _ in chunks(database)}


def notes(database: Database) -> int:
    return database.run(lambda connection: connection.execute("SELECT count(*) FROM synced_changes").fetchone())[0]


def embed(settings: Settings, database: Database) -> int:
    return EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch().embedded


def sentences(*words: str) -> str:
    """A text that becomes several chunks."""
    return "\n\n".join(f"About {word} there is one thing to say, and here it is, in a paragraph." for word in words)


def paragraphs_pending(database: Database) -> list[str]:
    return [text for _, text, is_embedded in chunks(database) if not is_embedded]
