"""Word documents as people have them: with tracked changes, controls, notes, text boxes and tables in tables."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml.parser import parse_xml

from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import chunks_of, read_as

DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
NAMES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)


def text_of(folder: Path, body: str, **notes: str) -> str:
    """The text of a document with that body, and with such footnotes and endnotes."""
    stream = io.BytesIO(office.saved(docx.Document().save))
    with zipfile.ZipFile(stream) as package:
        files: dict[str, str | bytes] = {one: package.read(one) for one in package.namelist()}
    files["word/document.xml"] = f"<w:document {NAMES}><w:body>{body}<w:sectPr/></w:body></w:document>"
    rels = bytes(files["word/_rels/document.xml.rels"]).decode()  # type: ignore[arg-type]
    types = bytes(files["[Content_Types].xml"]).decode()  # type: ignore[arg-type]
    for kind, content in notes.items():
        files[f"word/{kind}.xml"] = f"<w:{kind} {NAMES}>{content}</w:{kind}>"
        kind_of = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
        added = f'<Relationship Id="{kind}" Type="{kind_of}{kind}" Target="{kind}.xml"/></Relationships>'
        rels = rels.replace("</Relationships>", added)
        made = f"application/vnd.openxmlformats-officedocument.wordprocessingml.{kind}+xml"
        types = types.replace("</Types>", f'<Override PartName="/word/{kind}.xml" ContentType="{made}"/></Types>')
    files |= {"word/_rels/document.xml.rels": rels, "[Content_Types].xml": types}
    (document,), rejections = read_as(folder, "a.docx", office.packed(files))
    assert not rejections
    return document.text


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*inside: str, style: str = "") -> str:
    look = f'<w:pPr><w:pStyle w:val="{style}"/><w:tabs><w:tab w:pos="720"/></w:tabs></w:pPr>' if style else ""
    return f"<w:p>{look}{''.join(inside)}</w:p>"


def cell(*blocks: str, look: str = "") -> str:
    return f"<w:tc><w:tcPr>{look}</w:tcPr>{''.join(blocks)}</w:tc>"


def words(text: str) -> str:
    return cell(paragraph(run(text)))


def table(*rows: str) -> str:
    return f"<w:tbl><w:tblPr/>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"


@pytest.mark.parametrize(
    "wrapped",
    [
        '<w:ins w:id="1" w:author="x">{}</w:ins>',
        '<w:moveTo w:id="1" w:author="x">{}</w:moveTo>',
        "<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>",
        '<w:hyperlink w:anchor="x">{}</w:hyperlink>',
        '<w:smartTag w:element="date">{}</w:smartTag>',
        '<w:fldSimple w:instr="REF term">{}</w:fldSimple>',
        '<w:ins w:id="1"><w:sdt><w:sdtContent><w:hyperlink>{}</w:hyperlink></w:sdtContent></w:sdt></w:ins>',
    ],
)
def test_what_is_wrapped_is_text(tmp_path: Path, wrapped: str) -> None:
    body = paragraph(run("Payment is due "), wrapped.format(run("within 30 days")), run(" of delivery."))
    assert text_of(tmp_path, body) == "Payment is due within 30 days of delivery.\n"


@pytest.mark.parametrize(
    "wrapped",
    [
        '<w:del w:id="1"><w:r><w:delText>never</w:delText></w:r></w:del>',
        f'<w:moveFrom w:id="1">{run("never")}</w:moveFrom>',
        "<w:r><w:instrText>PAGE</w:instrText></w:r>",
    ],
)
def test_what_was_struck_out_or_is_code_is_no_text(tmp_path: Path, wrapped: str) -> None:
    assert text_of(tmp_path, paragraph(run("It is"), wrapped, run(" due."))) == "It is due.\n"


def test_marks_between_words(tmp_path: Path) -> None:
    marks = "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t>"
    body = paragraph(marks + '<w:br w:type="page"/><w:t>e</w:t></w:r>', "<m:oMath><m:r><m:t> x=2</m:t></m:r></m:oMath>")
    assert text_of(tmp_path, body) == "a\tb\nc-de x=2\n"


def look(text: str, *marks: str) -> str:
    """A run with that look."""
    return f"<w:r><w:rPr>{''.join(marks)}</w:rPr><w:t>{text}</w:t></w:r>"


def test_raised_numbers_and_hidden_words(tmp_path: Path) -> None:
    raised, lowered = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'
    body = paragraph(
        run("10"), look("6", "<w:b/>", raised), run(" m"), look("2", raised), run(" H"), look("2", lowered)
    )
    body += paragraph(look("3", raised), run("He, the 1"), look("st", raised))
    body += paragraph(run("a"), look("hidden", "<w:vanish/>"), look("b", '<w:vanish w:val="0"/>'))
    assert text_of(tmp_path, body) == "10^6 m^2 H2\n\n3He, the 1st\n\nab\n"


@pytest.mark.parametrize(
    ("before", "raised", "text"),
    [
        (["10"], "6", "10^6"),
        (["10"], "-9", "10^-9"),
        (["3 \u00d7 10"], "12", "3 \u00d7 10^12"),
        (["10"], "99", "1099"),
        (["19"], "99", "1999"),
        (["1", "9"], "99", "1999"),
        (["$10"], "5", "$105"),
        (["1,", "10"], "5", "1,105"),
        (["20", "10"], "6", "20106"),
        (["25 cm"], "3", "25 cm^3"),
        (["9.8 m/s"], "2", "9.8 m/s^2"),
        (["5", "m"], "2", "5m^2"),
        (["5 m"], "17", "5 m17"),
        (["I'm"], "2", "I'm2"),
        (["the team"], "2", "the team2"),
        (["word"], "1,2", "word1,2"),
    ],
)
def test_only_powers_are_marked(tmp_path: Path, before: list[str], raised: str, text: str) -> None:
    body = paragraph("".join(map(run, before)) + look(raised, '<w:vertAlign w:val="superscript"/>'))
    assert text_of(tmp_path, body) == f"{text}\n"


def test_what_stands_before_a_power_may_be_elsewhere(tmp_path: Path) -> None:
    mark = '<w:vertAlign w:val="superscript"/>'
    link = f"<w:hyperlink>{run('20')}</w:hyperlink>"
    assert text_of(tmp_path, paragraph(link, run("10"), look("6", mark))) == "20106\n"
    bookmark = '<w:bookmarkEnd w:id="0"/>'
    assert text_of(tmp_path, paragraph(run("10"), bookmark, look("6", mark), run(" x"))) == "10^6 x\n"


def test_a_run_may_be_hidden_twice(tmp_path: Path) -> None:
    assert text_of(tmp_path, paragraph(run("a"), look("hidden", "<w:vanish/><w:vanish/>"))) == "a\n"


def test_a_table_of_contents_is_left_out(tmp_path: Path) -> None:
    document = docx.Document()
    style = document.styles.add_style("toc 1", WD_STYLE_TYPE.PARAGRAPH)
    for number in range(3):
        document.add_paragraph(f"Chapter {number}\t7", style=style)
    document.add_paragraph("words")
    (found,), _ = read_as(tmp_path, "a.docx", office.saved(document.save))
    assert found.text == "words\n"


def test_controls_around_blocks(tmp_path: Path) -> None:
    control = "<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>"
    heading = paragraph(run("Terms"), style="Heading1")
    body = control.format(heading + control.format(paragraph(run("alpha"))) + table(words("a") + words("b")))
    assert text_of(tmp_path, body) == "# Terms\n\nalpha\n\n| a | b |\n| --- | --- |\n"


def test_notes_stand_behind_what_refers_to_them(tmp_path: Path) -> None:
    def note(kind: str, number: int) -> str:
        return f'<w:r><w:{kind}Reference w:id="{number}"/></w:r>'

    def notes(kind: str, texts: dict[int, str]) -> str:
        separator = f'<w:{kind} w:type="separator" w:id="-1"><w:p>{run("no text")}</w:p></w:{kind}>'
        return separator + "".join(
            f'<w:{kind} w:id="{number}">{paragraph(run(text))}</w:{kind}>' for number, text in texts.items()
        )

    body = (
        paragraph(run("Rates"), note("footnote", 1), run(" vary."))
        + paragraph(run("one"), note("endnote", 1), style="ListBullet")
        + paragraph(run("two"), style="ListBullet")
        + table(words("name") + words("price"), words("tea") + cell(paragraph(run("7"), note("footnote", 2))))
        + paragraph(note("footnote", 9), run("end"), note("footnote", 1))
    )
    footnotes = notes("footnote", {1: "As of 2024.", 2: "net"})
    assert text_of(tmp_path, body, footnotes=footnotes, endnotes=notes("endnote", {1: "See below."})) == (
        "Rates vary.\n\nAs of 2024.\n\n- one\n  See below.\n- two\n\n"
        "| name | price |\n| --- | --- |\n| tea | 7 net |\n\nend\n"
    )


def test_notes_that_refer_to_notes_do_not_multiply(tmp_path: Path) -> None:
    notes = "".join(
        f'<w:footnote w:id="{number}"><w:p>{run("x")}'
        + f'<w:r><w:footnoteReference w:id="{number + 1}"/></w:r>' * 2
        + "</w:p></w:footnote>"
        for number in range(40)
    )
    body = paragraph(run("a"), '<w:r><w:footnoteReference w:id="0"/></w:r>')
    assert text_of(tmp_path, body, footnotes=notes).count("x") == 40


def test_text_boxes_are_read_once(tmp_path: Path) -> None:
    box = f"<w:txbxContent>{paragraph(run('boxed'))}{paragraph(run('words'))}</w:txbxContent>"
    drawn = f"<w:drawing><wps:txbx>{box}</wps:txbx></w:drawing>"
    old = f"<w:pict><v:textbox>{box}</v:textbox></w:pict>"
    both = f"<mc:AlternateContent><mc:Choice Requires='wps'>{drawn}</mc:Choice><mc:Fallback>{old}</mc:Fallback>"
    body = paragraph(run("before "), f"<w:r>{both}</mc:AlternateContent></w:r>", run("after"))
    assert text_of(tmp_path, body) == "before after\n\nboxed\n\nwords\n"
    assert text_of(tmp_path, paragraph(f"<w:r>{old}</w:r>")) == "boxed\n\nwords\n"


def test_the_words_of_a_diagram_are_read(tmp_path: Path) -> None:
    document = docx.Document()
    for number, words in enumerate((("plan", "build"), ("ship",), ())):
        texts = "".join(f"<d:pt><d:t><a:p><a:r><a:t>{word}</a:t></a:r></a:p></d:t></d:pt>" for word in words)
        data = f'<d:dataModel xmlns:d="{DIAGRAM}" xmlns:a="{DRAWING}"><d:ptLst>{texts}</d:ptLst></d:dataModel>'
        name = PackURI(f"/word/diagrams/data{number}.xml")
        kind = "application/vnd.openxmlformats-officedocument.drawingml.diagramData+xml"
        related = document.part.relate_to(Part(name, kind, data.encode()), f"{RELATED}/diagramData")
        ids = f'<d:relIds xmlns:d="{DIAGRAM}" xmlns:r="{RELATED}" r:dm="{related}"/>'
        drawing = f'<w:drawing {NAMES}><a:graphic xmlns:a="{DRAWING}">{ids}</a:graphic></w:drawing>'
        at = document.add_table(1, 2).cell(0, 1).paragraphs[0] if number == 1 else document.add_paragraph("How we work")
        at.add_run()._r.append(parse_xml(drawing))
    missing = drawing.replace(related, "none")
    document.add_paragraph()._p.append(parse_xml(f"<w:r {NAMES}>{missing}</w:r>"))
    (found,), _ = read_as(tmp_path, "a.docx", office.saved(document.save))
    assert found.text == "How we work\n\n- plan\n- build\n\n|  | - ship |\n| --- | --- |\n\nHow we work\n"


def test_the_numbers_of_a_chart_are_read(tmp_path: Path) -> None:
    points = '<c:pt idx="{}"><c:v>{}</c:v></c:pt>'
    series = (
        f"<c:tx><c:strRef>{points.format(0, 'Sales')}</c:strRef></c:tx>"
        f"<c:cat>{points.format(0, 'East')}</c:cat><c:val>{points.format(0, 7)}</c:val>"
    )
    title = "<c:title><a:p><a:r><a:t>Regions</a:t></a:r></a:p></c:title>"
    kinds = f"<c:plotArea><c:barChart><c:ser>{series}</c:ser></c:barChart></c:plotArea>"
    data = f'<c:chartSpace xmlns:c="{CHART}" xmlns:a="{DRAWING}"><c:chart>{title}{kinds}</c:chart></c:chartSpace>'
    document = docx.Document()
    kind = "application/vnd.openxmlformats-officedocument.drawingml.chart+xml"
    part = Part(PackURI("/word/charts/chart1.xml"), kind, data.encode())
    related = document.part.relate_to(part, f"{RELATED}/chart")
    drawing = f'<w:drawing {NAMES}><c:chart xmlns:c="{CHART}" xmlns:r="{RELATED}" r:id="{related}"/></w:drawing>'
    document.add_paragraph("As shown").add_run()._r.append(parse_xml(drawing))
    (found,), _ = read_as(tmp_path, "a.docx", office.saved(document.save))
    assert found.text == "As shown\n\nRegions\n\n|  | Sales |\n| --- | --- |\n| East | 7 |\n"


def test_a_table_of_tables_is_layout(tmp_path: Path) -> None:
    inner = table(words("name") + words("price"), words("tea") + words("7"))
    body = table(cell(paragraph(run("Left"), style="Heading1"), paragraph(run("column"))) + cell(inner, paragraph()))
    assert text_of(tmp_path, body) == "# Left\n\ncolumn\n\n| name | price |\n| --- | --- |\n| tea | 7 |\n"


def test_cells_over_several_rows_and_columns(tmp_path: Path) -> None:
    begins, goes_on = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    wide = cell(paragraph(run("wide")), look='<w:gridSpan w:val="2"/>')
    body = table(
        words("kind") + words("name") + words("price"),
        cell(paragraph(run("tea")), look=begins) + words("green") + words("7"),
        cell(paragraph(), look=goes_on) + words("black") + words("8"),
        words("all") + wide,
    )
    deleted = f"<w:tr><w:trPr><w:del w:id='1'/></w:trPr>{words('old') * 3}</w:tr></w:tbl>"
    assert text_of(tmp_path, body.replace("</w:tbl>", deleted)) == (
        "| kind | name | price |\n| --- | --- | --- |\n| tea | green | 7 |\n| tea | black | 8 |\n"
        "| all | wide | wide |\n"
    )


def test_a_cell_over_all_of_a_row_is_there_once(tmp_path: Path) -> None:
    wide = cell(paragraph(run("Teas")), look='<w:gridSpan w:val="2"/>')
    two = cell(paragraph(run("both")), look='<w:gridSpan w:val="2"/>')
    body = table(words("name") + words("price") + words("n"), wide.replace('"2"', '"3"'), two + words("7"))
    assert text_of(tmp_path, body) == (
        "| name | price | n |\n| --- | --- | --- |\n| Teas |  |  |\n| both | both | 7 |\n"
    )


def test_the_title_heads_all_of_its_chapters(tmp_path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = ""
    document.add_paragraph("Handbook", style="Title")
    for chapter in ("One", "Two"):
        document.add_heading(chapter, 1)
        document.add_paragraph("words")
    (found,), _ = read_as(tmp_path, "a.docx", office.saved(document.save))
    assert chunks_of(found) == [("Handbook > One", "words"), ("Handbook > Two", "words")]


def test_lines_that_begin_like_headings_are_none(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("# of users: 5")
    document.add_paragraph("first\n# of them", style="List Bullet")
    document.add_paragraph("A paragraph that looks like a heading. " * 10, style="Heading 1")
    (found,), _ = read_as(tmp_path, "a.docx", office.saved(document.save))
    ((header, text),) = chunks_of(found)
    assert header == "a"
    assert text.startswith("#\u00a0of users: 5\n\n- first\n  #\u00a0of them\n\nA paragraph that")


def test_a_document_without_properties_has_no_title_of_the_library(tmp_path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = "Word Document"
    document.add_paragraph("words")
    (found,), _ = read_as(tmp_path, "plan.docx", office.saved(document.save))
    assert found.metadata.title == "plan"


def styled(name: str, inside: str) -> Any:
    return parse_xml(
        f'<w:style {NAMES} w:type="paragraph" w:styleId="{name}"><w:name w:val="{name}"/>{inside}</w:style>'
    )


def test_styles_of_a_template_are_what_they_are_made_from(tmp_path: Path) -> None:
    document = docx.Document()
    styles = document.styles.element
    styles.append(styled("AcmeChapter", '<w:basedOn w:val="Heading1"/>'))
    styles.append(styled("AcmePart", '<w:basedOn w:val="AcmeChapter"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr>'))
    styles.append(styled("AcmeTop", '<w:basedOn w:val="Heading1"/><w:pPr><w:outlineLvl w:val="9"/></w:pPr>'))
    styles.append(styled("AcmeItem", '<w:basedOn w:val="ListBullet"/>'))
    styles.append(styled("AcmeStep", '<w:pPr><w:numPr><w:numId w:val="3"/></w:numPr></w:pPr>'))
    styles.append(styled("AcmeLoop", '<w:basedOn w:val="AcmeLoop"/>'))
    for style in ("Chapter", "Top", "Item", "Step", "Loop", "Part"):
        document.add_paragraph(f"a {style}", style=f"Acme{style}")
    item = document.add_paragraph("a numbered one")
    item._p.get_or_add_pPr()._add_numPr()._add_numId().val = 1
    (found,), _ = read_as(tmp_path, "a.docx", office.saved(document.save))
    assert found.text == "# a Chapter\n\na Top\n\n- a Item\n- a Step\n\na Loop\n\n## a Part\n\n- a numbered one\n"
