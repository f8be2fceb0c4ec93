import dataclasses
import io
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from embedding_assets.cli import tables
from embedding_assets.config import BudgetConfig
from embedding_assets.health.verdict import Verdict
from embedding_assets.models import EmbeddingStats
from embedding_assets.pipeline.estimate import BacklogEstimate
from embedding_assets.postgres.backlog import Backlog
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.failures import Failure
from embedding_assets.postgres.usage.ledger import CostRow, Spending
from embedding_assets.reporting.status_page import verdict_table
from embedding_assets.spaces import SpaceColumn, VectorSpace

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
SPACE = VectorSpace("local", "/models/[red]own[/red]", "sha256:1", 768, True, "", 384)


def plain(width=80):
    return Console(file=io.StringIO(), width=width)


def shown(view, width=80):
    console = plain(width)
    console.print(view)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    return text


def space_row(**counts):
    backlog = Backlog(**{"chunks": 10, "embedded": 9, "pending": 1, "waiting": 0, "quarantined": 0, "unreachable": 0,
                         **counts})  # fmt: skip
    column = SpaceColumn(SPACE, "embedding", "idx_knowledge_embedding", serving=True)
    return column, backlog, IndexState("idx_knowledge_embedding", True, True, 2_500_000)


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (BacklogEstimate(0, 0, None, 0.0), "Nothing is due in space s."),
        (BacklogEstimate(1, 9, None, 0.0), "1 chunk, 9 tokens: an unknown time, $0.00 (space s)."),
        (BacklogEstimate(2, 9, 12.34, 0.0), "2 chunks, 9 tokens: about 12 s, $0.00 (space s)."),
        (BacklogEstimate(2000, 9000, 600, 1.239), "2,000 chunks, 9,000 tokens: about 10 min, $1.24 (space s)."),
        (BacklogEstimate(2, 9, 9000, 0.0), "2 chunks, 9 tokens: about 2.5 h, $0.00 (space s)."),
        (BacklogEstimate(2, 1, 60, 0.00000123), "2 chunks, 1 token: about 60 s, $0.0000012 (space s)."),
        (
            BacklogEstimate(2000, 9, 60, 0.0, repeated=1234),
            "2,000 chunks (1,234 with the text of another, embedded once), 9 tokens: about 60 s, $0.00 (space s).",
        ),
        (BacklogEstimate(2, 9, 60, None), "2 chunks, 9 tokens: about 60 s, at an unknown price (space s)."),
    ],
)
def test_an_estimate(plan, line):
    assert tables.estimate_line("s", plan) == line


def test_an_estimate_names_the_limits_it_exceeds():
    plan = BacklogEstimate(2, 9, 60, 9.5)
    line = tables.estimate_line("s", plan, ["EMBEDDING_BUDGET_USD_PER_DAY leaves $0.80", "the [other]"])
    assert line.splitlines() == [
        "2 chunks, 9 tokens: about 60 s, $9.50 (space s).",
        "[yellow]This exceeds a limit:[/yellow] EMBEDDING_BUDGET_USD_PER_DAY leaves $0.80.",
        r"[yellow]This exceeds a limit:[/yellow] the \[other].",
    ]
    plan = BacklogEstimate(2, 9, 60, 0.5, request_usd=2.0)
    assert tables.estimate_line("s", plan, [], ["EMBEDDING_BUDGET_USD_PER_DAY leaves $0.80"]).splitlines()[1:] == [
        "[yellow]A full request reserves up to $2.00, so smaller ones are sent:[/yellow] "
        "EMBEDDING_BUDGET_USD_PER_DAY leaves $0.80."
    ]


def test_a_run():
    stats = EmbeddingStats(
        space="s", embedded=300, failed=1, skipped=2, truncated=3, tokens=4000, seconds=10.0, model_load_seconds=2.0,
        peak_memory_bytes=700_000_000, device="cpu", precision="float32", threads=2, busy_prefixes=["a"],
    )  # fmt: skip

    text = shown(tables.run_view(stats, 1.25))

    for part in (
        "300 chunks, 4,000 tokens",
        "10 s, 30.0 chunks/s on cpu in float32, 2 threads",
        "700 MB",
        "1.2 s",
        "embedding-assets failures",
    ):
        assert part in text
    assert [line.split()[0] for line in text.splitlines()][-4:] == ["truncated", "failed", "skipped", "busy"]


