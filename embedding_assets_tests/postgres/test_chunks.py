"""Chunks go into the table once, and what is pending comes back in order, each once, at the backlog's cost."""

import hashlib
import re
import threading
from collections.abc import Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from embedding_assets.config import DatabaseConfig
from embedding_assets.models import DocumentMetadata, ProcessedChunk
from embedding_assets.planning import PrefixRange, all_prefixes, bucket_bounds, bucket_of
from embedding_assets.postgres import chunks as module
from embedding_assets.postgres.chunks import (
    LoadedDocument,
    count_backlog,
    count_backlog_tokens,
    count_chunks,
    count_pending_by_prefix,
    due_in_range,
    due_prefixes,
    fetch_pending,
    is_unchanged,
    measure_due,
    store_chunks,
)
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import record_failures
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.postgres.conftest import SMALL_SPACE


def chunks_of(
    origin: str, texts: Sequence[str], *, source: str | None = None, **metadata: str
) -> tuple[list[ProcessedChunk], LoadedDocument]:
    document = DocumentMetadata(source=source or origin, origin=origin, **metadata)
    chunks = [
        ProcessedChunk.create_from_chunk(
            text, document, chunk_index=number, total_chunks=len(texts), occurrence=texts[:number].count(text)
        )
        for number, text in enumerate(texts)
    ]
    digest = hashlib.sha256(repr((texts, metadata)).encode()).hexdigest()
    return chunks, LoadedDocument(origin, digest, frozenset(chunk.chunk_hash for chunk in chunks))


def insert_hashes(execute, hashes: Sequence[str], *, vector: str | None = None) -> None:
    execute(
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) "
        "SELECT h, 'text of ' || h, %s::vector FROM unnest(%s::text[]) h",
        vector,
        list(hashes),
    )


def embed_most(execute, analyzed: str) -> None:
    """5,000 chunks, some 100 of them pending in the first space; analyzed "never", "before" or "since" that is so."""
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(n::text), 'text' "
            "FROM generate_series(1, 5000) n")  # fmt: skip
    if analyzed == "before":
        execute("ANALYZE knowledge_base")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_hash > '05'")
    if analyzed == "since":
        execute("ANALYZE knowledge_base")


def texts_in_table(execute) -> list[str]:
    return [row[0] for row in execute("SELECT chunk_text FROM knowledge_base ORDER BY chunk_index, chunk_text")]


