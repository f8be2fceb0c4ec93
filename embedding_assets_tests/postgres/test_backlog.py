"""What is pending comes back in hash order, each chunk once, at the cost of the backlog."""

import hashlib
import re
from collections import Counter

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.config import DatabaseConfig
from embedding_assets.planning import PrefixRange, all_prefixes, bucket_bounds
from embedding_assets.postgres.backlog import (
    count_backlog,
    count_backlog_texts,
    due_by_bucket,
    due_in_range,
    due_prefixes,
    fetch_pending,
    measure_due,
)
from embedding_assets.postgres.chunks import count_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.prefixes import count_pending_by_prefix
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, bucket_of, insert_chunks
from embedding_assets_tests.support.tables import SMALL_SPACE, PlanRecorder, embed_most, insert_hashes


@given(
    st.text("0123456789abcdef", min_size=2, max_size=6),
    st.integers(0, 255).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, 256))),
)
def test_bucket_bounds_hold_the_hashes_of_their_buckets_and_no_others(chunk_hash, buckets):
    lower, upper = bucket_bounds(*buckets)
    assert (lower <= chunk_hash < upper) == (bucket_of(chunk_hash) in range(*buckets))


def test_pages_hold_every_due_chunk_once_in_hash_order(database, column, execute, settings):
    hexes = sorted({hashlib.sha256(str(n).encode()).hexdigest()[: 2 + n % 40] for n in range(400)} | {"00", "ff", "0f"})
    strange = ["A" + "b" * 20, "xyz", "a", "", "g0", "00 ", "é1", "0G", "\u00000"[1:], "ff\n"]
    embedded, quarantined, waiting = hexes[5::11], set(hexes[3::13]) - set(hexes[5::11]), set(hexes[7::17])
    waiting -= {*embedded, *quarantined}
    insert_hashes(execute, sorted({*hexes, *strange} - {*embedded}))
    insert_hashes(execute, embedded, vector="[1,0,0,0,0,0,0,0]")
    once = settings.embedding.model_copy(update={"max_attempts": 1})
    save_failures(database, column.space.name, [FailedChunk(h, "x") for h in quarantined], once)
    save_failures(database, column.space.name, [FailedChunk(h, "x") for h in waiting], settings.embedding)
    due = [h for h in hexes if h not in {*embedded, *quarantined, *waiting}]

    for prefixes in ("0-f", "0", "f", "7", "00", "0f", "10-1f", "a0-ff", "3-b", "05-0a"):
        buckets = PrefixRange.parse(prefixes).buckets
        wanted = [h for h in due if bucket_of(h) in buckets]
        found, after = [], ""
        while page := fetch_pending(database, column, buckets, after=after, limit=7):
            assert len(page) <= 7
            found += [chunk.chunk_hash for chunk in page]
            after = found[-1]
        assert found == wanted, prefixes
        assert due_in_range(database, column, buckets) == len(wanted)
        by_bucket = Counter(int(chunk_hash[:2], 16) for chunk_hash in wanted)
        assert due_by_bucket(database, column, buckets) == by_bucket

    for length in (1, 2):
        prefixes = all_prefixes(length)
        assert due_prefixes(database, column, prefixes) == sorted({h[:length] for h in due})
        pending = [h for h in hexes if h not in {*embedded, *quarantined}]
        counts = count_pending_by_prefix(database, column, length)
        assert counts == {p: n for p in prefixes if (n := sum(h.startswith(p) for h in pending))}
    assert due_prefixes(database, column, []) == []

    backlog = count_backlog(database, column)
    unreachable = len({*strange} - {*hexes})
    assert backlog.chunks == count_chunks(database) == len(hexes) + unreachable
    assert (backlog.embedded, backlog.quarantined, backlog.waiting) == (len(embedded), len(quarantined), len(waiting))
    assert (backlog.unreachable, backlog.due) == (unreachable, len(due))
    assert backlog.pending == len(due) + len(waiting) + unreachable

    [first] = fetch_pending(database, column, range(256), after="", limit=1)
    assert (first.key, first.fingerprint) == ((due[0],), hashlib.md5(first.text.encode()).hexdigest())


