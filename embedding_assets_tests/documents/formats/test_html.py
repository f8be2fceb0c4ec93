"""Pages as people have them: layout by tables, forms around everything, tab panels, wrong labels."""

from __future__ import annotations

from pathlib import Path

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
