"""Lists and tables that only place sections, and those of data."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats.html import page
from embedding_assets_tests.support.formats import chunks_of, read_as


def text_of(html: str) -> str:
    return page(html)[1].strip()


@pytest.mark.parametrize(
    "html",
    [
        "<ul><li><section><h3>run</h3><p>runs</section><li hidden>no<li><h3>stop</h3><ul><li>stops</ul></ul>",
        "<table><tr><td><h3>run</h3><p>runs<td><h3>stop</h3><ul><li>stops</ul></table>",
        "<ul><li><h2>Methods</h2><ul><li><h3>run</h3>runs<li><h3>stop</h3><ul><li>stops</ul></ul></ul>",
    ],
)
def test_a_list_or_table_of_headings_is_layout(tmp_path: Path, html: str) -> None:
    (document,), _ = read_as(tmp_path, "page.html", f"<h1>Foo</h1>{html}")
    found = [(path.replace("Methods > ", ""), text) for path, text in chunks_of(document)]
    assert found == [("Foo > run", "runs"), ("Foo > stop", "- stops")]


@pytest.mark.parametrize(
    ("html", "line"),
    [
        ("<tr><th>Plan<th>Price<tr><td><h4>Basic</h4><td>10 EUR", "| #### Basic | 10 EUR |"),
        ("<tr><td>Plan<td>Price<tr><td><h4>Basic</h4><td>10 EUR", "| #### Basic | 10 EUR |"),
        ("<tr><td><h4>Plan</h4><td><h4>Price</h4><tr><td><h4>Basic</h4><td>10 EUR", "| #### Basic | 10 EUR |"),
        ("<tr><td>Plan<td>Price<tr><td>Basic<h4></h4><td>10 EUR", "| Basic #### | 10 EUR |"),
        ("<tr><td>Plan<td>Price<tr><td><h4></h4>Basic<td>10 EUR", "| #### Basic | 10 EUR |"),
        ("<tr><th>Plan<th>Price<tr><td><h4>A</h4>a<td><h4>B</h4>b", "| #### A a | #### B b |"),
    ],
)
def test_a_table_of_data_with_headings_is_one(html: str, line: str) -> None:
    first, *_, last = text_of(f"<table>{html}</table>").splitlines()
    assert (first.replace("#### ", ""), " ".join(last.split())) == ("| Plan | Price |", line)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul><li>one<li><p>two<h3>Note</h3>more</ul>", "- one\n- two\n  \n  ### Note\n  \n  more"),
        ("<ul>Unplug it.<li><h3>Open</h3>slowly</ul>", "- Unplug it.\n- ### Open\n  \n  slowly"),
        ("<ol>Unplug it.<li><h3>Open</h3>slowly</ol>", "Unplug it.\n1. ### Open\n   \n   slowly"),
        ("<ol><li><h3>Open</h3>slowly<li><h3>Go</h3>on</ol>", "1. ### Open\n   \n   slowly\n2. ### Go\n   \n   on"),
        ("<ul><li><h3>Open</h3><li><h3>Go</h3></ul>", "- ### Open\n- ### Go"),
        ("<ul><li><h3></h3>Open<li><h3> </h3>Go</ul>", "Open"),
    ],
)
def test_a_list_with_headings_that_says_more_is_one(html: str, text: str) -> None:
    assert text in text_of(html)


def test_a_list_within_lists_is_looked_at_for_its_beginning_alone() -> None:
    html = f"{'<ul><li>' * 140}{'<i></i>' * 20_000}{'words ' * 20_000}"
    assert "words" in text_of(html)
