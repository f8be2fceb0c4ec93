from dataclasses import replace
from decimal import Decimal

from dagster import FloatMetadataValue, IntMetadataValue, MetadataValue, TableMetadataValue
from dagster._core.definitions.metadata import normalize_metadata

from embedding_assets.defs.metadata import indexes_metadata, prefix_table, run_metadata
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.index.lifecycle import IndexReport
from embedding_assets.postgres.index.measurements import IndexMeasurement
from embedding_assets.postgres.index.recall import CurvePoint, SearchMeasurement
from embedding_assets.postgres.index.size import index_bloat
from embedding_assets.postgres.usage.ledger import Spending
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE
from embedding_assets_tests.support.measurements import index_measurement, vector_statistics

SPENDING = Spending(run=Decimal("0.25"), day=Decimal("1.5"), month=Decimal("12.75"))
COLUMN = SpaceColumn(FAKE_SPACE, "embedding", "idx", serving=True)
UNMEASURED = SearchMeasurement(3, None, False, None, reason="3 vectors are too few")
MISSING = IndexState("idx", exists=False)
VECTORS = vector_statistics(
    count=300, sampled=300, zero=3, heap_bytes=1_000_000, toast_bytes=2_000_000, live_rows=300, dead_rows=100,
    norm_min=0.99, norm_max=1.01,
)  # fmt: skip


def measurement(state: IndexState, search: SearchMeasurement) -> IndexMeasurement:
    bloat = index_bloat(state, VECTORS.count, 4 * 768)
    return replace(index_measurement(), index=state, search=search, vectors=VECTORS, bloat=bloat)


def test_statistics_are_numbers_that_dagster_can_draw():
    stats = EmbeddingStats(
        space="s", embedded=30, failed=1, skipped=2, truncated=3, tokens=400, seconds=1.5, model_load_seconds=2.25,
        peak_memory_bytes=700_000_000, device="cpu", precision="float32", threads=4, streams=2, usd=0.006,
        busy_prefixes=["a", "b"],
        prefixes={"0": PrefixStats(embedded=30, failed=1, skipped=2, truncated=3, tokens=400)},
    )  # fmt: skip

    values = normalize_metadata(run_metadata(stats, "openai", SPENDING))

    numbers = {k: v.value for k, v in values.items() if isinstance(v, IntMetadataValue | FloatMetadataValue)}
    assert numbers == {
        "embedded": 30, "failed": 1, "skipped": 2, "truncated": 3, "tokens": 400, "seconds": 1.5,
        "threads": 4, "streams": 2, "chunks_per_second": 20.0, "model_load_seconds": 2.25, "peak_memory_mb": 700,
        "usd": 0.006, "usd_per_1000_embeddings": 0.2, "usd_today": 1.5, "usd_this_month": 12.75,
    }  # fmt: skip
    assert values["provider"] == MetadataValue.text("openai")
    assert values["busy_prefixes"] == MetadataValue.text("a, b")
    assert isinstance(values["by_prefix"], TableMetadataValue)
    assert values["by_prefix"].records[0].data == {
        "prefix": "0", "embedded": 30, "failed": 1, "skipped": 2, "truncated": 3, "tokens": 400,
    }  # fmt: skip


def test_a_run_without_work_is_described_too():
    values = run_metadata(EmbeddingStats(space="s"), "local", SPENDING)

    assert (values["device"], values["busy_prefixes"], values["chunks_per_second"]) == ("none needed", "none", 0.0)
    assert values["by_prefix"].records == []
    # Nothing was embedded, so there is no price a piece; a zero would look like one.
    assert "usd_per_1000_embeddings" not in values
    assert not any(name.startswith("fallback") for name in values)


