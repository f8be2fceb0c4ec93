from dagster import FloatMetadataValue, IntMetadataValue, MetadataValue, TableMetadataValue
from dagster._core.definitions.metadata import normalize_metadata

from embedding_assets.defs.metadata import prefix_table, run_metadata, vector_index_metadata
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.postgres.index import IndexState, RecallSample


def test_statistics_are_numbers_that_dagster_can_draw():
    stats = EmbeddingStats(
        space="s", embedded=30, failed=1, skipped=2, truncated=3, tokens=400, seconds=1.5, model_load_seconds=2.25,
        peak_memory_bytes=700_000_000, device="cpu", precision="float32", busy_prefixes=["a", "b"],
        prefixes={"0": PrefixStats(embedded=30, failed=1, skipped=2, truncated=3, tokens=400)},
    )  # fmt: skip

    values = normalize_metadata(run_metadata(stats))

    numbers = {k: v.value for k, v in values.items() if isinstance(v, IntMetadataValue | FloatMetadataValue)}
    assert numbers == {
        "embedded": 30, "failed": 1, "skipped": 2, "truncated": 3, "tokens": 400, "seconds": 1.5,
        "chunks_per_second": 20.0, "model_load_seconds": 2.25, "peak_memory_mb": 700,
    }  # fmt: skip
    assert values["busy_prefixes"] == MetadataValue.text("a, b")
    assert isinstance(values["by_prefix"], TableMetadataValue)
    assert values["by_prefix"].records[0].data == {
        "prefix": "0", "embedded": 30, "failed": 1, "skipped": 2, "truncated": 3, "tokens": 400,
    }  # fmt: skip


def test_a_run_without_work_is_described_too():
    values = run_metadata(EmbeddingStats(space="s"))

    assert (values["device"], values["busy_prefixes"], values["chunks_per_second"]) == ("none needed", "none", 0.0)
    assert values["by_prefix"].records == []


def test_what_was_not_measured_of_an_index_is_left_out():
    values = vector_index_metadata(IndexState("idx", exists=False), RecallSample(3, None, False, None), None)

    assert values["valid"] == "no"
    assert not {"build_seconds", "recall_at_10", "search_p50_ms"} & set(values)


def test_an_index_that_was_built_and_measured():
    state = IndexState("idx", True, True, 2_500_000, "vector_cosine_ops", 16, 64)

    values = vector_index_metadata(state, RecallSample(100, 0.98765, True, 1.234), 3.456)

    assert values == {
        "index": "idx", "valid": "yes", "operator_class": "vector_cosine_ops", "m": 16, "ef_construction": 64,
        "size_mb": 2.5, "recall_queries": 100, "planner_uses_index": "yes", "build_seconds": 3.46,
        "recall_at_10": 0.9877, "search_p50_ms": 1.23,
    }  # fmt: skip


def test_a_table_without_rows_has_its_columns():
    assert [column.name for column in prefix_table({}).schema.columns] == ["prefix", "pending"]
