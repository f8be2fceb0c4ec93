"""Every row is read once, with its text if that is wanted."""

from embedding_assets.postgres.places import read_places, sample_places
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