def test_what_the_fallback_did_stands_beside_and_its_dollars_count():
    fallback = EmbeddingStats(space="f", embedded=30, failed=2, skipped=1, tokens=50, seconds=1.234, usd=0.003)

    values = run_metadata(EmbeddingStats(space="s", embedded=10, usd=0.001, fallback=fallback), "local", SPENDING)

    assert {name: value for name, value in values.items() if name.startswith("fallback")} == {
        "fallback_space": "f", "fallback_embedded": 30, "fallback_failed": 2, "fallback_skipped": 1,
        "fallback_tokens": 50, "fallback_seconds": 1.23, "fallback_usd": 0.003,
    }  # fmt: skip
    assert values["embedded"] == 10
    assert values["usd"] == 0.004
    assert values["usd_per_1000_embeddings"] == 0.1


def test_what_was_not_measured_of_an_index_is_left_out():
    values = indexes_metadata([IndexReport(COLUMN, MISSING, measurement(MISSING, UNMEASURED), None)])

    assert values["valid"] == "no"
    assert not {"build_seconds", "recall", "p50_ms", "bloat", "ef_search_curve"} & set(values)
    assert values["zero_share"] == 0.01
    [row] = values["spaces"].records
    assert row.data["recall"] is None


def test_an_index_that_was_built_and_measured():
    state = IndexState("idx", True, True, 2_500_000, "vector_cosine_ops", 16, 64)
    other = replace(COLUMN, space=replace(FAKE_SPACE, model="fake/other"), index="idx_other")
    curve = (CurvePoint(10, 0.81234, 0.7, 0.9, 0.512, 1.0), CurvePoint(40, 0.98765, 0.97654, 0.99, 1.234, 2.345))
    sample = SearchMeasurement(100, 0.98765, True, 1.234, 2.345, 0.97654, 0.99, 30.123, 40.0, curve, 0.1, 0.2)
    measured = measurement(state, sample)

    values = indexes_metadata(
        [
            IndexReport(COLUMN, state, measured, 3.456),
            IndexReport(other, IndexState("idx_other", exists=False), measurement(MISSING, UNMEASURED), None),
        ]
    )

    table, points = values.pop("spaces"), values.pop("ef_search_curve")
    assert values == {
        "space": FAKE_SPACE.name, "index": "idx", "valid": "yes", "operator_class": "vector_cosine_ops", "m": 16,
        "ef_construction": 64, "size_mb": 2.5, "queries": 100, "planner_uses_index": "yes",
        "ef_search": 40, "vectors": 300, "build_seconds": 3.46, "recall": 0.9877, "recall_low": 0.9765,
        "recall_high": 0.99, "p50_ms": 1.23, "p95_ms": 2.35, "exact_p50_ms": 30.12, "exact_p95_ms": 40.0,
        "bloat": round(measured.bloat or 0, 3), "table_mb": 3.0, "toast_mb": 2.0, "dead_share": 0.25,
        "zero_share": 0.01, "duplicates": 0.1, "near_duplicates": 0.2, "norm_min": 0.99, "norm_max": 1.01,
    }  # fmt: skip
    assert [row.data for row in points.records] == [
        {"ef_search": 10, "recall": 0.8123, "recall_low": 0.7, "recall_high": 0.9, "p50_ms": 0.512, "p95_ms": 1.0},
        {
            "ef_search": 40,
            "recall": 0.9877,
            "recall_low": 0.9765,
            "recall_high": 0.99,
            "p50_ms": 1.234,
            "p95_ms": 2.345,
        },
    ]
    assert [column.name for column in points.schema.columns] == list(points.records[0].data)
    assert [row.data for row in table.records] == [
        {"space": FAKE_SPACE.name, "index": "idx", "valid": "yes", "size_mb": 2.5, "build_seconds": 3.46,
         "recall": 0.9877, "queries": 100, "p50_ms": 1.23},
        {"space": other.space.name, "index": "idx_other", "valid": "no", "size_mb": 0.0, "build_seconds": None,
         "recall": None, "queries": 3, "p50_ms": None},
    ]  # fmt: skip
    assert [column.name for column in table.schema.columns] == list(table.records[0].data)


def test_a_table_without_rows_has_its_columns():
    assert [column.name for column in prefix_table({}).schema.columns] == ["prefix", "pending"]
