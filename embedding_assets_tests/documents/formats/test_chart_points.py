"""Charts, whose numbers are read only where it is certain what they are."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pptx
import pytest
from lxml import etree
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE

from embedding_assets.documents.formats.diagrams import diagram_words
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import read_as

CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"


def read_chart(folder: Path, data: Any, kind: XL_CHART_TYPE = XL_CHART_TYPE.COLUMN_CLUSTERED) -> list[str]:
    """The lines of a slide with a chart."""
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    slide.shapes.add_chart(kind, 0, 0, 9, 9, data)
    (document,), _ = read_as(folder, "a.pptx", office.saved(presentation.save))
    return document.text.strip().split("\n")


def words_of(series: str, around: str = "") -> list[str]:
    """The lines of a chart in XML."""
    return diagram_words(etree.fromstring(f'<chartSpace xmlns="{CHART}">{around}{series}</chartSpace>')).split("\n")


def points(*texts: str) -> str:
    return "".join(f'<pt idx="{place}"><v>{text}</v></pt>' for place, text in enumerate(texts) if text)


def series_of(values: str, categories: str = "") -> str:
    return f"<ser><tx><v>total</v></tx><cat>{categories}</cat><val><numLit>{values}</numLit></val></ser>"


@pytest.mark.parametrize("count", [2, 500])
def test_a_chart_of_places_is_its_names(tmp_path: Path, count: int) -> None:
    data = XyChartData()
    for name, shift in (("noise", 0), ("signal", 7)):
        series = data.add_series(name)
        for at in range(count):
            series.add_data_point(at + shift, at)
    found = read_chart(tmp_path, data, XL_CHART_TYPE.XY_SCATTER_LINES)
    assert found == ["|  | noise | signal |", "| --- | --- | --- |"]


def test_the_days_of_a_chart_are_read(tmp_path: Path) -> None:
    data = CategoryChartData()
    data.categories = [date(2024, 5, 1), date(2024, 6, 1)]
    data.add_series("visits", (1, 2))
    found = read_chart(tmp_path, data, XL_CHART_TYPE.LINE)
    assert found[2:] == ["| 2024-05-01 | 1 |", "| 2024-06-01 | 2 |"]


def test_categories_in_levels_are_joined(tmp_path: Path) -> None:
    data = CategoryChartData()
    for year in ("2023", "2024"):
        above = data.add_category(year)
        for quarter in ("Q1", "Q2"):
            above.add_sub_category(quarter)
    data.add_series("visits", (1, 2, 3, 4))
    rows = ["| 2023, Q1 | 1 |", "| 2023, Q2 | 2 |", "| 2024, Q1 | 3 |", "| 2024, Q2 | 4 |"]
    assert read_chart(tmp_path, data)[2:] == rows


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("12345678901", "12345678901"),
        ("1.2345678901E10", "12345678901"),
        ("12345678901234567", "12345678901234567"),
        ("0.30000000000000004", "0.3"),
        ("1E-7", "0.0000001"),
        ("-2.50", "-2.5"),
        ("100", "100"),
        ("1E300", "1E300"),
        ("#N/A", "#N/A"),
        ("1" * 50, "1" * 50),
    ],
)
def test_numbers_are_exact(written: str, shown: str) -> None:
    assert words_of(series_of(points(written)))[2:] == [f"|  | {shown} |"]


@pytest.mark.parametrize("is_1904", [False, True])
def test_a_time_of_a_day_is_read_by_its_format(is_1904: bool) -> None:
    code = "<formatCode>yyyy-mm-dd hh:mm</formatCode>"
    serial = 45413.5 - 1462 * is_1904
    chart = series_of(points("7"), f"<numLit>{code}{points(str(serial))}</numLit>")
    assert words_of(chart, f'<date1904 val="{int(is_1904)}"/>')[2:] == ["| 2024-05-01 12:00:00 | 7 |"]


@pytest.mark.parametrize(
    "series",
    [
        series_of("<formatCode>[h]:mm</formatCode>" + points("1.5")),
        series_of("<formatCode>d.m.yyyy</formatCode>" + points("soon")),
        series_of(points(*"1" * 101)),
        series_of('<pt idx="x"><v>1</v></pt>'),
        series_of(points("1"), f"<strLit>{points('a')}</strLit>")
        + series_of(points("1"), f"<strLit>{points('b')}</strLit>"),
        series_of(points("1")) * 101,
        series_of(points("1"), "<multiLvlStrCache>" + "<lvl/>" * 6 + "</multiLvlStrCache>"),
    ],
)
def test_what_is_not_certain_is_left_out(series: str) -> None:
    first, *rest = words_of(series)
    assert first.startswith("|  | total |")
    assert len(rest) == 1


def test_points_are_in_the_order_of_their_categories() -> None:
    categories = f"<strLit>{points('a', 'b', 'c')}</strLit>"
    chart = series_of(points("1", "", "3"), categories) + series_of(points("", "2"), categories)
    assert words_of(chart)[2:] == ["| a | 1 |  |", "| b |  | 2 |", "| c | 3 |  |"]


def test_a_title_may_be_that_of_a_cell() -> None:
    title = f"<chart><title><tx><strRef><strCache>{points('Sales')}</strCache></strRef></tx></title></chart>"
    assert words_of(series_of(points("1")), title)[0] == "Sales"