def rows_of(text):
    """A table of names and values, as a dictionary."""
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in text.splitlines() if "  " in line.strip())


def test_a_run_by_an_api():
    stats = EmbeddingStats(space="s", embedded=2000, tokens=4000, seconds=10.0, usd=0.08, device="api")

    rows = rows_of(shown(tables.run_view(stats, None)))

    assert rows["time"] == "10 s, 200 chunks/s by the API"
    assert rows["cost"] == "$0.08, $0.04 for 1,000 embeddings"
    assert "model loaded in" not in rows
    assert "fallback" not in rows


def test_a_run_whose_provider_went_down():
    fallback = EmbeddingStats(
        space="local-[b]", embedded=6, failed=1, seconds=2.0, device="cpu", precision="float32", usd=0.5,
        peak_memory_bytes=600_000_000,
    )  # fmt: skip
    stats = EmbeddingStats(
        space="s", embedded=4, seconds=1.0, usd=0.5, device="api", peak_memory_bytes=100_000_000, fallback=fallback
    )

    rows = rows_of(shown(tables.run_view(stats, None)))

    assert rows["embedded"] == "4 chunks, 0 tokens"
    assert rows["provider"].startswith("down, so")
    assert rows["fallback"] == "6 chunks, 3.0 chunks/s on cpu in float32, 1 failed"
    assert rows["fallback's space"] == "local-[b]"
    assert rows["cost"] == "$1.00, $100.00 for 1,000 embeddings", "both together"
    assert rows["peak memory"] == "600 MB"

    nothing = stats.model_copy(update={"embedded": 0, "fallback": EmbeddingStats(space="t"), "usd": 0.0})
    rows = rows_of(shown(tables.run_view(nothing, None)))
    assert (rows["embedded"], rows["fallback"]) == ("0 chunks, 0 tokens", "0 chunks")
    assert not {"time", "cost"} & set(rows)


@pytest.mark.parametrize(
    ("busy", "seconds", "line"),
    [
        ([], None, "Nothing to embed."),
        (["a", "b"], None, "Nothing else to embed. Prefixes a, b are held by another run."),
        ([], 2.0, "Nothing to embed. The index was built in 2.0 s."),
    ],
)
def test_a_run_without_work(busy, seconds, line):
    assert shown(tables.run_view(EmbeddingStats(space="s", busy_prefixes=busy), seconds)).strip() == line


@pytest.mark.parametrize("width", [80, 120])
def test_spaces(width):
    api = VectorSpace("openai", "text-embedding-3-small", "api.openai.com", 768, True, "", 8192)
    column = SpaceColumn(api, f"embedding_{api.slug}", f"idx_knowledge_embedding_{api.slug}", serving=False)
    further = column, Backlog(10_000, 9999, 0, 0, 1, 0), IndexState(column.index, False)

    text = shown(tables.spaces_view([space_row(), further], api.name), width)

    first, second = (block.splitlines() for block in re.split(r"\n *\n", text.rstrip()))
    assert first[0].strip() == f"{SPACE.name}  serves searches"
    assert second[0].strip() == f"{api.name}  the settings lead here"
    assert [line.split()[0] for line in second[1:]] == ["model", "column", "chunks", "index"]
    assert "/models/[red]own[/red], 768 dimensions, on this machine" in first[1]
    assert "text-embedding-3-small, 768 dimensions, by the API at api.openai.com" in second[1]
    assert column.name in second[2]
    assert "9,999 of 10,000 embedded (99.9%), 1 quarantined" in second[3], "100% only when nothing is missing"
    assert "not built yet" in second[4]
    assert "the settings lead here" not in shown(tables.spaces_view([space_row()], None))
    assert "no vector space yet" in shown(tables.spaces_view([], None))


