"""Tables whose cells span rows and columns, and those in which code stands beside its line numbers."""

from __future__ import annotations

import pytest

from embedding_assets.documents.formats.html import page


def text_of(html: str) -> str:
    return page(html)[1]


def rows_of(html: str) -> list[list[str]]:
    lines = text_of(f"<table>{html}</table>").strip().split("\n")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]


HEAD = "<tr><th>a<th>b<th>c</tr>"


@pytest.mark.parametrize(
    ("html", "rows"),
    [
        ("<tr><td rowspan=2>x<td>1<td>2</tr><tr><td>3<td>4</tr>", [["x", "1", "2"], ["x", "3", "4"]]),
        ("<tr><td>1<td rowspan=2>x<td>2</tr><tr><td>3<td>4</tr>", [["1", "x", "2"], ["3", "x", "4"]]),
        ("<tr><td>1<td>2<td rowspan=0>x</tr><tr><td>3<td>4</tr>", [["1", "2", "x"], ["3", "4", "x"]]),
        ("<tr><td rowspan=2 colspan=2>x<td>1</tr><tr><td>2</tr>", [["x", "x", "1"], ["x", "x", "2"]]),
        ("<tr><td colspan=2>x<td>1</tr>", [["x", "x", "1"]]),
        ("<tr><td colspan=3>all of it</tr>", [["all of it", "", ""]]),
        ("<tr><td colspan=x>1<td rowspan=-2>2<td colspan=99999999>3</tr>", [["1", "2", "3"]]),
    ],
)
def test_a_cell_over_several_rows_and_columns_is_in_each(html: str, rows: list[list[str]]) -> None:
    assert rows_of(HEAD + html) == [["a", "b", "c"], *rows]


def test_a_header_of_two_rows() -> None:
    html = "<tr><th rowspan=2>a<th colspan=2>2023</tr><tr><th>Q1<th>Q2</tr><tr><td>x<td>1<td>2</tr>"
    assert rows_of(html) == [["a", "2023", "2023"], ["a", "Q1", "Q2"], ["x", "1", "2"]]


def test_spans_do_not_multiply_a_page() -> None:
    html = "<tr>" + "<td>x" * 300 + "</tr>" + ("<tr><td colspan=300 rowspan=65534>" + "word " * 40) * 500
    assert len(text_of(f"<table>{html}</table>")) < 10 * len(html) + 2_000_000


CODE = "```\ndef a():\n    pass\n```\n"
PYGMENTS = (
    '<table class="highlighttable"><tr><td class="linenos"><div class="linenodiv"><pre>1\n2</pre></div></td>'
    '<td class="code"><div class="highlight"><pre><span></span><b>def</b> a():\n    pass\n</pre></div></td>'
    "</tr></table>"
)
PYGMENTS_INLINE = '<pre><span class="linenos">1</span>def a():\n<span class="linenos">2</span>    pass\n</pre>'
CHROMA = (
    '<table class="lntable"><tr><td class="lntd"><pre><code><span class="lnt">1\n</span><span class="lnt">2\n</span>'
    '</code></pre></td><td class="lntd"><pre><code>def a():\n    pass\n</code></pre></td></tr></table>'
)
GITHUB = (
    '<table><tr><td class="blob-num" data-line-number=1></td><td class="blob-code blob-code-inner">def a():</td></tr>'
    '<tr><td class="blob-num"></td><td class="blob-code">    pass</td></tr></table>'
)
HEXO = (
    '<figure><table><tr><td class="gutter"><pre><span>1</span><br><span>2</span></pre></td>'
    '<td class="code"><pre><span>def a():</span><br><span>    pass</span></pre></td></tr></table></figure>'
)
HIGHLIGHT_JS = (
    '<pre><code><table class="hljs-ln"><tr><td class="hljs-ln-numbers">1</td><td class="hljs-ln-code">def a():</td>'
    '</tr><tr><td class="hljs-ln-numbers">2</td><td class="hljs-ln-code">    pass</td></tr></table></code></pre>'
)


@pytest.mark.parametrize("html", [PYGMENTS, PYGMENTS_INLINE, CHROMA, GITHUB, HEXO, HIGHLIGHT_JS])
def test_code_is_read_in_lines_without_their_numbers(html: str) -> None:
    assert text_of(html) == CODE


def test_what_is_no_number_of_a_line_is_kept() -> None:
    assert rows_of(f'{HEAD}<tr><td class="gutter">x<td>1<td class="code">2</tr>')[1] == ["x", "1", "2"]


def test_numbers_of_rows_are_kept_where_there_is_no_code() -> None:
    head = "<tr><th>Line<th>Item<th>Price</tr>"
    for name in ("line-number", "line-numbers", "lineno", "gutter"):
        html = f'{head}<tr><td class="{name}">1<td class="code">Widget<td>9</tr>'
        assert rows_of(html) == [["Line", "Item", "Price"], ["1", "Widget", "9"]]


def test_a_number_is_taken_out_once_whatever_it_is_in() -> None:
    inner = '<table><tr><td class="lineno gutter">2<td class="code"><pre>b()</pre></table>'
    html = f'<table><tr><td class="gutter lineno">1<td class="code"><pre>a()</pre><td class="gutter">{inner}</table>'
    assert set(text_of(html).replace("`", " ").split()) == {"a()", "b()"}
