"""A console that obeys no text."""

import io

from rich.markup import escape
from rich.table import Table

from embedding_assets.cli.console import SafeConsole


def printed(*what: object, **options: object) -> str:
    console = SafeConsole(file=io.StringIO(), width=60, **options)
    for one in what:
        console.print(one)
    return console.file.getvalue()


def test_text_is_shown_and_not_obeyed():
    assert printed("a\x1b[2Jb\x9b\x7f\u202ec\ud800d\ne") == "a␛[2Jb�␡�c�d\ne\n"


def test_tables_and_markup_too():
    table = Table("name\x1b[0m", box=None)
    table.add_row(escape("[red]\x1b]8;;evil\x1b\\"))
    assert "\x1b" not in printed(table, "[bold]x\x1b[/bold]")


def test_what_rich_itself_sends_is_left_alone():
    assert printed("[bold]x\x1b[/bold]", force_terminal=True, color_system="standard") == "\x1b[1mx␛\x1b[0m\n"
