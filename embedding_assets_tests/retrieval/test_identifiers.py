"""Identifiers are found first by hybrid searches too, whatever their vectors say."""

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.postgres.search_indexes import build_search_indexes
from embedding_assets.retrieval import Searcher
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.searching import identifiers

THINGS = ["pump", "sensor", "valve", "server", "request", "cable", "relay", "filter", "invoice", "library"]
SAYINGS = [
    "{}: the {} is replaced every {} months, and mounted with four screws",
    "the {1} {0} reports a fault where it has not answered for {2} seconds",
    "see {} for the {} that stands in room {}",
    "an older {1} is described under {0}; it weighs {2} grams",
]
WORDINGS = [
    "{}",
    "What does {} mean?",
    "which pump is {} and how often is it replaced?",
    "how is the sensor {} mounted",
]


@pytest.mark.uncovered
def test_two_hundred_identifiers_among_vectors_of_a_model(settings, database):
    named = [name for name in identifiers(1600) if "<" not in name][:1500]
    rows = {
        name: SAYINGS[at % len(SAYINGS)].format(name, THINGS[at % len(THINGS)], 2 + at % 90)
        for at, name in enumerate(named)
    }
    insert_chunks(database, list(rows.values()))
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    build_search_indexes(database, "simple")
    missed = []
    with Searcher(settings, database=database) as searcher:
        for at, name in enumerate(named[:: len(named) // 200][:200]):
            for wording in {WORDINGS[0], WORDINGS[at % len(WORDINGS)]}:
                first = searcher.search(wording.format(name), k=3)[0]
                if first.text != rows[name]:
                    missed.append((wording.format(name), first.text))
    assert missed == []
