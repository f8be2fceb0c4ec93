"""What an answer says of a filter: why nothing passes it, and which index would have spared reading the table."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.search import find_chunks, notes
from embedding_assets.postgres.search_indexes import build_search_indexes
from embedding_assets_tests.support.shop import BIGINT, adopt_shop, fill, opened
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors


def ask(database: Database, *where: str) -> tuple[str, ...]:
    """Notes on the answer to a question by its words."""
    return find_chunks(
        database, column=None, vector=None, words="body", limit=3, where=conditions_of(where), index=IndexConfig()
    ).notes


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quick a filter is, it is slow."""
    monkeypatch.setattr(notes, "_SLOW_SECONDS", 0)


@pytest.mark.parametrize(
    ("where", "note"),
    [
        (["lang=fr"], "no chunk fulfils the conditions; 'lang' is a text in 1 looked at"),
        (["colour=red"], "no chunk of 1 looked at has a field 'colour'; they have lang, metadata, size"),
        (["lang!=de", "colour=red"], "no chunk of 1 looked at has a field 'colour'; they have lang, metadata, size"),
        (["metadata.colour=red"], None),
        (["size.height=3"], None),
        (["lang!=de"], None),
    ],
)
def test_why_nothing_fulfils_the_conditions(database, column, execute, where: list[str], note: str | None):
    [chunk_hash] = insert_vectors(database, column, unit_vectors(1))
    metadata = {"lang": "de", "size": {"height": 2}, "metadata": {"tags": []}}
    execute(
        "UPDATE knowledge_base SET chunk_text = 'body', document_metadata = %s WHERE chunk_hash = %s",
        Jsonb(metadata),
        chunk_hash,
    )
    assert ask(database, "lang=de") == ()
    assert ask(database, *where) == (() if note is None else (note,))


def test_an_empty_table_has_no_fields_to_speak_of(database):
    assert ask(database, "lang=de") == ()


@pytest.mark.usefixtures("at_once")
def test_an_index_that_would_spare_reading_the_own_table(database, column):
    insert_vectors(database, column, unit_vectors(30))
    [note] = [note for note in ask(database, "number=3") if note.startswith("the filter took")]
    assert note.endswith("knowledge_base was read; an index spares that, and `embedding-assets health` builds it")
    [note] = [note for note in ask(database, "number>3") if note.startswith("the filter took")]
    assert note.endswith("knowledge_base was read: only equality has an index")
    build_search_indexes(database, "simple")
    assert not [note for note in ask(database, "number=3") if note.startswith("the filter took")]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("where", ["lang=de", "tags=new", "facts.colour=red", 'facts={"colour": "red"}'])
def test_an_index_that_would_spare_reading_a_table_of_others(settings, beside: psycopg.Connection, where: str):
    fill(beside, BIGINT, 20)
    beside.execute("""ALTER TABLE notes ADD tags text[] DEFAULT '{new}', ADD facts jsonb DEFAULT '{"colour": "red"}'""")
    with opened(adopt_shop(settings, BIGINT, metadata=("lang", "tags", "facts", "price"))) as database:
        [note] = [note for note in ask(database, where) if note.startswith("the filter took")]
        beside.execute(note.partition("; this spares that: ")[2])
        assert not [note for note in ask(database, where) if note.startswith("the filter took")]
        [note] = [note for note in ask(database, "price!=1") if note.startswith("the filter took")]
        assert note.endswith("since all of public.notes was read")
