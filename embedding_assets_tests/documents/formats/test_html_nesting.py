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
    ],
)
def test_a_long_page_is_not_nested(html: str) -> None:
    check_nesting(html * 10_000)


def test_an_element_of_a_picture_that_ends_at_once_hides_nothing() -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting("<svg><style/></svg>" + "<div>" * 5_000)


def test_what_is_left_open_in_the_cells_of_a_table_ends_with_them() -> None:
    text = page("<table>" + "<tr><td><div>one<td><ul><li>two" * 4_000 + "</table>")[1]
    assert text.count("one") == 4_000


def test_a_long_script_is_not_nested() -> None:
    check_nesting("<script>" + r"<div>x<\/div>" * 50_000 + "</script><p>words")


@pytest.mark.parametrize("html", ["<script>", "<!--", "<!-- -", "<style>", "<textarea><div>", "<script><!--"])
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
    check_nesting(html * 50_000)


@pytest.mark.parametrize(
    "html",
    ["<!-->", "<!--->", "<script></script>", "<!-- --!>", "<scripts>", "<template>", "<noscript>", "<style></style>"],
)
def test_what_is_behind_a_script_or_a_comment_is_counted(html: str) -> None:
    with pytest.raises(UnreadableError, match="nested too deeply"):
        check_nesting(html + "<div>" * 50_000)
