"""The HTML report: everything in it, nothing fetched, nothing executed, nothing secret."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from embedding_assets.config import get_settings
from embedding_assets.health.verdict import Verdict
from embedding_assets.postgres.prefixes import PrefixCounts
from embedding_assets.reporting.html import render_report
from embedding_assets.reporting.overview import CostOverview, changed_settings
from embedding_assets_tests.support.overviews import (
    FAILED,
    PASSED,
    WARNING,
    embeddings,
    fresh_space,
    maps,
    report,
    runs,
    space,
)


class Page(HTMLParser):
    """What a reader sees, and every address and every element of a page."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.addresses, self.open = "", [], [], []
        self.images: list[dict[str, str | None]] = []
        self.feed(html)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action", "data", "srcset"}]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f" {data}"


@pytest.fixture(scope="module")
def everything() -> str:
    """A page with all there is to show."""
    return render_report(report(space(), fresh_space()), maps(space()))


def unmeasured(**changes):
    """A space without figures, which take their time."""
    return fresh_space(**{"prefixes": (), **changes})


def test_the_page_shows_everything(everything):
    page = Page(everything)

    for expected in (
        "13,442 chunks of 412 documents in embedded PostgreSQL , 2026-11-21 12:00 UTC",
        "2 of 5 checks failed: what to do index_valid in local-all-mpnet-base-v2-768-1a2b3c4d : index idx is invalid: "
        "a build of it failed. Materialize it",
        "local-all-mpnet-base-v2-768-1a2b3c4d answers searches",
        "sentence-transformers/all-mpnet-base-v2, 768 dimensions, on this machine, column embedding",
        "95.5% of 13,442 chunks embedded",
        "600 pending, 7 wait for a retry",
        "2 quarantined",
        "32.4 chunks/s in the latest run",
        "0.937 recall@10 at ef_search 40",
        "0.617 ms a search by the index (median)",
        "104 MB index",
        "✔ passed finite_dimensions",
        "! warning coverage",
        "✘ failed index_valid",
        "zero_vector 12 not_finite 1",
        "2026-11-21 12:00 UTC 1,000 32.4 cpu",
        "dead rows 1.3%",
        "openai-text-embedding-3-small-768-9f8e7d6c text-embedding-3-small, 768 dimensions, by the API at "
        "api.openai.com, column embedding",
        "0% of 13,440 chunks embedded",
        "missing index",
        "$0.86 today (UTC), of $1.00",
        "$15.74 this month (UTC), of $20.00",
        "EMBEDDING_INDEX_M 24 16",
    ):
        assert expected in page.text
    assert page.open == []
    # backlog, throughput, recall, latency and map; of the second space all but the map; costs
    assert [bool(image["alt"]) for image in page.images] == [True] * 10


def test_the_page_fetches_nothing_and_runs_nothing(everything):
    html, page = everything, Page(everything)

    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(address.startswith("data:image/svg+xml,") for address in page.addresses)
    assert "url(" not in html[: html.index("</style>")]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert len(html) < 300_000


@pytest.mark.parametrize(
    ("checks", "headline", "title"),
    [
        (PASSED, '"verdict">✔ All 3 checks passed.', "all is well"),
        ((*PASSED, WARNING), '"verdict warn">', "1 check failed"),
        ((WARNING, FAILED), '"verdict bad">', "2 checks failed"),
        ((), '"verdict warn">', "nothing yet"),
    ],
)
def test_checks_decide_the_headline(checks, headline, title):
    html = render_report(report(unmeasured(checks=checks), costs=CostOverview()))
    assert f"<title>Embeddings: {title}</title>" in html
    assert f"<div class={headline}" in html


@pytest.mark.parametrize(
    ("checks", "counted"), [(PASSED, "All 3 checks passed;"), ((*PASSED, WARNING), "1 of 4 checks")]
)
def test_a_check_that_was_not_made_is_not_passed_over(checks, counted):
    embedded = unmeasured(checks=checks, prefixes=(PrefixCounts("0", 9, 0),))
    html = render_report(report(embedded, costs=CostOverview()))
    page = Page(html)
    assert counted in page.text
    assert "vectors_match_model needs the model and was not checked ( embedding-assets health )." in page.text
    assert "· not checked vectors_match_model needs the model;" in page.text
    assert "all is well" not in html


@pytest.mark.parametrize(("chunks", "expected"), [(0, "embedding-assets load PATH"), (9, "embedding-assets embed")])
def test_without_a_space_the_page_says_what_is_next(chunks, expected):
    page = Page(render_report(report(chunks=chunks, costs=CostOverview(), settings=())))
    assert f"Nothing is embedded yet. Next: {expected}" in page.text
    assert "$0.00 today (UTC), no limit" in page.text
    assert "Settings that are not at their defaults None." in page.text


