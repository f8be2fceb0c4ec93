"""Judgements that nothing in the table fits: found by its indexes, and by reading it only for what they do not find."""

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.evaluation.judgements import JudgedQuestion, Judgement
from embedding_assets.evaluation.matching import find_unmatched
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets_tests.support.fakes import hash_of
from embedding_assets_tests.support.judging import insert_documents

GONE = (
    Judgement("gone.md"),
    Judgement("manual.md", headings=("of another",)),
    Judgement("manual.md", text="words that it does not have"),
    Judgement(fields=(("code", "18"),)),
    Judgement("nul\x00"),
    Judgement("\ud800"),
)
BY_INDEX = (
    Judgement("docs/manual.md", headings=("part 7",)),
    Judgement("manual.md", text="text 7 of the manual"),
    Judgement(hash_of("docs/manual.mdManual > Part 7text 7 of the manual")),
    Judgement("rows.jsonl#7"),
    Judgement("4711"),
    Judgement("D-5"),
    Judgement(fields=(("code", "17"), ("lang", "en"))),
)
BY_READING = (Judgement("manual"), Judgement("7"), Judgement(fields=(("share", "0.5"),)))


def questions(*judgements: Judgement) -> list[JudgedQuestion]:
    return [JudgedQuestion(str(number), "question", (one,)) for number, one in enumerate(judgements)]


@pytest.fixture
def filled(database: Database) -> Database:
    """A table that is larger than what is read at once, with the indexes of searches."""
    insert_documents(database, [("docs/manual.md", f"Manual > Part {n}", f"text {n} of the manual") for n in range(9)])
    for number, metadata in enumerate(({"doc_id": 4711}, {"_id": "D-5"}, {"code": 17.0, "lang": "en"}, {"share": 0.5})):
        insert_documents(database, [(f"made/rows.jsonl#{number + 6}", "", f"row {number}")], **metadata)
    database.run(
        lambda connection: connection.execute("""
            INSERT INTO knowledge_base (chunk_hash, chunk_text, document_metadata)
            SELECT md5(n::text), n::text, jsonb_build_object('source', 'other/' || n || '.txt', 'id', n + 5000)
            FROM generate_series(1, 12000) n
        """)
    )
    build_for_searches(database, IndexConfig(), "simple")
    database.run(lambda connection: connection.execute("ANALYZE knowledge_base"))
    return database


def test_what_indexes_find_is_not_read(filled: Database, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the table was read")

    with monkeypatch.context() as patch:
        patch.setattr("embedding_assets.evaluation.matching.read_places", refuse)
        assert find_unmatched(filled, questions(*BY_INDEX)) == []
        for one in (*GONE, *BY_READING):
            with pytest.raises(AssertionError, match="read"):
                find_unmatched(filled, questions(one))
    left = find_unmatched(filled, questions(*GONE, *BY_INDEX, *BY_READING))
    assert [one.question for one in left] == [str(number) for number in range(len(GONE))]


def test_a_small_table_is_read(database: Database):
    insert_documents(database)
    left = find_unmatched(database, questions(Judgement("guide.md"), Judgement("faq"), Judgement("gone.md")))
    assert [one.judgement for one in left] == ["gone.md"]