def test_what_the_model_reads_and_how_much_it_is(database, column, execute):
    execute(
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, context_header, token_count) VALUES "
        "('aa', 'plain', '', 0), ('ab', 'below', 'Head > Line', 0), ('ac', 'counted', '', 11), ('ad', %s, '', 0), "
        "('ae', 'long', '', 9999), ('XX', 'never', '', 1000)",
        "ä" * 5000,
    )
    pending = fetch_pending(database, column, range(256), after="", limit=9)
    assert [chunk.text for chunk in pending[:2]] == ["plain", "Head > Line\nbelow"]
    assert "plain" not in repr(pending)
    most = column.space.max_tokens
    tokens = (5 // 4 + 1) + (16 // 4 + 1) + 11 + most + most
    assert count_backlog_texts(database, column.space, column) == (5, tokens)
    execute(
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, token_count) VALUES ('af', 'plain', 0), ('b0', 'long', 3)"
    )
    assert count_backlog_texts(database, column.space, column) == (7, tokens + (5 // 4 + 1) + 3)
    assert count_backlog_texts(database, column.space, column, once=True) == (5, tokens)


@pytest.mark.parametrize("collation", ["C", "ucs_basic"])
def test_reading_the_backlog_uses_the_partial_index(empty_url, collation):
    with Database(empty_url, DatabaseConfig()) as database:
        migrate(database)
        with psycopg.connect(empty_url) as connection:
            # Tables of users that earlier versions had adopted have the collation of the user's, in both.
            for name in ("knowledge_base", "embedding_failures"):
                connection.execute(f'ALTER TABLE {name} ALTER COLUMN chunk_hash TYPE text COLLATE "{collation}"')
        column = register_space(database, SMALL_SPACE)
        with psycopg.connect(empty_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) SELECT md5(n::text), 'text', "
                "CASE WHEN n % 50 > 0 THEN '[1,0,0,0,0,0,0,0]'::vector END FROM generate_series(1, 4000) n"
            )
            connection.execute(
                "INSERT INTO embedding_failures (chunk_hash, key, space, error_code, attempts, retry_at, quarantined) "
                "SELECT chunk_hash, ARRAY[chunk_hash], %s, 'x', 9, now(), true FROM knowledge_base LIMIT 1000",
                [column.space.name],
            )
            connection.execute("VACUUM ANALYZE knowledge_base, embedding_failures")
        recorder = PlanRecorder(database)
        for read in (
            lambda: fetch_pending(recorder, column, range(256), after="", limit=2048),
            lambda: fetch_pending(recorder, column, range(16, 32), after="12", limit=10),
            lambda: due_prefixes(recorder, column, all_prefixes(2)),
            lambda: due_in_range(recorder, column, range(16, 32)),
            lambda: count_pending_by_prefix(recorder, column, 1),
            lambda: count_backlog_texts(recorder, column.space, column),
            lambda: count_backlog_texts(recorder, column.space, column, once=True),
        ):
            read()
            assert f"{column.pending_index}" in recorder.plan
            assert "Seq Scan on knowledge_base" not in recorder.plan
        due_prefixes(recorder, column, all_prefixes(2))
        # One probe a prefix: never the whole backlog for each.
        loops = re.search(rf"{column.pending_index}.*actual.*rows=(\S+) loops=(\d+)", recorder.plan)
        assert loops
        assert float(loops[1]) < 3
        assert int(loops[2]) == 256


def test_a_window_is_read_in_order_before_the_table_has_statistics(database, column, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(n::text), 'text' "
            "FROM generate_series(1, 5000) n")  # fmt: skip
    recorder = PlanRecorder(database)
    assert len(fetch_pending(recorder, column, range(256), after="", limit=100)) == 100
    assert "Sort" not in recorder.plan
    rows = re.search(rf"{column.pending_index}.*actual.*rows=(\S+) loops=1", recorder.plan)
    assert rows
    assert float(rows[1]) < 200


def test_a_further_space_s_first_load_is_read_through_the_unique_index(database, column, execute):
    second = register_space(database, FAKE_SPACE, new_space=True)
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) SELECT md5(n::text), 'text', "
            "'[1,0,0,0,0,0,0,0]' FROM generate_series(1, 5000) n")  # fmt: skip
    recorder = PlanRecorder(database)
    assert len(fetch_pending(recorder, second, range(128, 256), after="90", limit=100)) == 100
    assert "knowledge_base_pkey" in recorder.plan
    assert "Sort" not in recorder.plan


