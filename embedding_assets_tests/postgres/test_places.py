"""Every row is read once, with its text if that is wanted."""

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.places import find_places, read_places, sample_places
from embedding_assets_tests.support.fakes import hash_of
from embedding_assets_tests.support.judging import GUIDE, insert_documents


def test_every_row_is_read(database):
    insert_documents(database, [(f"{n}.md", "H", f"text {n}") for n in range(4100)])
    insert_documents(database, [("last.md", "Last > One", "words")], page=3)
    found = []
    assert read_places(database, found.append) == 4101
    assert len({place.chunk_hash for place in found}) == 4101
    assert {place.text for place in found} == {""}
    [last] = [place for place in found if place.source == "last.md"]
    assert (last.header, last.metadata) == ("Last > One", {"page": 3, "source": "last.md"})
    with_text = []
    read_places(database, with_text.append, with_text=True)
    assert {place.text for place in with_text} == {"words", *(f"text {n}" for n in range(4100))}


def test_a_sample_has_a_section_once(database):
    insert_documents(database)
    insert_documents(database, [(GUIDE[0][0], GUIDE[0][1], "another chunk of the section")])
    sampled = sample_places(database, 100)
    assert sorted((place.source, place.header) for place in sampled) == sorted(row[:2] for row in GUIDE)
    assert sample_places(database, 2) == sampled[:2]


def test_names_are_looked_up_by_indexes(database, execute):
    insert_documents(database, [("docs/a.md", "", "one"), ("docs/b.md", "", "two"), ("c/a.md", "", "three")])
    insert_documents(database, [("d.md", "", "four")], id=7, tags=["x", "y"])
    found = []
    wanted = {"sources": ["docs/a.md"], "metadata": [{"id": 7}, {"id": "8"}]}
    assert find_places(database, found.append, **wanted) == 0, "it is read as quickly"
    execute("""
        INSERT INTO knowledge_base (chunk_hash, chunk_text, document_metadata)
        SELECT md5(n::text), 'x', jsonb_build_object('source', n || '.txt', 'id', n + 10)
        FROM generate_series(1, 20000) n
    """)
    build_for_searches(database, IndexConfig(), "simple")
    execute("ANALYZE knowledge_base")
    assert find_places(database, found.append, **wanted, with_text=True) == 3
    assert {place.text for place in found} == {"one", "three", "four"}
    assert find_places(database, found.append, sources=[hash_of("docs/b.mdtwo")], metadata=[]) == 1
    assert (found[-1].source, found[-1].text) == ("docs/b.md", "")
