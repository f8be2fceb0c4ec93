import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from embedding_assets import terminal
from embedding_assets.health import Verdict
from embedding_assets.loading import LoadReport
from embedding_assets.models import EmbeddingStats
from embedding_assets.planning import BacklogEstimate
from embedding_assets.postgres.chunks import Backlog
from embedding_assets.postgres.failures import Failure
from embedding_assets.postgres.index import IndexState
from embedding_assets.postgres.runs import RunRecord
from embedding_assets.postgres.spaces import SpaceRecord
from embedding_assets.search import SearchResult
from embedding_assets.spaces import VectorSpace
from embedding_assets.status import SpaceStatus, TableStatus

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


def space_status(**counts):
    backlog = Backlog(**{"chunks": 10, "embedded": 9, "pending": 1, "waiting": 0, "quarantined": 0, "unreachable": 0,
                         **counts})  # fmt: skip
    run = RunRecord(NOW, 9, 0, 0, 0, 100, 2.0, 1.0, 10**9, "cpu", "float32")
    record = SpaceRecord(SPACE, "embedding", "idx_knowledge_embedding", serving=True)
    return SpaceStatus(record, backlog, IndexState("idx_knowledge_embedding", True, True, 2_500_000), run)


def test_where_there_is_no_terminal_progress_is_a_line_now_and_then(monkeypatch):
    now = 0.0
    monkeypatch.setattr("embedding_assets.terminal.time.monotonic", lambda: now)
    console = plain()

    with terminal.bar(console, "embedding", 100) as advance:
        for now, amount in ((2.0, 0), (4.0, 10), (12.0, 20), (13.0, 30), (20.0, 40), (21.0, 0), (22.0, 5)):  # noqa: B007
            advance(amount)

    assert console.file.getvalue().splitlines() == [
        "embedding: 30 of 100 chunks, 2.5 chunks/s, 28 s left",
        "embedding: 100 of 100 chunks, 5.0 chunks/s, 0 s left",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_progress_is_a_bar(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, no_color=True)

    with terminal.bar(console, "embedding", 100) as advance:
        advance(60)
        advance(40)

    assert "100/100" in console.file.getvalue()


def test_quiet_means_quiet():
    console = Console(file=io.StringIO(), force_terminal=True)

    with terminal.bar(console, "a", 1, quiet=True) as advance:
        advance(1)
    with terminal.counter(console, "a", "chunks", quiet=True) as advance:
        advance(1)
    with terminal.spinner(console, "a", quiet=True):
        pass

    assert console.file.getvalue() == ""


def test_signs_of_life_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)

    with terminal.counter(console, "loading", "chunks") as advance:
        advance(1234)
    with terminal.spinner(console, "timing"):
        pass

    assert "1,234 chunks" in console.file.getvalue()
    assert "timing" in console.file.getvalue()


def test_signs_of_life_elsewhere():
    console = plain()

    with terminal.counter(console, "loading", "chunks") as advance:
        advance(1)
    with terminal.spinner(console, "timing"):
        pass

    assert console.file.getvalue() == "timing\n"


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (LoadReport(1, 0, 1, 1, 0, 0), "Loaded 1 document (0 unchanged), 1 chunk added, 0 removed."),
        (
            LoadReport(1200, 7, 3400, 3000, 2, 5),
            "Loaded 1,200 documents (7 unchanged), 3,000 chunks added, 2 removed, [yellow]5 rejected[/yellow].",
        ),
    ],
)
def test_what_loading_did(report, line):
    assert terminal.load_line(report) == line


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (BacklogEstimate(0, 0, None, 0.0), "Nothing is due in space s."),
        (BacklogEstimate(1, 9, None, 0.0), "1 chunk, 9 tokens: an unknown time, $0.00 (space s)."),
        (BacklogEstimate(2, 9, 12.34, 0.0), "2 chunks, 9 tokens: about 12.3 s, $0.00 (space s)."),
        (BacklogEstimate(2000, 9000, 600, 1.239), "2,000 chunks, 9,000 tokens: about 10.0 min, $1.24 (space s)."),
        (BacklogEstimate(2, 9, 9000, 0.0), "2 chunks, 9 tokens: about 2.5 h, $0.00 (space s)."),
    ],
)
def test_an_estimate(plan, line):
    assert terminal.estimate_line("s", plan) == line


