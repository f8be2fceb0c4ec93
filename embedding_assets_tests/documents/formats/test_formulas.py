"""Formulas: of HTML once, in TeX where they say it, and of Word in a line."""

from __future__ import annotations

import pytest
from docx.oxml.parser import parse_xml

from embedding_assets.documents.formats.formulas import formula_in_word
from embedding_assets.documents.formats.html import page

MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SQUARE = "<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>"
SAID = f"<semantics><mrow>{SQUARE}</mrow><annotation encoding='application/x-tex'>E=mc^2</annotation></semantics>"
KATEX = (
    f'<span class="katex"><span class="katex-mathml"><math>{SAID}</math></span>'
    '<span class="katex-html" aria-hidden="true"><span>E</span>=mc2</span></span>'
)
DISPLAYED = "{\\displaystyle E=mc^2}"
WIKIPEDIA = (
    '<span class="mwe-math-element"><span class="mwe-math-mathml-inline" style="display: none;">'
    f'<math alttext="{DISPLAYED}">{SAID.replace("E=mc^2", DISPLAYED)}</math></span>'
    f'<img class="mwe-math-fallback-image-inline" alt="{DISPLAYED}"></span>'
)
MATHJAX_2 = (
    '<span class="MathJax_Preview">E</span><span class="MathJax"><nobr aria-hidden="true">Emc</nobr>'
    f'<span class="MJX_Assistive_MathML"><math>{SQUARE}</math></span></span><script type="math/tex">E=mc^2</script>'
)
MATHJAX_3 = (
    '<mjx-container><mjx-math aria-hidden="true"><mjx-mi>E</mjx-mi></mjx-math>'
    f'<mjx-assistive-mml><math alttext="E=mc^2">{SQUARE}</math></mjx-assistive-mml></mjx-container>'
)


def text_of(html: str) -> str:
    return page(html)[1].strip()


@pytest.mark.parametrize("html", [KATEX, WIKIPEDIA, MATHJAX_2, MATHJAX_3])
def test_a_formula_of_a_page_is_its_source_once(html: str) -> None:
    assert text_of(f"<p>Energy {html} is.") == "Energy $E=mc^2$ is."


@pytest.mark.parametrize(
    ("mathml", "text"),
    [
        (SQUARE, "E=mc^2"),
        (
            "<mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mrow><mn>2</mn><mo>&#x2062;</mo><mi>a</mi></mrow></mfrac>",
            "(a+1)/(2a)",
        ),
        ("<msqrt><mi>x</mi><mo>+</mo><mn>10</mn></msqrt><mroot><mi>x</mi><mn>3</mn></mroot>", "√(x+10)3√(x)"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>"
            "<msubsup><mi>x</mi><mi>i</mi><mn>10</mn></msubsup>",
            "∑_(i=1)^n x_i^10",
        ),
        ("<mtable><mtr><mtd>1</mtd><mtd>2</mtd></mtr><mtr><mtd>3</mtd><mtd>4</mtd></mtr></mtable>", "[1, 2; 3, 4]"),
        ("<mi>f</mi><mfenced><mi>x</mi><mi>y</mi></mfenced>", "f(x, y)"),
        ("<msubsup><mi>x</mi><mrow></mrow><mn>2</mn></msubsup>", "x^2"),
        ("<munderover> <mo>∑</mo> <mrow/></mrow> <mi>n</mi> </munderover><mi>i</mi>", "∑^n i"),
        ("<msup><mrow></mrow><mn>14</mn></msup><mi>C</mi>", "^14C"),
        ("<mmultiscripts><mi>C</mi><none/><mn>2</mn><mprescripts/><mn>6</mn><mn>14</mn></mmultiscripts>", "_6^14C^2"),
        ("<mmultiscripts><mi>C</mi><mprescripts/><none/><mn>14</mn></mmultiscripts>", "^14C"),
        ("<mrow><mi>C</mi><mprescripts/></mrow>", "C"),
        ("<mfrac linethickness='0'><mi>n</mi><mi>k</mi></mfrac>", "binom(n, k)"),
        ("<mfrac linethickness='0.0pt'><mi>n</mi><mi>k</mi></mfrac>", "binom(n, k)"),
        ("<mfrac linethickness='1'><mi>n</mi><mi>k</mi></mfrac>", "n/k"),
        ("<mrow>" * 200 + "<mi>x</mi>", "x"),
    ],
)
def test_a_formula_that_does_not_say_its_source_is_written_in_a_line(mathml: str, text: str) -> None:
    assert text_of(f"<p>so <math>{mathml}</math></p>") == f"so {text}"


