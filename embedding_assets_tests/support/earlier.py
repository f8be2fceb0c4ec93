"""The schema and its rows as earlier versions of this package made them."""

from dataclasses import astuple, fields

import pytest

from embedding_assets.config import DatabaseConfig
from embedding_assets.postgres import schema
from embedding_assets.postgres.connection import Database
from embedding_assets.spaces import SpaceColumn, VectorSpace
from embedding_assets_tests.support.tables import run_sql

_TEXT_CHANGED = """
CREATE FUNCTION knowledge_base_text_changed() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    no_vectors jsonb;
BEGIN
    SELECT coalesce(jsonb_object_agg(column_name, NULL), '{}') || '{"embedding": null}'
        INTO no_vectors FROM public.embedding_spaces;
    NEW := jsonb_populate_record(NEW, no_vectors);
    NEW.text_version := OLD.text_version + 1;
    DELETE FROM public.embedding_failures WHERE chunk_hash = OLD.chunk_hash;
    RETURN NEW;
END
$$;
CREATE TRIGGER knowledge_base_text_changed
    BEFORE UPDATE OF chunk_text, context_header ON knowledge_base FOR EACH ROW
    WHEN ((OLD.chunk_text, OLD.context_header) IS DISTINCT FROM (NEW.chunk_text, NEW.context_header))
    EXECUTE FUNCTION knowledge_base_text_changed()
"""

_REFERENCE = """
ALTER TABLE embedding_failures ADD CONSTRAINT embedding_failures_chunk_hash_fkey
    FOREIGN KEY (chunk_hash) REFERENCES knowledge_base (chunk_hash) ON DELETE CASCADE ON UPDATE CASCADE
"""

_REMOVED = """
CREATE TRIGGER {column}_removed BEFORE UPDATE OF {column} ON knowledge_base FOR EACH ROW
WHEN (OLD.{column} IS NOT NULL AND NEW.{column} IS NULL AND OLD.pending_since IS NOT DISTINCT FROM NEW.pending_since)
EXECUTE FUNCTION knowledge_base_vector_removed()
"""


def make_schema(url: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema of version ``0001`` to ``0009`` in an empty database, with what ``0010`` takes away from it."""
    run_sql(url, "CREATE EXTENSION vector")
    with monkeypatch.context() as patch, Database(url, DatabaseConfig(retry_seconds=5)) as database:
        patch.setattr(schema, "HEAD", version)
        schema._upgrade(database, database.table)
    counts = "NEW.text_version := OLD.text_version + 1;"
    since = f"{counts} NEW.pending_since := now();" if version >= "0004" else counts
    run_sql(url, _REFERENCE, _TEXT_CHANGED.replace(counts, since))


def register(url: str, space: VectorSpace, name: str = "embedding") -> SpaceColumn:
    """A space as those versions registered one, the first one as the one that serves."""
    column = SpaceColumn(space, name, f"idx_knowledge_{name}", name == "embedding")
    attributes = ", ".join(field.name for field in fields(VectorSpace))
    change = "ALTER COLUMN embedding TYPE" if column.serving else f"ADD COLUMN {name}"
    values = ", ".join(
        f"'{value}'" for value in (space.name, *astuple(space), column.name, column.index, column.serving)
    )
    run_sql(
        url,
        f"ALTER TABLE knowledge_base {change} vector({space.dimensions})",
        f"INSERT INTO embedding_spaces (name, {attributes}, column_name, index_name, serving) VALUES ({values})",
        f"CREATE INDEX {column.pending_index} ON knowledge_base (chunk_hash) WHERE {name} IS NULL",
    )
    if run_sql(url, "SELECT 1 FROM pg_proc WHERE proname = 'knowledge_base_vector_removed'"):
        run_sql(url, _REMOVED.format(column=name))
    return column


def fail(url: str, column: SpaceColumn, chunk_hash: str, *, quarantined: bool = False) -> None:
    """A recorded failure of a chunk, to be tried again in an hour."""
    run_sql(
        url,
        "INSERT INTO embedding_failures (chunk_hash, space, error_code, attempts, retry_at, quarantined) "
        f"VALUES ('{chunk_hash}', '{column.space.name}', 'refused', 1, now() + interval '1 h', {quarantined})",
    )
