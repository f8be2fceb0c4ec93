"""What stands on slides beside paragraphs: diagrams, and names without anything below."""

from __future__ import annotations

from pathlib import Path

import pptx
from pptx.opc.package import Part
from pptx.opc.packuri import PackURI
from pptx.oxml import parse_xml

from embedding_assets_tests.support import office
from embedding_assets_tests.support.formats import chunks_of, read_as

DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
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


def test_a_slide_with_a_title_alone_is_found(tmp_path: Path) -> None:
    presentation = pptx.Presentation()
    for title, text in (("Plan", "words"), ("Revenue grew by a third", ""), ("Thanks", "")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    (document,), _ = read_as(tmp_path, "a.pptx", office.saved(presentation.save))
    assert chunks_of(document) == [("a > Plan", "words"), ("a", "## Revenue grew by a third\n\n## Thanks")]
