"""The pictures among the metadata of a real run: which there are, and that they are small enough to be seen at once."""

import json

import pytest
from dagster import MarkdownMetadataValue

from embedding_assets.reporting.figures.picture import INLINE_CHARACTERS
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.materializing import materialize

pytestmark = pytest.mark.uncovered

TEXTS = [f"number {n} plays in the park" for n in range(60)]

AT_ONCE = {
    "chunks_pending": ["backlog"],
    "chunk_embeddings": ["backlog", "throughput"],
    "pgvector_index_health": ["recall_curve", "latency_curve"],
}
"""Asset → its pictures that need no click."""


@pytest.fixture
def materializations(database, instance):
    """Asset → its materializations in one run over all partitions."""
    insert_chunks(database, TEXTS)
    result = materialize(instance)
    assert result.success
    return {asset: result.asset_materializations_for_node(asset) for asset in AT_ONCE}


def pictures(materialization):
    return {
        name: value.md_str
        for name, value in materialization.metadata.items()
        if isinstance(value, MarkdownMetadataValue) and "![" in value.md_str  # not a table
    }


def test_every_asset_has_pictures(materializations):
    for asset, names in AT_ONCE.items():
        for materialization in materializations[asset]:
            found = pictures(materialization)
            assert [name for name in found if name != "figures"] == names
            for name in names:
                assert found[name].startswith("![")
                assert len(found[name]) <= INLINE_CHARACTERS

    [index] = materializations["pgvector_index_health"]
    assert pictures(index)["figures"].count("](<data:image/svg+xml,") == 4
    for asset in ("chunks_pending", "chunk_embeddings"):
        assert not any("figures" in materialization.metadata for materialization in materializations[asset])
    shown = json.dumps([pictures(m) for found in materializations.values() for m in found])
    assert not any(text in shown for text in TEXTS)


def test_pending_chunks_are_drawn_in_full_where_no_vector_waits_for_it(database, instance):
    insert_chunks(database, TEXTS)
    result = materialize(instance, selection=["chunks_pending"])
    [pending] = result.asset_materializations_for_node("chunks_pending")
    assert pictures(pending)["figures"].count("](<data:image/svg+xml,") == 1
