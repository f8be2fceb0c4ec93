"""What of pages is no content: navigation, tables of contents, buttons; and marks that say something."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats.html import page
from embedding_assets_tests.support.formats import chunks_of, read_as


def text_of(html: str) -> str:
    return page(html)[1].strip()


LINKS = '<li><a href="#one">1 One</a><ul><li><a href="#two">1.1 Two</a></ul></li>'


@pytest.mark.parametrize(
    "contents",
    [
        f"<ul>{LINKS}</ul>",
        f"<div class=toc><ol>{LINKS}</ol></div>",
        '<dl class="toc"><dt>1. <a href="page.html#one">One</a><dt>2. <a href="page.html#two">Two</a></dl>',
    ],
)
def test_a_table_of_contents_is_no_chunk(tmp_path: Path, contents: str) -> None:
    html = f"<h1>Guide</h1><p>intro<h2>Contents</h2>{contents}<h2>One</h2><p>words"
    (document,), _ = read_as(tmp_path, "page.html", html)
    assert chunks_of(document) == [("Guide", "intro"), ("Guide > One", "words")]


@pytest.mark.parametrize(
    "items",
    [
        '<li><a href="#one">One</a>',
        '<li><a href="#one">One</a> says more<li><a href="#two">Two</a>',
        '<li><a href="other.html#one">One</a><li><a href="other.html#two">Two</a>',
        '<li><a href="#one">One</a><li><a href="other.html">Two</a>',
    ],
)
def test_a_list_with_links_is_read(items: str) -> None:
    assert "- One" in text_of(f"<p>see<ul>{items}</ul>")


def test_links_to_the_pages_around_are_left_out() -> None:
    links = '<a accesskey="n" href=n.html>Next</a>, Up: <a accesskey="u" href=u.html>Up</a>'
    assert text_of(f"<div><p>Next: {links}</p></div><hr><p>words</p><table><tr><td>{links}</table>") == "words"
    assert text_of(f"<p>{'so long ' * 100}{links}").startswith("so long")


def test_a_button_on_code_is_not_of_it() -> None:
    assert text_of("<pre><code>run()</code> <button class=copy>copy</button></pre>") == "```\nrun() \n```"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("10<sup>6</sup> m<sup>2</sup>", "10^6 m^2"),
        ("10<sup>-6</sup>", "10^-6"),
        ("grew.<sup><a href='#n'>1, 2</a></sup> So", "grew.^1, 2 So"),
        ("was<a epub:type='noteref' href='#n'>1</a> dark", "was^1 dark"),
        ("was<sup><a role='doc-noteref' href='#n'>1</a></sup> dark", "was^1 dark"),
        ("1<sup>st</sup> H<sub>2</sub>O and <sup>3</sup>He", "1st H2O and 3He"),
        ("a<sup>[1]</sup>", "a[1]"),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>", "漢字"),
        ("inter&shy;national", "international"),
        ("words" + "&zwnj;&nbsp;" * 100 + "more", "words more"),
        ("می‌خواهم", "می‌خواهم"),
        ("<ol start=3><li>three<li>four<li value=9>nine</ol>", "3. three\n4. four\n9. nine"),
        ("<ol start=x><li>one</ol>", "1. one"),
        (
            "<ul><li><input type=checkbox disabled checked> done<li><p><input type=checkbox class=task-box> open</ul>",
            "- [x] done\n- [ ] open",
        ),
        (
            "<ul><li><div class='x checkbox-on'></div> done<li><div class='x checkbox-off'></div>open</ul>",
            "- [x] done\n- [ ] open",
        ),
        ("<label><input type=checkbox> agree</label>", "agree"),
    ],
)
def test_marks_that_say_something_are_kept(html: str, text: str) -> None:
    assert text_of(html) == text


@pytest.mark.parametrize(
    "html",
    [
        "<title>Export</title><p class=MsoTitle>Report<h1>One</h1><p>words",
        "<body class='c1 doc-content'><p class='c2 title'>Report<h1>One</h1><p>words",
    ],
)
def test_a_title_in_the_style_of_one_heads_all(tmp_path: Path, html: str) -> None:
    (document,), _ = read_as(tmp_path, "page.html", html)
    assert chunks_of(document) == [("Report > One", "words")]
    assert "# " not in text_of("<p class=title>Card<p>words")


def test_what_is_not_to_be_printed_is_left_out() -> None:
    edit = "<span class='mw-editsection'>[<a>edit</a>]</span>"
    assert text_of(f"<h2>Tea{edit}</h2><div class='hint noprint'>Edit</div><p>words") == "## Tea\n\nwords"


@pytest.mark.parametrize(
    "html",
    [
        "<ul><li><section><h3>run</h3><p>runs</section><li hidden>no<li><h3>stop</h3><ul><li>stops</ul></ul>",
        "<table><tr><td><h3>run</h3><p>runs<td><h3>stop</h3><ul><li>stops</ul></table>",
    ],
)
def test_a_list_or_table_of_headings_is_layout(tmp_path: Path, html: str) -> None:
    (document,), _ = read_as(tmp_path, "page.html", f"<h1>Foo</h1>{html}")
    assert chunks_of(document) == [("Foo > run", "runs"), ("Foo > stop", "- stops")]


def test_a_list_with_a_heading_further_behind_is_one() -> None:
    assert text_of("<ul><li>one<li><p>two<h3>Note</h3>more</ul>").startswith("- one\n- two")
    assert text_of("<table><tr><td>a<td>b<tr><td>1<h3>Note</h3><td>2</table>").startswith("| a | b |")


def test_the_heading_of_a_note_heads_nothing_behind_it(tmp_path: Path) -> None:
    html = "<h2>Use</h2><p>words<div class='note'><h3 class=title>Note</h3><p>beware</div><p>more"
    (document,), _ = read_as(tmp_path, "page.html", html)
    assert chunks_of(document) == [("page > Use", "words\n\nNote\n\nbeware\n\nmore")]