def test_the_index_of_an_expression_is_said_to_be_one():
    column, backlog, index = space_row()
    assert re.search(r"valid, 2.5 MB *\n", shown(tables.spaces_view([(column, backlog, index)], None)))
    halved = dataclasses.replace(index, cast="halfvec(768)")
    assert "valid, 2.5 MB, of halfvec(768)" in shown(tables.spaces_view([(column, backlog, halved)], None))


def cost_row(key, usd="0.3", presumed="0"):
    return CostRow(key, 2, 12, 1500, Decimal(usd), Decimal(presumed))


@pytest.mark.parametrize("width", [80, 120])
def test_costs(width):
    text = shown(
        tables.costs_view([cost_row("2030-01-02"), cost_row("[b]", "1234.5")], cost_row("total"), "day"), width
    )

    head, *lines = (line.split() for line in text.splitlines())
    assert head == ["day", "requests", "embeddings", "tokens", "dollars", "per", "1,000"]
    assert lines == [
        ["2030-01-02", "2", "12", "1,500", "$0.30", "$25.00"],
        ["[b]", "2", "12", "1,500", "$1,234.50", "$102,875.00"],
        ["total", "2", "12", "1,500", "$0.30", "$25.00"],
    ]


def test_costs_that_nobody_knows_stand_apart():
    nothing = CostRow("r", 0, 0, 0, Decimal(0), Decimal("0.002"))
    text = shown(tables.costs_view([cost_row("a" * 60), nothing], cost_row("total", presumed="0.002"), "run"))

    assert "presumed" in text.splitlines()[0]
    row = next(line for line in text.splitlines() if line.startswith("r "))
    assert row.split() == ["r", "0", "0", "0", "$0.00", "$0.002"], "no price a piece where there is no piece"
    assert "it is unknown whether they were billed" in " ".join(text.split())


def test_limits_in_dollars():
    spending = Spending(run=Decimal(0), day=Decimal("4.2"), month=Decimal(12))
    without = shown(tables.budget_view(spending, BudgetConfig()))
    assert "today       $4.20, no limit (EMBEDDING_BUDGET_USD_PER_DAY)" in without
    assert "this month  $12.00, no limit (EMBEDDING_BUDGET_USD_PER_MONTH)" in without
    assert "a run" not in without

    limited = BudgetConfig(usd_per_run="1", usd_per_day="5", usd_per_month="10")
    rows = rows_of(shown(tables.budget_view(spending, limited)))
    assert rows["today"].endswith("$4.20 of $5.00 (84%) EMBEDDING_BUDGET_USD_PER_DAY")
    assert rows["this month"].endswith("$12.00 of $10.00 (120%) EMBEDDING_BUDGET_USD_PER_MONTH")
    assert rows["a run"] == "at most $1.00 EMBEDDING_BUDGET_USD_PER_RUN"

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    console.print(tables.budget_view(spending, limited))
    today, month, _ = console.file.getvalue().splitlines()
    assert "\x1b[33m━" in today, "from the alert on"
    assert "\x1b[31m━" in month


def test_failures():
    rows = [
        Failure("a" * 64, "s", "encoding_failed", 3, NOW, NOW, True, "docs/[b].md"),
        Failure("b" * 64, "s", "zero_vector", 1, NOW, NOW, False, ""),
    ]

    text = shown(tables.failures_view(rows))

    assert "a" * 16 in text
    assert "docs/[b].md" in text
    assert "quarantined" in text


def test_verdicts_are_kept_apart_without_colour():
    verdicts = [
        Verdict("good", "error", True, "fine"),
        Verdict("bad", "error", False, "broken [b]"),
        Verdict("odd", "warning", False, "look"),
    ]

    assert [line.split()[:2] for line in shown(verdict_table(verdicts)).splitlines()] == [
        ["✔", "good"],
        ["✘", "bad"],
        ["!", "odd"],
    ]
