"""Tables of contents in pages, and lists of links that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets.documents.formats.html import page
from embedding_assets_tests.support.formats import chunks_of, read_as


def text_of(html: str) -> str:
    return page(html)[1].strip()


LINKS = '<li><a href="#one">1 One</a><ul><li>1.1. <a href="#two%20b">Two</a></ul></li>'
HEADINGS = '<h2 id=one>One</h2><p>words<h3><a name="two b"></a>1.1. Two <a href="#two%20b">¶</a></h3><p>more'


@pytest.mark.parametrize("contents", [f"<ul>{LINKS}</ul>", f"<div class=toc><ol>{LINKS}</ol></div>"])
def test_a_table_of_contents_is_no_chunk(tmp_path: Path, contents: str) -> None:
    html = f"<h1>Guide</h1><p>intro<h2>Contents</h2>{contents}{HEADINGS}"
    (document,), _ = read_as(tmp_path, "page.html", html)
    expected = [("Guide", "intro"), ("Guide > One", "words"), ("Guide > One > 1.1. Two", "more")]
    assert [(path.removesuffix(" ¶"), text) for path, text in chunks_of(document)] == expected


@pytest.mark.parametrize(
    "items",
    [
        '<li><a href="#one">One</a>',
        '<li><a href="#one">One</a> says more<li><a href="#two">Two</a>',
        '<li><a href="#one">One</a><li><a href="#two">Two</a> 3.50',
        '<li><a href="#one">One</a><li><a href="#two">Two</a><img alt="a picture">',
        '<li><a href="#one">One</a><li><a href="#two"><img alt="a picture">Two</a>',
        '<li><a href="other.html#one">One</a><li><a href="other.html#two">Two</a>',
        '<li><a href="#one">One</a><li><a href="other.html">Two</a>',
        '<li><a href="#one">One</a><li><a href="#two">Two that no heading says</a>',
        '<li><a href="#">One</a><li><a href="#">Two</a>',
        '<li><a href="#/one">One</a><li><a href="#/two">Two</a>',
        '<li><a href="#!one">One</a><li><a href="#!two">Two</a>',
        '<li><a href="#three">One</a><li><a href="#four">Two</a>',
    ],
)
def test_a_list_with_links_is_read(items: str) -> None:
    html = f"<p>see<ul>{items}</ul><h2 id=one>One</h2><h2 id=two>Two</h2><i id='/one'></i><i id='/two'></i>"
    assert "- One" in text_of(html) or "- a picture" in text_of(html)


def test_many_lists_of_contents_are_looked_at_once() -> None:
    contents = '<ul><li><a href="#a">A</a><li><a href="#b">B</a></ul>'
    html = f"<h2 id=a>A</h2><h2 id=b>B</h2>{'<div></div>' * 30_000}{contents * 8_000}<p>words"
    assert text_of(html).endswith("words")


def test_lists_in_lists_are_looked_at_once() -> None:
    links = '<li><a href="#a">A</a>' * 8_000
    html = f"<h2 id=a>A</h2>{'<ul><li>' * 140}<ul>{links}</ul>{'words ' * 20_000}"
    assert "words" in text_of(html)
