"""What is pending in two spaces at once, which is what a fallback embeds, at the cost of the smaller backlog."""

import hashlib
import re

import pytest

from embedding_assets.planning import all_prefixes
from embedding_assets.postgres.backlog import due_prefixes, fetch_pending
from embedding_assets.postgres.catalog import ensure_pending_index
from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.spaces import register_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, bucket_of
from embedding_assets_tests.support.tables import PlanRecorder, embed_most, insert_hashes


@pytest.fixture
def beside_it(database, column) -> SpaceColumn:
    """A further space, as a fallback has it."""
    return register_space(database, FAKE_SPACE, new_space=True)


def test_pending_in_two_spaces(database, column, beside_it, execute, settings):
    vectors = {column.name: "[1,0,0,0,0,0,0,0]", beside_it.name: str([1] + [0] * 767)}
    hashes = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(8)]
    insert_hashes(execute, [*hashes, "XYZ"])
    for name, n in ((column.name, 0), (beside_it.name, 1), (column.name, 2), (beside_it.name, 2)):
        execute(f"UPDATE knowledge_base SET {name} = %s WHERE chunk_hash = %s", vectors[name], hashes[n])
    once = settings.embedding.model_copy(update={"max_attempts": 1})
    save_failures(database, column.space.name, [FailedChunk(hashes[3], "x")], once)
    save_failures(database, beside_it.space.name, [FailedChunk(hashes[4], "x")], settings.embedding)
    for one, other in ((column, beside_it), (beside_it, column)):
        found = fetch_pending(database, one, range(256), after="", limit=99, also_in=other)
        assert [chunk.chunk_hash for chunk in found] == sorted(hashes[5:])
        found = fetch_pending(database, one, range(128), after=found[0].chunk_hash, limit=1, also_in=other)
        inside = [h for h in sorted(hashes[5:])[1:] if bucket_of(h) < 128]
        assert [chunk.chunk_hash for chunk in found] == inside[:1]
        assert due_prefixes(database, one, all_prefixes(1), also_in=other) == sorted({h[0] for h in hashes[5:]})


@pytest.mark.parametrize("analyzed", ["never", "before", "since"])
@pytest.mark.parametrize("first_load", [True, False], ids=["first load", "indexed"])
def test_what_a_fallback_finds_costs_as_much_as_the_serving_backlog(
    database, column, beside_it, execute, analyzed, first_load
):
    if not first_load:
        ensure_pending_index(database, beside_it)
    embed_most(execute, analyzed)
    recorder = PlanRecorder(database)
    # The fallback's backlog is all 5,000 chunks, that of both together some 100.
    found = fetch_pending(recorder, beside_it, range(256), after="", limit=2048, also_in=column)
    assert 50 < len(found) < 150
    assert f"using {column.pending_index} on" in recorder.plan
    assert "Sort" not in recorder.plan
    assert rows_read(recorder.plan, column.pending_index) == len(found)
    # The other way round, too: it is the serving space that always has its index.
    assert len(fetch_pending(recorder, column, range(256), after="", limit=2048, also_in=beside_it)) == len(found)
    assert f"using {column.pending_index} on" in recorder.plan


def rows_read(plan: str, index: str) -> float:
    """Rows that came out of an index, those included that a filter then removed."""
    [found] = re.findall(rf"{index} on.*actual.*rows=(\S+) loops=1\)", plan)
    removed = re.search(r"Rows Removed by Filter: (\d+)", plan)
    return float(found) + (int(removed[1]) if removed else 0)
