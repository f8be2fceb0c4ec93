"""The command that lists what is read."""

from __future__ import annotations

from embedding_assets.cli.console import Json, out, print_json


def formats(as_json: Json = False) -> None:
    """List the formats that load reads, and what has yet to be installed for the others.

    Each of them may be packed by gzip, as in articles.jsonl.gz.
    """
    from rich.table import Table

    from embedding_assets.documents.formats.registry import EXTRA, FORMATS

    if as_json:
        print_json(
            [
                {
                    "format": one.name,
                    "title": one.title,
                    "suffixes": one.suffixes,
                    "names": one.names,
                    "rows": one.has_rows,
                    "installed": one.is_installed,
                    "packages": one.packages,
                }
                for one in FORMATS
            ]
        )
        return
    table = Table("format", "", "file names", "read", box=None, pad_edge=False)
    for one in FORMATS:
        kind = "each row is a document" if one.has_rows else "each file is a document"
        names = " ".join((*one.suffixes, *map(str.upper, one.names)))
        table.add_row(one.name, one.title, names, kind if one.is_installed else "needs the extra")
    out.print(table)
    if not all(one.is_installed for one in FORMATS):
        out.print(f"\nThe others: {EXTRA}", markup=False, highlight=False)
