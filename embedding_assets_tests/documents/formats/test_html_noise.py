"""What of pages is no content: navigation, buttons; and marks that say something."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats.html import page
from embedding_assets_tests.support.formats import chunks_of, read_as


def text_of(html: str) -> str:
    return page(html)[1].strip()


def test_a_button_on_code_is_not_of_it() -> None:
    assert text_of("<pre><code>run()</code> <button class=copy>copy</button></pre>") == "```\nrun() \n```"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("10<sup>6</sup> m<sup>2</sup>", "10^6 m^2"),
        ("10<sup>-6</sup>", "10^-6"),
        ("<b>10</b><sup>-23</sup> and 6 x 10<sup>23</sup>", "10^-23 and 6 x 10^23"),
        ("5 c<i>m</i><sup>2</sup>, (km<sup>2</sup>), kg/m<sup>-3</sup>", "5 cm^2, (km^2), kg/m^-3"),
        (
            "19<sup>99</sup> or $10<sup>9</sup> or 10<sup>99</sup> or Box10<sup>12</sup>",
            "1999 or $109 or 1099 or Box1012",
        ),
        ("film<sup>2</sup> I'm<sup>2</sup> m<sup>4</sup> m<sup>st</sup>", "film2 I'm2 m4 mst"),
        ("grew.<sup><a href='#n'>1, 2</a></sup> So", "grew.1, 2 So"),
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


def test_links_that_edit_a_section_are_left_out() -> None:
    edit = "<span class='mw-editsection'>[<a>edit</a>]</span>"
    assert text_of(f"<h2>Tea{edit}</h2><p>words") == "## Tea\n\nwords"


@pytest.mark.parametrize("name", ["noprint", "hint noprint", "mw-editsection-like", "no-noprint"])
def test_what_is_seen_but_not_printed_is_read(name: str) -> None:
    assert text_of(f"<div class='{name}'><p>Watch the transcript</p></div>") == "Watch the transcript"


def test_a_line_with_a_link_to_another_page_is_read() -> None:
    line = 'Open Monday to Friday; <a href="/news" accesskey="n">News</a> tells of holidays.'
    assert text_of(f"<table><tr><td><p>{line}</table>") == text_of(f"<p>{line}") != ""


def test_the_heading_of_a_note_heads_nothing_behind_it(tmp_path: Path) -> None:
    html = "<h2>Use</h2><p>words<div class='note'><h3 class=title>Note</h3><p>beware</div><p>more"
    (document,), _ = read_as(tmp_path, "page.html", html)
    assert chunks_of(document) == [("page > Use", "words\n\nNote\n\nbeware\n\nmore")]
