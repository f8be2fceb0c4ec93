"""Numbers as readers see them."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from embedding_assets.formatting import (
    by_device,
    compact,
    counted,
    dollar_column,
    dollars,
    duration,
    megabytes,
    meter,
    milliseconds,
    moment,
    printable,
    rate,
    share,
    shortened,
    visible,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (share(0, 0), "0%"),
        (share(0, 9), "0%"),
        (share(1, 99_999), "0.1%"),
        (share(99_999, 100_000), "99.9%"),
        (share(9, 9), "100%"),
        (share(1, 4), "25%"),
        (share(0.9999), "99.9%"),
        (share(1.25), "125%"),
        (dollars(0), "$0.00"),
        (dollars(Decimal("0.3")), "$0.30"),
        (dollars(1234.5), "$1,234.50"),
        (dollars(0.1), "$0.10"),
        (dollars(0.05), "$0.05"),
        (dollars(0.0512), "$0.051"),
        (dollars(Decimal("0.050")), "$0.05"),
        (dollars(0.00123456), "$0.0012"),
        (dollars(4.9e-07), "$0.00000049"),
        (dollars(2e-08), "$0.00000002"),
        (duration(0), "0 s"),
        (duration(9.94), "9.9 s"),
        (duration(45.3), "45 s"),
        (duration(111), "1.9 min"),
        (duration(4000), "67 min"),
        (duration(7200), "2.0 h"),
        (duration(360_000), "100 h"),
        (milliseconds(0.1234), "0.123 ms"),
        (milliseconds(1234.5), "1,234 ms"),
        (milliseconds(12.34, unit=""), "12.3"),
        (moment(datetime(2026, 11, 21, 13, 5, 59, tzinfo=timezone(timedelta(hours=2)))), "2026-11-21 11:05 UTC"),
        (moment(datetime(2026, 11, 21, tzinfo=UTC)), "2026-11-21 00:00 UTC"),
        (megabytes(104_300_000), "104 MB"),
        (megabytes(1_250_000), "1.2 MB"),
        (megabytes(40_960), "41 kB"),
        (megabytes(8), "1 kB"),
        (megabytes(0), "0.0 MB"),
        (megabytes(12_345_678_900), "12,346 MB"),
        (rate(3.14159), "3.1"),
        (rate(3141.59), "3,142"),
        (by_device("api"), "by the API"),
        (by_device("cuda:0"), "on cuda:0"),
        (by_device("cuda:0", 0), "on cuda:0"),
        (by_device("cpu", 2), "on cpu, 2 threads"),
        (counted(1, "chunk"), "1 chunk"),
        (counted(12_345, "chunk"), "12,345 chunks"),
        (compact(999_999), "999,999"),
        (compact(1_250_000), "1.2 M"),
        (printable(" a\x00b\u2067\u200b c\nd\u2028e "), "ab c d e"),
        (shortened("\x1b" * 9 + "short", 5), "short"),
        (shortened("short", 5), "short"),
        (shortened("a  name\nof two lines", 11), "a nam…lines"),
    ],
)
def test_numbers_and_words(words: str, expected: str):
    assert words == expected


def test_amounts_in_a_column_have_as_many_decimals_as_the_smallest_needs():
    assert dollar_column([1234, 0.0012, None, 0]) == ["$1,234.0000", "$0.0012", "", "$0.0000"]
    assert dollar_column([0.05, 1]) == ["$0.05", "$1.00"]
    assert dollar_column([]) == []


@pytest.mark.parametrize(("part", "filled"), [(0, 0), (0.001, 0), (0.5, 10), (0.9999, 19), (1, 20), (1.2, 20)])
def test_a_meter_is_full_only_when_nothing_is_missing(part: float, filled: int):
    assert meter(part, 20, "green") == f"[green]{'━' * filled}[/][dim]{'╌' * (20 - filled)}[/]"


def test_places_in_a_visible_text_stay_where_they_are():
    assert visible("a\x1bb\u202ec\x9bd\u200ee") == "a\u241bb\ufffdc\ufffdd\ufffde"
    assert visible("ä 日本 🔑 e\u0301") == "ä 日本 🔑 e\u0301"
    assert visible("a\tb\n", keep="\t") == "a\tb\u240a"
