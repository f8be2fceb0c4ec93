from dataclasses import replace
from decimal import Decimal

from dagster import BoolMetadataValue, FloatMetadataValue, IntMetadataValue
from dagster._core.definitions.metadata import normalize_metadata

from embedding_assets.defs.metadata import indexes_metadata, partition_metadata, prefix_table, run_metadata
from embedding_assets.models import EmbeddingStats, PrefixStats
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.index.lifecycle import IndexReport
from embedding_assets.postgres.index.measurements import IndexMeasurement
from embedding_assets.postgres.index.recall import CurvePoint, SearchMeasurement
from embedding_assets.postgres.index.size import index_bloat
from embedding_assets.postgres.prefixes import PrefixCounts
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


def numbers(values):
    return {k: v.value for k, v in values.items() if isinstance(v, IntMetadataValue | FloatMetadataValue)}


def rows_of(markdown):
    """Of the tables, by their first cell: what stands in the second, or in all that follow."""
    cells = [line.strip("| ").split(" | ") for line in markdown.value.splitlines() if line]
    return {first: rest[0] if len(rest) == 1 else rest for first, *rest in cells}


def test_statistics_are_numbers_that_dagster_can_draw():
    stats = EmbeddingStats(
        space="s", embedded=30, failed=1, skipped=2, truncated=3, tokens=4000, seconds=1.5, model_load_seconds=2.25,
        peak_memory_bytes=700_000_000, device="cpu", precision="float32", threads=4, streams=2, usd=0.006,
        busy_prefixes=["a", "b"],
    )  # fmt: skip

    values = normalize_metadata(run_metadata(stats, "openai", SPENDING))

    assert numbers(values) == {
        "run_embedded": 30, "run_chunks_per_second": 20.0, "run_usd": 0.006, "run_usd_per_1000": 0.2,
    }  # fmt: skip
    assert values["run_details"].value.startswith("| measure | value |\n| --- | --- |\n| failed | 1 |\n")
    assert rows_of(values["run_details"]) == {
        "measure": "value", "---": "---", "failed": "1", "skipped": "2", "truncated": "3", "tokens": "4,000",
        "seconds": "1.5", "left to other runs": "a, b",
        "computed": "on cpu in float32, 4 threads, 2 batches side by side, model loaded in 2.2 s, peak memory 700 MB",
    }  # fmt: skip


def test_a_local_run_shows_what_matters_and_no_dollars():
    nothing = Spending(run=Decimal(0), day=Decimal(0), month=Decimal(0))
    stats = EmbeddingStats(space="s", embedded=30, tokens=400, seconds=1.5, device="cpu", precision="bfloat16")
    values = run_metadata(stats, "local", nothing)
    assert list(values) == ["space", "run_embedded", "run_chunks_per_second", "run_details"]
    assert "run_usd" in run_metadata(stats, "local", SPENDING), "an API was used this month"


def test_a_run_without_work_is_described_too():
    # A zero would be a dip in the drawing of speed, and look like a price.
    nothing = Spending(run=Decimal(0), day=Decimal(0), month=Decimal(0))
    assert run_metadata(EmbeddingStats(space="s"), "local", nothing) == {"space": "s", "run_embedded": 0}
    assert "run_usd_per_1000" not in run_metadata(EmbeddingStats(space="s"), "openai", SPENDING)


def test_a_partition_opens_with_its_own_numbers():
    own = PrefixStats(embedded=3, failed=1, tokens=40)
    assert partition_metadata("7", own, PrefixCounts("7", 45, 1)) == {
        "partition": "7", "embedded": 3, "pending": 1, "dagster/partition_row_count": 45, "failed": 1,
    }  # fmt: skip
    assert partition_metadata("7", PrefixStats(), None) == {"partition": "7", "embedded": 0}


def test_what_the_fallback_did_stands_beside_and_its_dollars_count():
    fallback = EmbeddingStats(space="f", embedded=30, failed=2, tokens=50, seconds=1.234, usd=0.003)

    values = run_metadata(EmbeddingStats(space="s", embedded=10, usd=0.001, fallback=fallback), "local", SPENDING)

    assert {name: value for name, value in values.items() if name.startswith("run_fallback")} == {
        "run_fallback_space": "f", "run_fallback_embedded": 30,
    }  # fmt: skip
    done = "30 embedded, 2 failed, 50 tokens in 1.2 s, $0.003"
    assert rows_of(values["run_details"])["by the fallback"] == done
    assert values["run_embedded"] == 10
    assert values["run_usd"] == 0.004
    assert values["run_usd_per_1000"] == 0.1


def details(values):
    return rows_of(values["details"])


def test_what_was_not_measured_of_an_index_is_left_out():
    values = indexes_metadata([IndexReport(COLUMN, MISSING, measurement(MISSING, UNMEASURED), None)])

    assert values["valid"] is False
    assert not {"recall", "p50_ms", "spaces"} & set(values)
    assert details(values)["vectors of length 0"] == "1%"
    assert not {"seconds of building", "built with", "ef_search"} & set(details(values))


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

    assert {
        "index": "idx", "built with": "m=16, ef_construction=64", "searched with": "ef_search=40",
        "seconds of building": "3.46", "queries of the measurement": "100",
        "recall, lower end of its interval": "0.9765", "p95, ms": "2.35", "p50 without the index, ms": "30.12",
        "p95 without the index, ms": "40.0", "size, as a multiple of a fresh index's": f"{measured.bloat:.3f}",
        "PostgreSQL takes the index by itself": "yes", "table, MB": "3.0", "dead rows": "25%", "duplicates": "10%",
        "shortest vector": "0.99",
        # And the curve below.
        "ef_search": ["recall", "recall_low", "recall_high", "p50_ms", "p95_ms"],
        "10": ["0.8123", "0.7", "0.9", "0.512", "1.0"], "40": ["0.9877", "0.9765", "0.99", "1.234", "2.345"],
    }.items() <= details(values).items()  # fmt: skip
    table = values.pop("spaces")
    assert isinstance(normalize_metadata(values)["valid"], BoolMetadataValue)
    del values["details"]
    assert values == {
        "space": FAKE_SPACE.name, "valid": True,
        "vectors": 300, "size_mb": 2.5, "recall": 0.9877, "p50_ms": 1.23,
    }  # fmt: skip
    assert [row.data for row in table.records] == [
        {"space": FAKE_SPACE.name, "index": "idx", "valid": True, "size_mb": 2.5, "recall": 0.9877, "p50_ms": 1.23},
        {"space": other.space.name, "index": "idx_other", "valid": False, "size_mb": 0.0, "recall": None,
         "p50_ms": None},
    ]  # fmt: skip
    assert [column.name for column in table.schema.columns] == list(table.records[0].data)


def test_a_table_without_rows_has_its_columns():
    assert [column.name for column in prefix_table({}).schema.columns] == ["prefix", "pending"]