def test_a_formula_apart_is_a_paragraph() -> None:
    assert text_of(f"<p>so <math display=block>{SQUARE}</math> is</p>") == "so \n\nE=mc^2\n\nis"
    assert text_of("<p>so <script type='math/tex; mode=display'>a < b</script>is</p>") == "so \n\n$a < b$\n\nis"


def test_a_formula_of_a_page_that_speaks_of_its_source_is_kept() -> None:
    formula = MATHJAX_3.replace("<mjx-container>", '<mjx-container class="MathJax">')
    assert text_of(f"<p>Write math/tex for {formula}.") == "Write math/tex for $E=mc^2$."
    assert text_of(f"<p>{formula} and {MATHJAX_2}") == "$E=mc^2$ and $E=mc^2$"
    assert text_of(f"<p><span class=MathJax>E</span> and {MATHJAX_2}") == "E and $E=mc^2$"


def test_many_pictures_of_formulas_are_read() -> None:
    assert text_of("<p><img class=mwe-math-fallback alt=x>" + "<img class=mwe-math-fallback>" * 20_000) == "x"


def test_a_picture_of_a_formula_without_another_is_read() -> None:
    image = '<img class="mwe-math-fallback-image-inline" alt="E=mc^2">'
    assert text_of(f"<p>Energy <span>{image}</span></p>") == "Energy E=mc^2"


def run(text: str) -> str:
    return f"<m:r><m:rPr/><m:t>{text}</m:t></m:r>"


def part(name: str, text: str) -> str:
    return f"<m:{name}>{run(text) if text else ''}</m:{name}>"


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        (f"<m:f>{part('num', 'a+b')}{part('den', 'c')}</m:f>", "(a+b)/c"),
        (f"<m:f><m:fPr><m:type m:val='noBar'/></m:fPr>{part('num', 'n')}{part('den', 'k')}</m:f>", "binom(n, k)"),
        (f"<m:f><m:fPr><m:type m:val='lin'/></m:fPr>{part('num', 'n')}{part('den', 'k')}</m:f>", "n/k"),
        (f"<m:sPre>{part('sub', '6')}{part('sup', '14')}{part('e', 'C')}</m:sPre>", "_6^14C"),
        (f"<m:sSup>{part('e', 'x')}{part('sup', '2')}</m:sSup>", "x^2"),
        (f"<m:sSub>{part('e', 'x')}{part('sub', 'max')}</m:sSub>", "x_max"),
        (f"<m:sSubSup>{part('e', 'x')}{part('sub', 'i')}{part('sup', '2')}</m:sSubSup>", "x_i^2"),
        (f"<m:rad><m:radPr/>{part('deg', '')}{part('e', 'x')}</m:rad>", "√(x)"),
        (f"<m:rad>{part('deg', '3')}{part('e', 'x')}</m:rad>", "3√(x)"),
        (f"{run('f')}<m:d>{part('e', 'x')}</m:d>", "f(x)"),
        (
            f"<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=''/></m:dPr>{part('e', 'x')}{part('e', 'y')}</m:d>",
            "[x|y",
        ),
        (
            "<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr>"
            f"{part('sub', 'i=1')}{part('sup', 'n')}{part('e', 'x')}</m:nary>",
            "∑_(i=1)^n x",
        ),
        (f"<m:func>{part('fName', 'sin')}{part('e', 'x')}</m:func>", "sin x"),
        (f"<m:m><m:mr>{part('e', '1')}{part('e', '2')}</m:mr><m:mr>{part('e', '3')}</m:mr></m:m>", "[1, 2; 3]"),
        (f"<m:eqArr>{part('e', 'a=1')}{part('e', 'b=2')}</m:eqArr>", "a=1; b=2"),
        (f"{run('a')}<w:del>{run('b')}</w:del><w:ins>{run('c')}</w:ins><w:r><w:t>d</w:t></w:r>", "acd"),
    ],
)
def test_a_formula_of_word_is_written_in_a_line(inside: str, text: str) -> None:
    formula = parse_xml(f'<m:oMath xmlns:m="{MATH}" xmlns:w="{WORD}">{inside}</m:oMath>')
    assert formula_in_word(formula) == text