class PlanRecorder:
    """A database that also asks how each query is executed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.plan = ""

    def run(self, work):
        def explained(connection):
            class Explaining:
                @staticmethod
                def execute(query, parameters=None):
                    if isinstance(query, str):  # a setting
                        return connection.execute(query, parameters)
                    rows = connection.execute(sql.SQL("EXPLAIN (ANALYZE) {}").format(query), parameters).fetchall()
                    self.plan = "\n".join(row[0] for row in rows)
                    return connection.execute(query, parameters)

            return work(Explaining)

        return self._database.run(explained)


# Reading what is pending


@given(
    st.text("0123456789abcdef", min_size=2, max_size=6),
    st.integers(0, 255).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, 256))),
)
def test_bucket_bounds_hold_the_hashes_of_their_buckets_and_no_others(chunk_hash, buckets):
    lower, upper = bucket_bounds(*buckets)
    assert (lower <= chunk_hash < upper) == (bucket_of(chunk_hash) in range(*buckets))


def test_pages_hold_every_due_chunk_once_in_hash_order(database, record, execute, settings):
    hexes = sorted({hashlib.sha256(str(n).encode()).hexdigest()[: 2 + n % 40] for n in range(400)} | {"00", "ff", "0f"})
    strange = ["A" + "b" * 20, "xyz", "a", "", "g0", "00 ", "é1", "0G", "\u00000"[1:], "ff\n"]
    embedded, quarantined, waiting = hexes[5::11], set(hexes[3::13]) - set(hexes[5::11]), set(hexes[7::17])
    waiting -= {*embedded, *quarantined}
    insert_hashes(execute, sorted({*hexes, *strange} - {*embedded}))
    insert_hashes(execute, embedded, vector="[1,0,0,0,0,0,0,0]")
    once = settings.embedding.model_copy(update={"max_attempts": 1})
    record_failures(database, record.space.name, dict.fromkeys(quarantined, "x"), once)
    record_failures(database, record.space.name, dict.fromkeys(waiting, "x"), settings.embedding)
    due = [h for h in hexes if h not in {*embedded, *quarantined, *waiting}]

    for prefixes in ("0-f", "0", "f", "7", "00", "0f", "10-1f", "a0-ff", "3-b", "05-0a"):
        buckets = PrefixRange.parse(prefixes).buckets
        wanted = [h for h in due if bucket_of(h) in buckets]
        found, after = [], ""
        while page := fetch_pending(database, record, buckets, after=after, limit=7):
            assert len(page) <= 7
            found += [chunk.chunk_hash for chunk in page]
            after = found[-1]
        assert found == wanted, prefixes
        assert due_in_range(database, record, buckets) == len(wanted)

    for length in (1, 2):
        prefixes = all_prefixes(length)
        assert due_prefixes(database, record, prefixes) == sorted({h[:length] for h in due})
        pending = [h for h in hexes if h not in {*embedded, *quarantined}]
        counts = count_pending_by_prefix(database, record, length)
        assert counts == {p: n for p in prefixes if (n := sum(h.startswith(p) for h in pending))}
    assert due_prefixes(database, record, []) == []

    backlog = count_backlog(database, record)
    unreachable = len({*strange} - {*hexes})
    assert backlog.chunks == count_chunks(database) == len(hexes) + unreachable
    assert (backlog.embedded, backlog.quarantined, backlog.waiting) == (len(embedded), len(quarantined), len(waiting))
    assert (backlog.unreachable, backlog.due) == (unreachable, len(due))
    assert backlog.pending == len(due) + len(waiting) + unreachable

    assert fetch_pending(database, record, range(256), after="", limit=1)[0].text_version == 0


def test_what_the_model_reads_and_how_much_it_is(database, record, execute):
    execute(
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, context_header, token_count) VALUES "
        "('aa', 'plain', '', 0), ('ab', 'below', 'Head > Line', 0), ('ac', 'counted', '', 11), ('ad', %s, '', 0), "
        "('ae', 'long', '', 9999), ('XX', 'never', '', 1000)",
        "ä" * 5000,
    )
    pending = fetch_pending(database, record, range(256), after="", limit=9)
    assert [chunk.text for chunk in pending[:2]] == ["plain", "Head > Line\nbelow"]
    assert "plain" not in repr(pending)
    most = record.space.max_tokens
    assert count_backlog_tokens(database, record) == (5 // 4 + 1) + (16 // 4 + 1) + 11 + most + most


@pytest.mark.parametrize("adopted", [False, True], ids=["fresh", "adopted"])
def test_reading_the_backlog_uses_the_partial_index(empty_url, adopted):
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        if adopted:
            connection.execute("CREATE TABLE knowledge_base (chunk_hash varchar(64) UNIQUE, chunk_text text)")
    with Database(empty_url, DatabaseConfig()) as database:
        migrate(database)
        record = register_space(database, SMALL_SPACE)
        with psycopg.connect(empty_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) SELECT md5(n::text), 'text', "
                "CASE WHEN n % 50 > 0 THEN '[1,0,0,0,0,0,0,0]'::vector END FROM generate_series(1, 4000) n"
            )
            connection.execute(
                "INSERT INTO embedding_failures SELECT chunk_hash, %s, 'x', 9, now(), now(), now(), true "
                "FROM knowledge_base LIMIT 1000",
                [record.space.name],
            )
            connection.execute("VACUUM ANALYZE knowledge_base, embedding_failures")
        recorder = PlanRecorder(database)
        for read in (
            lambda: fetch_pending(recorder, record, range(256), after="", limit=2048),
            lambda: fetch_pending(recorder, record, range(16, 32), after="12", limit=10),
            lambda: due_prefixes(recorder, record, all_prefixes(2)),
            lambda: due_in_range(recorder, record, range(16, 32)),
            lambda: count_pending_by_prefix(recorder, record, 1),
            lambda: count_backlog_tokens(recorder, record),
        ):
            read()
            assert f"{record.pending_index}" in recorder.plan
            assert "Seq Scan on knowledge_base" not in recorder.plan
        due_prefixes(recorder, record, all_prefixes(2))
        # One probe a prefix: never the whole backlog for each.
        loops = re.search(rf"{record.pending_index}.*actual.*rows=(\S+) loops=(\d+)", recorder.plan)
        assert loops
        assert float(loops[1]) < 3
        assert int(loops[2]) == 256


def test_a_window_is_read_in_order_before_the_table_has_statistics(database, record, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(n::text), 'text' "
            "FROM generate_series(1, 5000) n")  # fmt: skip
    recorder = PlanRecorder(database)
    assert len(fetch_pending(recorder, record, range(256), after="", limit=100)) == 100
    assert "Sort" not in recorder.plan
    rows = re.search(rf"{record.pending_index}.*actual.*rows=(\S+) loops=1", recorder.plan)
    assert rows
    assert float(rows[1]) < 200


def test_a_further_space_s_first_load_is_read_through_the_unique_index(database, record, execute):
    second = register_space(database, FAKE_SPACE, new_space=True)
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) SELECT md5(n::text), 'text', "
            "'[1,0,0,0,0,0,0,0]' FROM generate_series(1, 5000) n")  # fmt: skip
    recorder = PlanRecorder(database)
    assert len(fetch_pending(recorder, second, range(128, 256), after="90", limit=100)) == 100
    assert "knowledge_base_pkey" in recorder.plan
    assert "Sort" not in recorder.plan


def test_what_is_due_is_measured_up_to_a_bound(database, record, execute, settings):
    insert_chunks(database, ["a" * 100, "ä" * 100, "b" * 1000], context_header="123")
    # A byte more than the text has, for the line break behind the header.
    assert measure_due(database, record, most=10) == (3, 104 + 204 + 1004)
    assert measure_due(database, record, most=2)[0] == 2
    [failed] = insert_chunks(database, ["c"])
    record_failures(database, record.space.name, {failed: "x"}, settings.embedding)
    insert_hashes(execute, ["XYZ"])
    insert_hashes(execute, ["ab"], vector="[1,0,0,0,0,0,0,0]")
    assert measure_due(database, record, most=10) == (3, 104 + 204 + 1004)
    assert measure_due(database, register_space(database, FAKE_SPACE, new_space=True), most=10)[0] == 5


@pytest.mark.parametrize("analyzed", ["never", "before", "since"])
def test_measuring_a_small_backlog_of_a_large_table_reads_only_that(database, record, execute, analyzed):
    embed_most(execute, analyzed)
    recorder = PlanRecorder(database)
    assert 50 < measure_due(recorder, record, most=1000)[0] < 150
    assert record.pending_index in recorder.plan
    assert "Seq Scan on knowledge_base" not in recorder.plan


# Loading


def test_loading_again_adds_nothing_and_a_change_keeps_what_stayed(database, record, execute):
    chunks, document = chunks_of("a.md", ["one", "two", "two", "three"])
    assert not is_unchanged(database, document.origin, document.digest)
    assert store_chunks(database, chunks, [document]) == (4, 0)
    assert is_unchanged(database, document.origin, document.digest)
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'")
    other, other_document = chunks_of("b.md", ["one"])
    store_chunks(database, other, [other_document])
    versions = "SELECT xmin::text FROM knowledge_base ORDER BY chunk_hash"
    before = execute(versions)
    assert store_chunks(database, chunks, [document]) == (0, 0)
    assert execute(versions) == before

    changed, changed_document = chunks_of("a.md", ["zero", "three", "one"])
    assert store_chunks(database, changed, [changed_document]) == (1, 2)
    assert execute(
        "SELECT chunk_text, chunk_index, total_chunks, embedding IS NOT NULL FROM knowledge_base "
        "WHERE document_metadata ->> 'origin' = 'a.md' ORDER BY chunk_index"
    ) == [("zero", 0, 3, False), ("three", 1, 3, True), ("one", 2, 3, True)]
    assert not is_unchanged(database, document.origin, document.digest)
    assert is_unchanged(database, "a.md", changed_document.digest)

    renamed, renamed_document = chunks_of("a.md", ["zero", "three", "one"], title="Now it has a title")
    assert store_chunks(database, renamed, [renamed_document]) == (0, 0)
    assert execute("SELECT count(*) FROM knowledge_base WHERE embedding IS NOT NULL") == [(2,)]

    assert store_chunks(database, [], [LoadedDocument("a.md", "empty", frozenset())]) == (0, 3)
    assert is_unchanged(database, "a.md", "empty")
    execute("DELETE FROM knowledge_base")
    assert not is_unchanged(database, "b.md", other_document.digest)


def test_rows_of_one_file_share_its_origin(database, record, execute):
    first, one = chunks_of("data.csv", ["red", "green"], source="data.csv row 1")
    second, two = chunks_of("data.csv", ["red"], source="data.csv row 2")
    document = LoadedDocument("data.csv", "v1", one.hashes | two.hashes)
    # In two transactions, as a large file is loaded.
    assert store_chunks(database, first, []) == (2, 0)
    assert not is_unchanged(database, "data.csv", "v1")
    assert store_chunks(database, second, [document]) == (1, 0)
    assert is_unchanged(database, "data.csv", "v1")
    assert store_chunks(database, first, [LoadedDocument("data.csv", "v2", one.hashes)]) == (0, 1)
    assert texts_in_table(execute) == ["red", "green"]


def test_a_chunk_twice_in_one_batch_is_one_row(database, record, execute):
    chunks, document = chunks_of("a.md", ["one", "two"])
    assert store_chunks(database, [*chunks, *chunks], [document]) == (2, 0)
    assert texts_in_table(execute) == ["one", "two"]


def test_all_of_a_load_or_nothing(database, record, execute, monkeypatch):
    chunks, document = chunks_of("a.md", ["one"])
    execute("ALTER TABLE loaded_documents ADD CHECK (origin <> 'b.md')")
    more, forbidden = chunks_of("b.md", ["two"])
    with pytest.raises(Exception, match="violates check constraint") as caught:
        store_chunks(database, [*chunks, *more], [document, forbidden])
    assert "two" not in str(caught.value)
    assert texts_in_table(execute) == []


def test_an_edited_chunk_that_is_loaded_again_gets_its_text_back(database, record, execute):
    chunks, document = chunks_of("a.md", ["one"])
    store_chunks(database, chunks, [document])
    execute("UPDATE knowledge_base SET chunk_text = 'vandalized', embedding = NULL")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'")
    store_chunks(database, chunks, [document])
    assert execute("SELECT chunk_text, embedding, text_version FROM knowledge_base") == [("one", None, 2)]


def test_versions_of_a_document_loaded_at_once_do_not_mix(database, record, execute):
    old, old_document = chunks_of("a.md", ["old 1", "old 2"])
    new, new_document = chunks_of("a.md", ["new"])
    with database.connect() as first:
        module._store(first, old, [old_document])
        second = threading.Thread(target=store_chunks, args=(database, new, [new_document]))
        second.start()
        second.join(0.3)
        assert second.is_alive()
        first.commit()
    second.join(20)
    assert texts_in_table(execute) == ["new"]
    assert is_unchanged(database, "a.md", new_document.digest)


def test_the_same_document_loaded_by_many_threads(database, record, execute):
    texts = [f"text {number}" for number in range(200)]
    chunks, document = chunks_of("a.md", texts)
    moved, moved_document = chunks_of("a.md", texts[::-1])
    threads = [
        threading.Thread(target=store_chunks, args=(database, c, [d]))
        for c, d in ((chunks, document), (moved, moved_document)) * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(texts_in_table(execute)) == sorted(texts)
    assert count_chunks(database) == 200


def test_many_pending_texts_are_read_in_windows(database, record):
    texts = [f"text {number}" for number in range(50)]
    hashes = sorted(insert_chunks(database, texts))
    first = fetch_pending(database, record, range(256), after="", limit=30)
    rest = fetch_pending(database, record, range(256), after=first[-1].chunk_hash, limit=30)
    assert [chunk.chunk_hash for chunk in first + rest] == hashes
