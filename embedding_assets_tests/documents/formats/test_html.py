"""Pages as people have them: layout by tables, forms around everything, tab panels, wrong labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats.html import page
from embedding_assets_tests.support.formats import read_as


def text_of(html: str) -> str:
    return page(html)[1]


def test_what_is_in_nested_tables_is_read_once() -> None:
    depth = 40
    html = "<table><tr><td>" * depth + "word" + "</td></tr></table>" * depth
    assert text_of(html) == "word\n"


def test_a_table_of_tables_is_layout() -> None:
    inner = "<table><tr><th>name</th><th>price</th></tr><tr><td>tea</td><td>7</td></tr></table>"
    html = f"<table><tr><td><h2>Menu</h2><p>Today</p></td><td>{inner}<ul><li>milk</li></ul></td></tr></table>"
    assert text_of(html) == "## Menu\n\nToday\n\n| name | price |\n| --- | --- |\n| tea | 7 |\n\n- milk\n"


def test_a_column_alone_is_layout() -> None:
    assert text_of("<table><tr><td><h1>Offer</h1><p>a | b</p><p>c</p></td></tr></table>") == "# Offer\n\na | b\n\nc\n"


def test_a_caption_stands_before_its_table() -> None:
    head, foot = "<thead><tr><th>a</th><th>b</th></tr></thead>", "<tfoot><tr><td>3</td><td>4</td></tr></tfoot>"
    html = f"<table><caption>Prices <b>2024</b></caption>{head}<tr><td>1</td><td>2</td></tr>{foot}</table>"
    assert text_of(html) == "Prices 2024\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n"


def test_mail_that_is_laid_out_by_tables(tmp_path: Path) -> None:
    rows = "<tr><td>Dear Ada</td></tr><tr><td><table><tr><td>Your order</td></tr></table></td></tr>"
    mail = f"Subject: Order\nContent-Type: text/html; charset=utf-8\n\n<table>{rows}</table>"
    (document,), _ = read_as(tmp_path, "a.eml", mail)
    assert document.text == "Dear Ada\n\nYour order\n"


TEASER = "<article><h2>Read also</h2><p>A teaser.</p></article>"
WORDS = "<p>" + "The words of the page go on and on. " * 10 + "</p>"


def test_an_article_that_is_little_of_the_page_is_not_all_of_it() -> None:
    text = text_of(f"<nav>{WORDS * 9}</nav><h1>Guide</h1>{WORDS}{TEASER}")
    assert text.startswith("# Guide\n\nThe words")
    assert text.endswith("## Read also\n\nA teaser.\n")


def test_an_article_that_is_most_of_the_page_is_all_of_it() -> None:
    around = f"<nav>{WORDS * 9}</nav><header>{WORDS * 9}</header><footer>{WORDS * 9}</footer><p>Beside it.</p>"
    assert text_of(f"{around}<article><h1>Guide</h1>{WORDS}</article>").count("#") == 1
    assert "Beside" not in text_of(f"{around}<article><h1>Guide</h1>{WORDS}</article>")
    assert "Beside" not in text_of(f"{WORDS}<p>Beside it.</p><main>Few words</main>")


def test_a_form_around_the_page_is_no_reason_to_lose_it() -> None:
    form = "<form id=aspnetForm><input type=hidden value=x><h1>Title</h1><p>All the text.</p><button>Send</button>"
    choice = "<select><option>one</option></select><textarea>draft</textarea></form>"
    assert text_of(f"<p>Above</p>{form}{choice}") == "Above\n\n# Title\n\nAll the text.\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul><li>a</li><ul><li>b</li><li>c</li></ul><li>d</li></ul>", "- a\n  - b\n  - c\n- d\n"),
        ("<ol><li>a</li><ol><li>b</li></ol><li>c</li></ol>", "1. a\n   1. b\n2. c\n"),
        ("<ul><ul><li>b</li></ul></ul>", "- - b\n"),
        ("<ul><div><li>a</li><li>b</li></div>text<script>x</script></ul>", "- a\n  \n  b\n- text\n"),
        ("<ul><li hidden>a</li><li>b</li></ul>", "- b\n"),
        ("<div><li>a</li><li>b</li></div>", "a\n\nb\n"),
    ],
)
def test_lists_as_they_are_written(html: str, text: str) -> None:
    assert text_of(html) == text


def test_panels_that_are_hidden_until_somebody_opens_them() -> None:
    panels = "<div role=tabpanel>one</div><div role=tabpanel hidden>two</div>"
    panels += "<div role=tabpanel aria-hidden=true>three</div><div hidden=until-found>four</div><div hidden>five</div>"
    assert text_of(panels) == "one\n\ntwo\n\nthree\n\nfour\n"


@pytest.mark.parametrize(
    ("label", "encoding"),
    [
        ("iso-8859-1", "cp1252"),
        ("latin1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("windows-1252", "cp1252"),
        ("iso-8859-15", "iso-8859-15"),
        ("iso-8859-1", "utf-8"),
        ("utf-16", "utf-8"),
        ("no-such-encoding", "utf-8"),
        ("hex", "utf-8"),
        ("iso-8859-1", "utf-16"),
    ],
)
def test_pages_are_read_as_browsers_read_them(tmp_path: Path, label: str, encoding: str) -> None:
    words = "caf\u00e9 5 \u20ac" + (" \u201cquoted\u201d" if encoding != "iso-8859-15" else "")
    html = f'<html><head><meta charset="{label}"></head><body><p>{words}</p></body></html>'
    (document,), _ = read_as(tmp_path, "a.html", html.encode(encoding))
    assert document.text == f"{words}\n"


def test_chinese_pages_may_have_characters_that_their_label_has_not(tmp_path: Path) -> None:
    html = "<meta charset=gb2312><p>\u6731\u9555\u57fa</p>".encode("gb18030")
    (document,), _ = read_as(tmp_path, "a.html", html)
    assert document.text == "\u6731\u9555\u57fa\n"


def test_a_label_of_utf_16_in_plain_letters_is_wrong(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.html", b"<meta charset=utf-16><p>plain text</p>")
    assert document.text == "plain text\n"


def test_bytes_that_no_encoding_has_do_not_reject_a_page(tmp_path: Path) -> None:
    (document,), _ = read_as(tmp_path, "a.html", b"<meta charset=iso-8859-1><p>caf\xe9\x81</p>")
    assert document.text == "caf\u00e9\n"


def test_lines_of_code_may_end_in_elements() -> None:
    assert text_of("<pre>one<br>  <b>two</b><br/>three &lt;</pre>") == "```\none\n  two\nthree <\n```\n"


@pytest.mark.parametrize("mark", ["¶", "#"])
def test_the_link_to_a_heading_is_not_of_it(mark: str) -> None:
    html = f'<h2>Install<a class="headerlink" href="#install">{mark}</a></h2><p>words <a href="#a">a #</a></p>'
    assert text_of(html) == "## Install\n\nwords a #\n"
    assert text_of(f'<p>after <a href="q">{mark}</a> 5</p>') == f"after {mark} 5\n"
    assert text_of(f'<dl><dt>run()<a class="headerlink" href="#run">{mark}</a></dt></dl>').strip() == "run()"


def test_headers_and_asides_of_a_book_are_read() -> None:
    html = "<body><header><h2>One</h2></header><p>words</p><aside><p>A note.</p></aside></body>"
    assert page(html, is_book=True)[1] == "## One\n\nwords\n\nA note.\n"
    assert "A note." in page("<main><p>words</p></main><aside><p>A note.</p></aside>", is_book=True)[1]
    assert text_of(html) == "words\n"


def test_a_paragraph_that_begins_like_a_heading_is_none() -> None:
    html = "<p># of users: 5</p><p>one<br>---<br>two</p><h2>Next</h2>"
    assert text_of(html) == "#\u00a0of users: 5\n\none\n---\u00a0\ntwo\n\n## Next\n"


def test_a_paragraph_in_the_style_of_a_heading_is_none() -> None:
    words = "many words " * 30
    assert text_of(f"<h3>{words}</h3><h3>few</h3>") == f"{words.strip()}\n\n### few\n"


@pytest.mark.parametrize(
    "begin",
    [
        '<?xml version="1.0"?><html>',
        '\n<?xml version="1.0"?>\n<!DOCTYPE html>\n<html>',
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "x.dtd">\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml">',
    ],
)
def test_an_element_of_xhtml_may_end_where_it_begins(begin: str) -> None:
    head = "<head><title/><script src='a/b.js'/><style type='x' /></head>"
    body = "<h1><a id='p'/>One</h1><div/><p>words<br/><img alt='a/>b' src='x'/></p><iframe src='y'/><p>more</p>"
    assert page(f"{begin}{head}<body>{body}</body></html>")[1] == "# One\n\nwords\na/>b\n\nmore\n"


def test_elements_of_html_go_on_whatever_stands_in_them() -> None:
    assert page("<p>a<textarea/>b</textarea>c")[1] == "ac\n"


def test_the_title_of_a_picture_is_not_that_of_the_page() -> None:
    assert page("<p>a<svg><title>icon</title></svg>b") == ("", "ab\n")
    assert page("<p>a<title>Page</title>b")[0] == ""
    assert page("words<title>Page</title>")[0] == "Page"


def test_the_names_of_tabs_are_apart() -> None:
    assert page("<label for=a>Linux</label><label for=b>Mac</label>")[1].split() == ["Linux", "Mac"]
