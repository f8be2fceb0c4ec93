"""The status page of the command line."""

from dataclasses import replace

import pytest
from rich.console import Console

from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.prefixes import PrefixCounts
from embedding_assets.reporting.overview import CostOverview
from embedding_assets.reporting.status_page import sparkline, status_page
from embedding_assets_tests.support.overviews import CURVE, PASSED, costs, fresh_space, report, runs, space


def shown(data, width=80):
    """What a terminal without colours shows, and without the page's borders the words in order."""
    console = Console(width=width, no_color=True, legacy_windows=False)
    with console.capture() as capture:
        console.print(status_page(data))
    return capture.get()


def flowing(data, width=80):
    return " ".join(shown(data, width).replace("│", " ").split())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_everything_is_reported_at_any_usual_width(width):
    data = report(space(), fresh_space())
    text = flowing(data, width)

    for expected in (
        "13,442 chunks of 412 documents in knowledge_base embedded PostgreSQL",
        "local-all-mpnet-base-v2-768-1a2b3c4d (answers searches)",
        "model sentence-transformers/all-mpnet-base-v2, 768 dimensions, on this machine column embedding",
        "model text-embedding-3-small, 768 dimensions, by the API at api.openai.com column embedding",
        "95.5% of 13,442 chunks",
        "pending 600, 7 of them wait for a retry",
        "0123456789abcdef by prefix",
        "quarantined 2 (see embedding-assets failures)",
        "errors zero_vector 12, not_finite 1",
        "32.4 chunks/s on cpu, 1,000 chunks, 2026-11-21 12:00 UTC",
        "index valid, 104 MB, ef_search 40, measured 2026-11-21 12:00 UTC; a search without it takes 23.4 ms",
        "ef_search 10 20 40* 80 120 200 400",
        "✔ finite_dimensions ✔ throughput ✔ recall",
        "✘ index_valid index idx is invalid: a build of it failed. Materialize it ! coverage 12,840 of 13,442",
        "runs none has embedded a chunk yet index missing: embedding-assets health builds it",
        "$0.86 of $1.00 (86%) this month",
        "2026-11-02 to 2026-11-21",
        "Not at their defaults: EMBEDDING_INDEX_M=24",
    ):
        assert expected in text
    assert max(map(len, shown(data, width).splitlines())) <= width
    for point in CURVE:
        assert f"{point.recall:.3f}" in text


@pytest.mark.parametrize(("chunks", "command"), [(0, "load PATH"), (7, "embed")])
def test_without_a_space_it_says_what_is_next(chunks, command):
    assert f"Next: embedding-assets {command}" in flowing(report(chunks=chunks))


def test_what_is_in_order_takes_no_room():
    one = space(prefixes=(PrefixCounts("0", 9, 0),), failures={}, waiting=0, checks=PASSED)
    text = flowing(report(one, costs=CostOverview(), settings=()))
    assert "100% of 9 chunks" in text
    for word in ("pending", "quarantined", "errors", "costs", "defaults", "✘", "!"):
        assert word not in text


def test_a_check_that_was_not_made_is_not_passed_over():
    expected = "· vectors_match_model is not checked here: embedding-assets health"
    assert f"✔ recall {expected} ✘ index_valid" in flowing(report(space()))
    assert "vectors_match_model" not in flowing(report(fresh_space())), "there is no vector to look at"


def test_an_index_that_was_never_measured_has_no_curve():
    assert "median ms" not in flowing(report(fresh_space()))


def test_every_number_of_a_curve_with_a_configured_point_is_reported_whole():
    slow = replace(CURVE[-1], ef_search=1000, p50_ms=812.4, p95_ms=1234.5)
    data = report(space(curve=(*CURVE, slow)), ef_search=1000)

    lines = [line.strip("│ ") for line in shown(data, 80).splitlines()]

    expected = {line.split("  ")[0]: line.split()[-8:] for line in lines}
    assert expected["ef_search"] == ["10", "20", "40", "80", "120", "200", "400", "1000*"]
    assert expected["recall@10"] == [f"{point.recall:.3f}" for point in (*CURVE, slow)]
    assert list("▂▅▇▇████") in [line.split() for line in lines], "the bars below the numbers"
    assert expected["median ms"][-2:] == ["3.02", "812"]
    assert expected["p95 ms"][-2:] == ["5.7", "1,234"]


def test_a_space_without_chunks_is_not_full():
    text = flowing(report(space(prefixes=())))
    assert "embedded no chunks yet" in text
    assert "0 chunks" not in text.partition("runs")[0].partition("answers")[2]


def test_an_index_without_measurements_says_how_to_get_them():
    index = IndexState("idx", True, True, 2_500_000, "vector_cosine_ops", 16, 64)
    assert "index valid, 2.5 MB, ef_search 40, not measured yet: embedding-assets health" in flowing(
        report(space(index=index, curve=()))
    )


def test_one_of_something_is_no_plural():
    one = space(prefixes=(PrefixCounts("0", 1, 0),), runs=runs(1, embedded=1, device="api"))
    text = flowing(report(one, documents=1))
    assert "1 chunk of 1 document in" in text
    assert "chunks/s by the API, 1 chunk, 2026" in text
    assert "1 chunk in knowledge_base" in flowing(report(one, documents=0)), "rows that something else wrote"


def test_costs_without_limits_and_limits_without_costs():
    assert "today $0.50, no limit" in flowing(report(space(), costs=CostOverview(0.5, 0.5, days=costs(1, "a"))))
    assert "today ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ $0.00 of $2.00" in flowing(report(space(), costs=CostOverview(0, 0, 2.0)))


def test_costs_near_a_limit_stand_out_from_the_configured_share_on():
    page = Console(width=80, color_system="standard", force_terminal=True, legacy_windows=False)

    def warns(alert_share):
        with page.capture() as capture:
            page.print(status_page(report(fresh_space(), costs=CostOverview(0.5, 0, 1.0, alert_share=alert_share))))
        return "\x1b[33m━" in capture.get()

    assert warns(0.5)
    assert not warns(0.6)


@pytest.mark.parametrize(("floor", "slow"), [(10, False), (30, True)])
def test_speed_is_reported_and_judged_by_a_run_of_some_size(floor, slow):
    one = space(runs=(*runs(1), *runs(1, embedded=1)))
    expected = "25.0 chunks/s on cpu, 1,000 chunks, 2026-11-21 12:00 UTC; the latest: 1 chunk, 2026-11-21 12:00 UTC"
    data = report(one, throughput_floor=floor)
    assert expected in flowing(data)
    assert data.is_slow(one) is slow


def test_names_are_not_read_as_markup():
    one = space(name="a[red]b", model="m[/]n", failures={"[bold]": 1}, runs=runs(1, device="[x]"))
    text = flowing(report(one))
    for expected in ("a[red]b", "m[/]n", "[bold] 1", "on [x]"):
        assert expected in text


def test_sparkline():
    assert sparkline([0, 1, 4, 8]) == "▁▂▅█"
    assert sparkline([0.9, 0.96, 1.0], lowest=0.9) == "▁▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([0.1, 2.0], lowest=1.0) == "▁█"
