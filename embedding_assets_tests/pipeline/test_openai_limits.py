"""Requests and tokens a minute: used to the full, never passed, by one process and by several together.

The server's own clock is what counts: what its buckets held at the first request and took in until the last.
"""

from typing import Literal

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.api_runs import assert_vectors, configure, sentences, split_prefixes, start_run
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.selecting import select_unasked
from fake_api.server import ApiServer

# Which limit holds the client back: 5 requests a second, or 450 tokens a second of some 100 a request. With more of
# them a second it would be the machine.
LIMITS = {"requests": (300, 10_000_000), "tokens": (100_000, 27_000)}
INPUTS = 4
# What the server lets through at once, and the time after which that is used up.
BURST_SECONDS, SETTLING_SECONDS = 4, 7


def chunks_for(seconds: float, limit: str) -> list[str]:
    """Texts that keep the limit busy for so long."""
    seconds += BURST_SECONDS
    requests, tokens = LIMITS[limit]
    texts = sentences(20_000, words=(8, 24))
    if limit == "requests":
        return texts[: int(seconds * requests / 60 * INPUTS)]
    room = seconds * tokens / 60
    for count, text in enumerate(texts):
        room -= len(text.encode()) / 4
        if room < 0:
            return texts[:count]
    raise AssertionError("more texts are needed")


@pytest.mark.parametrize(
    ("limit", "headers_as_of", "processes"),
    [("requests", "arrival", 1), ("tokens", "answer", 1), ("requests", "answer", 4), ("tokens", "arrival", 4)],
)
def test_limits_are_reached_and_never_passed(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    headers_as_of: Literal["arrival", "answer"],
    processes: int,
):
    texts = chunks_for(16, limit)
    insert_chunks(database, texts)
    requests, tokens = LIMITS[limit]
    with ApiServer(
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        burst_seconds=BURST_SECONDS,
        headers_as_of=headers_as_of,
        latency_seconds=0.1,
    ) as server:
        settings = configure(monkeypatch, server, openai_max_inputs=INPUTS)
        select_unasked(settings, database)
        if processes == 1:
            EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
        else:
            for process in [start_run(prefixes) for prefixes in split_prefixes(processes)]:
                _, err = process.communicate(timeout=120)
                assert process.returncode == 0, err
        assert server.violations == 0
        assert server.limits.used_share(after_seconds=SETTLING_SECONDS) >= 0.95
        assert server.seen == dict.fromkeys(texts, 1)
    assert_vectors(database, texts)
