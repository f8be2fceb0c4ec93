import io

import pytest
from rich.console import Console

from embedding_assets.cli import progress


def plain(width=80):
    return Console(file=io.StringIO(), width=width)


def test_where_there_is_no_terminal_progress_is_a_line_now_and_then(monkeypatch):
    now = 0.0
    monkeypatch.setattr("embedding_assets.pipeline.pace.time.monotonic", lambda: now)
    console = plain()

    with progress.bar(console, "embedding", 100) as advance:
        for now, amount in ((2.0, 0), (4.0, 10), (12.0, 20), (13.0, 30), (20.0, 40), (21.0, 0), (22.0, 5)):  # noqa: B007
            advance(amount)

    assert console.file.getvalue().splitlines() == [
        "embedding: 30 of 100 chunks, 2.5 chunks/s, 28 s left",
        "embedding: 100 of 100 chunks, 5.6 chunks/s, 0 s left",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_progress_is_a_bar(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, no_color=True)

    with progress.bar(console, "embedding", 100) as advance:
        advance(60)
        advance(40)

    assert "100/100" in console.file.getvalue()


def test_files_are_counted_now_and_then_where_there_is_no_terminal(monkeypatch):
    now = 0.0
    monkeypatch.setattr("embedding_assets.cli.progress.time.monotonic", lambda: now)
    console = plain()
    with progress.of_files(console, "loading", 300) as done:
        for now, files, chunks in ((2.0, 10, 40), (11.0, 20, 60), (15.0, 100, 1000), (22.0, 50, 0)):  # noqa: B007
            done.files(files)
            done.chunks(chunks)
    assert console.file.getvalue().splitlines() == [
        "loading: 30 of 300 files, 40 chunks",
        "loading: 180 of 300 files, 1,100 chunks",
    ]
    now = 0.0
    console = plain()
    with progress.of_files(console, "loading", None) as done:
        now = 20.0
        done.files(7)
    assert console.file.getvalue() == "loading: 7 files, 0 chunks\n"


def test_files_are_a_bar_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, no_color=True)
    with progress.of_files(console, "loading", 40) as done:
        done.files(20)
        done.chunks(1234)
    assert "━" in console.file.getvalue()
    assert "20 of 40 files, 1,234 chunks" in console.file.getvalue()


def test_quiet_means_quiet():
    console = Console(file=io.StringIO(), force_terminal=True)

    with progress.bar(console, "a", 1, quiet=True) as advance:
        advance(1)
    with progress.counter(console, "a", "chunks", quiet=True) as advance:
        advance(1)
    with progress.of_files(console, "a", 1, quiet=True) as done:
        done.files(1)
    with progress.spinner(console, "a", quiet=True):
        pass

    assert console.file.getvalue() == ""


def test_signs_of_life_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)

    with progress.counter(console, "loading", "chunks") as advance:
        advance(1234)
    with progress.spinner(console, "timing"):
        pass

    assert "1,234 chunks" in console.file.getvalue()
    assert "timing" in console.file.getvalue()


def test_signs_of_life_elsewhere():
    console = plain()

    with progress.counter(console, "loading", "chunks") as advance:
        advance(1)
    with progress.spinner(console, "timing"):
        pass

    assert console.file.getvalue() == "timing\n"
