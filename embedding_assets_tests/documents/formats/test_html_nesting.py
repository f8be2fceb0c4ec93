"""Pages that are nested without end, and those that only look so."""

from __future__ import annotations

import pytest

from embedding_assets.documents.formats.html import page
from embedding_assets.documents.formats.html_nesting import check_nesting
from embedding_assets.documents.formats.opened import UnreadableError


@pytest.mark.parametrize("html", ["<ul><li>", "<OL>", "<div class=x>", "<b>", "<table><tr><td>", "</p><blockquote>"])
def test_a_page_that_is_nested_without_end_is_refused(html: str) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting(html * 50_000)


@pytest.mark.parametrize(
    "html",
    [
        "<ul><li>a</li></ul>",
        "</div></ul>",
        "<ul><li>a<b>b</ul>",
        "<p>a<li>b",
        r'<script type="application/json">{"html": "<div>x<\/div>"}</script>',
        "<SCRIPT>'<div>'</SCRIPT >",
        "<style>/* <div> */</style>",
        "<textarea><div></textarea>",
        "<!-- <div> - -- ->-->",
        "<b><div></b></div>",
        "<i><b></i></b>",
        "<svg><style>a</style></svg><script>'<div>'</script>",
        "<table><tr><td><div></table></div>",
        "<script><!-- '<div>' --></script>",
        '<p title="a < b <div>">',
        "<xmp><div></xmp><title><div></title>",
    ],
)
def test_a_long_page_is_not_nested(html: str) -> None:
    check_nesting(html * 10_000)


@pytest.mark.parametrize("html", ["<svg><style/></svg>", "<svg><style>", "<math><title>", "<select><iframe></select>"])
def test_an_element_in_another_than_a_page_hides_nothing(html: str) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting(html + "<div>" * 50_000)


def test_what_is_left_open_in_the_cells_of_a_table_ends_with_them() -> None:
    text = page("<table>" + "<tr><td><div>one<td><ul><li>two" * 4_000 + "</table>")[1]
    assert text.count("one") == 4_000


def test_a_long_script_is_not_nested() -> None:
    check_nesting("<script>" + r"<div>x<\/div>" * 50_000 + "</script><p>words")


@pytest.mark.parametrize("html", ["<script>", "<!--", "<!-- -", "<style>", "<textarea><div>", "<script><!--", "<a"])
def test_what_is_never_closed_goes_to_the_end(html: str) -> None:
    check_nesting(html * 1_000_000)


@pytest.mark.parametrize(
    "html",
    [
        '<p title="<!--">',
        "<a title = '<script>'>",
        "<img alt=<!-->",
        "<div data-a='\"<!--' title=\"it's\">",
        "<p don't>",
        '<p>hi<a =">',
        "<a =\"'>",
        '<a\xa0=">',
        '<a b ="c"=">',
        '<title><a b="</title>',
        '<xmp><a b="</xmp>',
        '<iframe><a b="</iframe>',
        '<noembed><a b="</noembed>',
        '<!-- x --!><a ="> ',
        "<! '><a b=c>",
    ],
)
def test_what_is_in_an_attribute_hides_nothing(html: str) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting(html + "<div>" * 50_000)
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting(f"{html}<div>" * 50_000)


@pytest.mark.parametrize(
    "html",
    ['<p title="<div>">', "<b title='<b>'/></b>", "<a href=?a=<div>x</a>", '<a title="<div', "<a href='", "<a b='\""],
)
def test_elements_in_an_attribute_are_none(html: str) -> None:
    check_nesting(html * 10_000)


@pytest.mark.parametrize(
    "html",
    [
        "<div title='</div>'>",
        "<div><!x </div>",
        "<div></ </div>>",
        "<div><xmp></div></xmp>",
        "<div><script/></div></script>",
        "<div><script><!--<script></script></div>--></script>",
        "<b><div></b>",
        "<span><div></span>",
        "<div><table><tr><td></div>",
    ],
)
def test_what_ends_no_element_is_no_end(html: str) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting(html * 5_000)


@pytest.mark.parametrize(
    "html",
    ["<!-->", "<!--->", "<script></script>", "<!-- --!>", "<scripts>", "<template>", "<noscript>", "<style></style>"],
)
def test_what_is_behind_a_script_or_a_comment_is_counted(html: str) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting(html + "<div>" * 50_000)