def test_what_is_due_is_measured_up_to_a_bound(database, column, execute, settings):
    insert_chunks(database, ["a" * 100, "ä" * 100, "b" * 1000], context_header="123")
    # A byte more than the text has, for the line break behind the header.
    assert measure_due(database, column, most=10) == (3, 104 + 204 + 1004)
    assert measure_due(database, column, most=2)[0] == 2
    [failed] = insert_chunks(database, ["c"])
    save_failures(database, column.space.name, [FailedChunk(failed, "x")], settings.embedding)
    insert_hashes(execute, ["XYZ"])
    insert_hashes(execute, ["ab"], vector="[1,0,0,0,0,0,0,0]")
    assert measure_due(database, column, most=10) == (3, 104 + 204 + 1004)
    assert measure_due(database, register_space(database, FAKE_SPACE, new_space=True), most=10)[0] == 5


@pytest.mark.parametrize("analyzed", ["never", "before", "since"])
def test_measuring_a_small_backlog_of_a_large_table_reads_only_that(database, column, execute, analyzed):
    embed_most(execute, analyzed)
    recorder = PlanRecorder(database)
    assert 50 < measure_due(recorder, column, most=1000)[0] < 150
    assert column.pending_index in recorder.plan
    assert "Seq Scan on knowledge_base" not in recorder.plan


def test_many_pending_texts_are_read_in_windows(database, column):
    texts = [f"text {number}" for number in range(50)]
    hashes = sorted(insert_chunks(database, texts))
    first = fetch_pending(database, column, range(256), after="", limit=30)
    rest = fetch_pending(database, column, range(256), after=first[-1].chunk_hash, limit=30)
    assert [chunk.chunk_hash for chunk in first + rest] == hashes


def test_a_window_closes_by_bytes(database, column, execute):
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) "
            "SELECT lpad(to_hex(n), 2, '0'), repeat('x', 100 * (1 + n % 3)) FROM generate_series(1, 90) n")  # fmt: skip
    found = []
    after = ""
    while page := fetch_pending(database, column, range(256), after=after, limit=50, most_bytes=1000):
        lengths = [len(chunk.text) for chunk in page]
        # The last one may pass the limit, and nothing comes after it.
        assert sum(lengths[:-1]) < 1000
        assert sum(lengths) >= 1000 or page[-1].chunk_hash == "5a"
        found += page
        after = page[-1].chunk_hash
    assert [chunk.chunk_hash for chunk in found] == [f"{n:02x}" for n in range(1, 91)]
    [alone] = fetch_pending(database, column, range(256), after="", limit=50, most_bytes=1)
    assert alone.chunk_hash == "01"
    assert len(fetch_pending(database, column, range(256), after="", limit=7, most_bytes=10**9)) == 7


def test_texts_behind_the_window_are_not_read(database, column, execute):
    execute("ALTER TABLE knowledge_base ALTER COLUMN chunk_text SET STORAGE EXTERNAL")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) "
            "SELECT md5(n::text), repeat('x', 100000) FROM generate_series(1, 100) n")  # fmt: skip
    recorder = PlanRecorder(database)
    assert len(fetch_pending(recorder, column, range(256), after="", limit=100, most_bytes=250_000)) == 3
    touched = re.search(r"Buffers: shared hit=(\d+)", recorder.plan)
    assert touched
    assert int(touched[1]) * 8192 < 3_000_000  # twice the texts of three rows, and not those of a hundred
