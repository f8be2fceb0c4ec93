"""What stands on slides beside paragraphs: diagrams, and names without anything below."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.opc.package import Part
from pptx.opc.packuri import PackURI
from pptx.oxml import parse_xml

from embedding_assets.documents.formats import slides
from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import chunks_of, read_as

DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
COMPATIBILITY = "http://schemas.openxmlformats.org/markup-compatibility/2006"
DRAWING_2010 = "http://schemas.microsoft.com/office/drawing/2010/main"
MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
SLIDES = "http://schemas.openxmlformats.org/presentationml/2006/main"


def test_the_words_of_a_diagram_are_read(tmp_path: Path) -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "How we work"
    points = "".join(
        f"<d:pt><d:t><a:p><a:r><a:t>{word}</a:t></a:r><a:r><a:t> it</a:t></a:r></a:p></d:t></d:pt>"
        for word in ("plan", "build")
    )
    points += "<d:pt><d:t/></d:pt>"
    data = f'<d:dataModel xmlns:d="{DIAGRAM}" xmlns:a="{DRAWING}"><d:ptLst>{points}</d:ptLst></d:dataModel>'
    name = PackURI("/ppt/diagrams/data1.xml")
    part = Part(name, "application/vnd.openxmlformats-officedocument.drawingml.diagramData+xml", slide.part.package)
    part.blob = data.encode()
    related = slide.part.relate_to(part, f"{RELATED}/diagramData")
    frame = (
        f'<p:graphicFrame xmlns:p="{SLIDES}" xmlns:a="{DRAWING}" xmlns:r="{RELATED}"><p:nvGraphicFramePr>'
        '<p:cNvPr id="9" name="Diagram"/><p:cNvGraphicFramePr/><p:nvPr/></p:nvGraphicFramePr>'
        '<p:xfrm><a:off x="0" y="0"/><a:ext cx="9" cy="9"/></p:xfrm>'
        f'<a:graphic><a:graphicData uri="{DIAGRAM}"><d:relIds xmlns:d="{DIAGRAM}" r:dm="{related}"/></a:graphicData>'
        "</a:graphic></p:graphicFrame>"
    )
    slide.shapes._spTree.append(parse_xml(frame))
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    assert chunks_of(document) == [("a > How we work", "- plan it\n- build it")]


@pytest.mark.parametrize(
    ("merges", "rows"),
    [
        ([(1, 0, 2, 0)], ["| 10 | 11 | 12 |", "| 10 | 21 | 22 |"]),
        ([(1, 1, 1, 2)], ["| 10 | 11 | 11 |", "| 20 | 21 | 22 |"]),
        ([(1, 1, 2, 2)], ["| 10 | 11 | 11 |", "| 20 | 11 | 11 |"]),
        ([(1, 0, 1, 2)], ["| 10 |  |  |", "| 20 | 21 | 22 |"]),
        ([(1, 0, 2, 2)], ["| 10 |  |  |"]),
        ([(0, 1, 0, 2), (1, 0, 2, 0)], ["| 10 | 11 | 12 |", "| 10 | 21 | 22 |"]),
    ],
)
def test_a_cell_over_several_rows_and_columns_is_in_each(
    tmp_path: Path, merges: list[tuple[int, int, int, int]], rows: list[str]
) -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    table = slide.shapes.add_table(3, 3, 0, 0, 9, 9).table
    merged = {
        (row, column)
        for top, left, bottom, right in merges
        for row in range(top, bottom + 1)
        for column in range(left, right + 1)
        if (row, column) != (top, left)
    }
    for row in range(3):
        for column in range(3):
            table.cell(row, column).text = "" if (row, column) in merged else f"{row}{column}"
    for top, left, bottom, right in merges:
        table.cell(top, left).merge(table.cell(bottom, right))
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    head = "| 00 | 01 | 01 |" if (0, 2) in merged else "| 00 | 01 | 02 |"
    assert document.text.split("\n") == [head, "| --- | --- | --- |", *rows, "", ""]


def test_merged_cells_do_not_multiply_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides, "_MOST_REPEATED", 10)
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    table = slide.shapes.add_table(1, 5, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(0, 4).text = "word", "end"
    table.cell(0, 0).merge(table.cell(0, 3))
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    assert document.text.strip().split("\n")[0] == "| word | word | word |  | end |"


def test_a_slide_with_a_title_alone_is_found(tmp_path: Path) -> None:
    presentation = pptx.Presentation()
    for title, text in (("Plan", "words"), ("Revenue grew by a third", ""), ("Thanks", "")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    assert chunks_of(document) == [("a > Plan", "words"), ("a", "## Revenue grew by a third\n\n## Thanks")]


def test_a_slide_without_a_title_is_not_of_the_one_before(tmp_path: Path) -> None:
    presentation = pptx.Presentation()
    for title, text in (("", "first"), ("Plan", "words"), ("", "# of one"), ("", "and two"), ("Costs", "seven")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1 if title else 6])
        if title:
            slide.shapes.title.text = title
            slide.placeholders[1].text = text
        else:
            slide.shapes.add_textbox(0, 0, 9, 9).text_frame.text = text
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    assert chunks_of(document) == [
        ("a", "first"),
        ("a > Plan", "words"),
        ("a", "#\u00a0of one\n\nand two"),
        ("a > Costs", "seven"),
    ]


@pytest.mark.parametrize("kind", [XL_CHART_TYPE.COLUMN_CLUSTERED, XL_CHART_TYPE.PIE])
@pytest.mark.parametrize("title", ["Sales in regions", ""])
def test_the_numbers_of_a_chart_are_read(tmp_path: Path, kind: XL_CHART_TYPE, title: str) -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["East|West", "South"]
    data.add_series("2023", (0.1 + 0.2, None))
    if kind != XL_CHART_TYPE.PIE:
        data.add_series("2024", (1_250_000, 7))
    chart = slide.shapes.add_chart(kind, 0, 0, 9, 9, data).chart
    chart.has_title = bool(title)
    if title:
        chart.chart_title.text_frame.text = title
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    rows = (
        ["|  | 2023 |", "| --- | --- |", "| East\\|West | 0.3 |"]
        if kind == XL_CHART_TYPE.PIE
        else ["|  | 2023 | 2024 |", "| --- | --- | --- |", "| East\\|West | 0.3 | 1250000 |", "| South |  | 7 |"]
    )
    assert document.text.strip().split("\n") == [*([title, ""] if title else []), *rows]


def test_formulas_and_raised_numbers_are_read_with_the_words_beside_them(tmp_path: Path) -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "Growth\vin 2024"
    frame = slide.shapes.add_textbox(0, 0, 9, 9).text_frame
    frame.text = "It is 10"
    for text, baseline in (("6", "30000"), (" H", "0"), ("2", "-25000")):
        run = frame.paragraphs[0].add_run()
        run.text = text
        run._r.get_or_add_rPr().set("baseline", baseline)
    box = slide.shapes._spTree[-1]
    fraction = "<m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f>"
    formula = f'<a14:m xmlns:a14="{DRAWING_2010}" xmlns:m="{MATH}"><m:oMath>{fraction}</m:oMath></a14:m>'
    words = f'<a:p xmlns:a="{DRAWING}"><a:r><a:t>so </a:t></a:r>{formula}<a:r><a:t> is</a:t></a:r></a:p>'
    ways = '<mc:Choice Requires="a14"/><mc:Fallback/>'
    both = parse_xml(f'<mc:AlternateContent xmlns:mc="{COMPATIBILITY}">{ways}</mc:AlternateContent>')
    box.addprevious(both)
    both[1].append(deepcopy(box))
    both[0].append(box)
    box.txBody.append(parse_xml(words))
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    assert document.text.strip() == "## Growth in 2024\n\nIt is 10^6 H2\n\nso a/b is"