def test_an_empty_table_of_somebody_s_is_filled_by_others():
    page = Page(render_report(report(chunks=0, table="shop.notes", costs=CostOverview())))
    assert "Nothing is embedded yet: shop.notes is empty" in page.text
    assert page.images == []


def test_what_others_wrote_is_shown_and_not_obeyed():
    bad = '<script>alert(1)</script> & "x" \''
    vectors, _ = embeddings(20)
    hostile = unmeasured(checks=(Verdict(bad, "warning", False, f"`{bad}` {bad}"),), failures={bad: 1})
    identity = replace(hostile.column.space, model=bad, revision=bad)
    hostile = replace(
        hostile,
        name=bad,
        column=replace(hostile.column, name=bad, space=identity),
        vectors=replace(hostile.vectors, pgvector=bad),
    )
    html = render_report(report(hostile, database=bad), {bad: (vectors, (bad,) * 20)})
    page = Page(html)
    assert "<script" not in html
    assert page.text.count('<script>alert(1)</script> & "x" \'') >= 9
    assert page.open == []


def test_commands_in_backquotes_are_code():
    html = render_report(report(unmeasured(checks=(WARNING,))))
    assert html.count("Run <code>embedding-assets embed</code>") == 2


@pytest.mark.parametrize(
    ("usd", "state", "width"), [(0.2, "", 20.0), (0.3, "warn", 30.0), (1.0, "bad", 100.0), (7.0, "bad", 100.0)]
)
def test_costs_near_a_limit_stand_out(usd, state, width):
    html = render_report(report(costs=CostOverview(usd, usd, 1.0, None, alert_share=0.3)))
    assert f'<i class="{state}" style="width:{width}%">' in html[html.index("<h2>Costs") :]
    assert "this month (UTC), no limit" in html


@pytest.mark.parametrize(("pending", "expected", "state"), [(1, "99.9%", "warn"), (0, "100%", "")])
def test_a_meter_is_full_only_when_nothing_is_missing(pending, expected, state):
    one = fresh_space(prefixes=(PrefixCounts("0", 99_999, pending),))
    html = render_report(report(one, costs=CostOverview()))
    tile = html[html.index('<div class="tile">') :]
    assert tile.startswith(f'<div class="tile"><b>{expected}</b>')
    assert f'<i class="{state}" style="width:100.0%">' in tile  # to a tenth; its colour says that something is missing


def test_a_space_without_chunks_is_not_full():
    page = Page(render_report(report(unmeasured())))
    assert "no chunks yet in the table" in page.text
    assert "100%" not in page.text


@pytest.mark.parametrize(
    ("sizes", "floor", "tile"),
    [
        ((1000, 1), 10, "<b>25.0</b><span>chunks/s in the latest run of 100 chunks or more</span>"),
        ((1000, 1), 30, '<b class="warn">25.0</b><span>chunks/s in the latest run of 100 chunks or more</span>'),
        ((1000, 100), 3, '<b class="warn">2.5</b><span>chunks/s in the latest run</span>'),
        ((99, 1), 10, "<b>0.0</b><span>chunks/s in the latest run</span>"),
    ],
)
def test_speed_is_reported_and_judged_by_a_run_of_some_size(sizes, floor, tile):
    made = tuple(run for size in sizes for run in runs(1, embedded=size))
    html = render_report(report(unmeasured(runs=made), throughput_floor=floor, costs=CostOverview()))
    assert tile in html


def test_failed_checks_are_ordered_by_weight():
    assert report(space(checks=(WARNING, *PASSED, FAILED))).failed_checks == [
        (space().name, FAILED),
        (space().name, WARNING),
    ]


def test_failed_checks_of_one_space_do_not_name_it():
    page = Page(render_report(report(unmeasured(checks=(WARNING,)), costs=CostOverview())))
    assert "what to do coverage : 12,840" in page.text


def test_changed_settings_show_no_secret(monkeypatch):
    assert [setting.name for setting in changed_settings(get_settings())] == [
        "EMBEDDING_DATA_DIR",
        "EMBEDDING_DATABASE_RETRY_SECONDS",
        "EMBEDDING_MODEL_NAME",
    ]
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://somebody:hunter2@example.org/db")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter3")
    monkeypatch.setenv("EMBEDDING_INDEX_M", "24")
    changed = changed_settings(get_settings())

    expected = {setting.name: (setting.value, setting.default) for setting in changed}
    assert expected["EMBEDDING_INDEX_M"] == ("24", "16")
    assert expected["EMBEDDING_DATABASE_URL"] == ("set, not shown", "")
    assert expected["EMBEDDING_OPENAI_API_KEY"] == ("set, not shown", "")
    html = render_report(report(settings=changed))
    assert "hunter" not in html
    assert "EMBEDDING_OPENAI_API_KEY" in html