def test_a_run():
    stats = EmbeddingStats(
        space="s", embedded=300, failed=1, skipped=2, truncated=3, tokens=4000, seconds=10.0, model_load_seconds=2.0,
        peak_memory_bytes=700_000_000, device="cpu", precision="float32", busy_prefixes=["a"],
    )  # fmt: skip

    text = shown(terminal.run_view(stats, 1.25))

    for part in (
        "300 chunks, 4,000 tokens",
        "10.0 s, 30.0 chunks/s on cpu in float32",
        "700 MB",
        "1.2 s",
        "embedding-assets failures",
    ):
        assert part in text
    assert [line.split()[0] for line in text.splitlines()][-4:] == ["truncated", "failed", "skipped", "busy"]


@pytest.mark.parametrize(
    ("busy", "seconds", "line"),
    [
        ([], None, "Nothing to embed."),
        (["a", "b"], None, "Nothing to embed. Prefixes a, b are held by another run."),
        ([], 2.0, "Nothing to embed. The index was built in 2.0 s."),
    ],
)
def test_a_run_without_work(busy, seconds, line):
    assert shown(terminal.run_view(EmbeddingStats(space="s", busy_prefixes=busy), seconds)).strip() == line


def test_a_table():
    text = shown(terminal.status_view(TableStatus(10, [space_status(waiting=1)]), "me@host:1/db"))

    assert "10 chunks in knowledge_base (me@host:1/db)" in text
    assert "/models/[red]own[/red], 768 dimensions" in text, "a model's name is no markup"
    assert "9 (90.0%)" in text
    assert "1, 1 wait for a retry" in text
    assert "valid, 2.5 MB" in text
    assert "2030-01-02 03:04" in text
    assert "quarantined" not in text


def test_a_table_with_trouble():
    text = shown(terminal.status_view(TableStatus(10, [space_status(quarantined=2, unreachable=3)]), "x"))

    assert "2 (see embedding-assets failures)" in text
    assert "3 (chunk_hash is not lowercase hex)" in text


@pytest.mark.parametrize(("chunks", "command"), [(0, "embedding-assets load PATH"), (5, "embedding-assets embed")])
def test_a_table_that_was_never_embedded_says_what_is_next(chunks, command):
    assert shown(terminal.status_view(TableStatus(chunks, []), "x")).splitlines()[1].endswith(f"Next: {command}")


def test_the_meter_is_full_only_when_nothing_is_missing():
    assert "━" * 20 + "[/green][dim][/dim]" in terminal._meter(1.0)
    assert "━" * 20 + "[/green]" not in terminal._meter(0.9999)


def test_answers():
    long = SearchResult("h", 0.5, "docs/[b].md", "Title", "", "word " * 200, {}, "space")
    short = SearchResult("h", 0.75, "s", "T", "Head > [bold]", "text", {}, "space")

    text = shown(terminal.results_view([short, long]))

    assert "0.750  Head > [bold]  s" in text
    assert "0.500  Title  docs/[b].md" in text
    assert text.rstrip().endswith("…")
    assert len(text) < 700


def test_failures():
    rows = [
        Failure("a" * 64, "s", "encoding_failed", 3, NOW, NOW, True, "docs/[b].md"),
        Failure("b" * 64, "s", "zero_vector", 1, NOW, NOW, False, ""),
    ]

    text = shown(terminal.failures_view(rows))

    assert "a" * 16 in text
    assert "docs/[b].md" in text
    assert "quarantined" in text


def test_verdicts_are_told_apart_without_colour():
    verdicts = [
        Verdict("good", True, True, "fine"),
        Verdict("bad", False, True, "broken [b]"),
        Verdict("odd", False, False, "look"),
    ]

    assert [line.split()[:2] for line in shown(terminal.verdicts_view(verdicts)).splitlines()] == [
        ["✔", "good"],
        ["✘", "bad"],
        ["!", "odd"],
    ]
