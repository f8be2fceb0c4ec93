"""`load`, `documents` and `forget`: files and folders as documents in the chunk table."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, confirm, err, looking_session, show, table_session
from embedding_assets.cli.stopping import exit_status
from embedding_assets.errors import DocumentError
from embedding_assets.formatting import counted, moment, visible

if TYPE_CHECKING:
    from embedding_assets.documents.file_loading import LoadOptions
    from embedding_assets.documents.loading import LoadReport
    from embedding_assets.documents.rejection import Rejection
    from embedding_assets.postgres.documents import CollectionSummary, DocumentSummary

_SHOWN: Final = 3
"""Rejections of one kind that are shown as they come."""

_MOST_REJECTIONS: Final = 1_000
_FORGOTTEN_TOGETHER: Final = 500


class Rejections:
    """What could not be loaded: the first of each kind as they come, all of them by kind.

    Args:
        console: where they are shown.
        wrap: break lines at its width; else they can be copied.

    Attributes:
        first: for programs.
        reasons: how many of each kind.
    """

    def __init__(self, console: Console, *, wrap: bool = False) -> None:
        self._console = console
        self._wrap = wrap
        self.first: list[Rejection] = []
        self.reasons: Counter[str] = Counter()

    def add(self, rejection: Rejection) -> None:
        """Count one, and show it unless there were some of its kind."""
        reason = rejection.kind
        self.reasons[reason] += 1
        if len(self.first) < _MOST_REJECTIONS:
            self.first.append(rejection)
        if self.reasons[reason] <= _SHOWN:
            self._show(str(rejection))

    def sum_up(self) -> None:
        """Show how many more there were of each kind."""
        for reason, count in self.reasons.most_common():
            if count > _SHOWN:
                self._show(f"{count - _SHOWN:,} more: {reason}")

    def _show(self, what: str) -> None:
        self._console.print(f"rejected: {visible(what)}", markup=False, highlight=False, soft_wrap=not self._wrap)


def load(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files or folders; s3://, gs:// or az:// with bucket and folder; https:// with a file; - for standard "
            "input. `embedding-assets formats` lists the kinds. Default: those of EMBEDDING_DOCUMENTS."
        ),
    ] = None,
    *,
    collection: Annotated[
        str | None, typer.Option(help="What to call these documents together. Default: the folder's name.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Field of a row with the text. Default: text, content, body, …")
    ] = None,
    text_template: Annotated[
        str | None, typer.Option(help=r"Text of a row made of several fields: '{title}\n{body}'.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text files that are not UTF-8, e.g. cp1252.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="Format of all files, whatever their names end in.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What to call standard input, as in guide.md. Default: stdin, as its format ends."),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only files of a folder that this names, as in .gitignore; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Not what this names, as in .gitignore; repeatable.")
    ] = None,
    no_ignore: Annotated[
        bool, typer.Option("--no-ignore", help="Load what .gitignore names and what tools make, too.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove documents whose files are gone.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove even more than a fifth of a collection, or that much of one file.")
    ] = False,
    accept_rejected: Annotated[
        bool,
        typer.Option(
            "--accept-rejected",
            help="Take what could be read of a file with rejected rows as all of it, and remove what else it had.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Load documents as chunks. Loading a folder again adds nothing, wherever it is by now.

    Buckets and web servers need no copy on this machine: what has changed is fetched, read and removed again.

    A changed file replaces only what changed; text that moved keeps its vector. What cannot be loaded is named and the
    rest goes on; the exit status is 1 when nothing at all could be loaded, or --prune would remove too much.
    """
    from embedding_assets.documents.file_loading import LoadOptions, load_files
    from embedding_assets.documents.finding import count_files
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.ignoring import Choice
    from embedding_assets.documents.loading import configured_splitter
    from embedding_assets.documents.roots import collections_inside, find_roots
    from embedding_assets.documents.standard_input import spooled_input

    rejections = Rejections(err)
    options = LoadOptions(
        read=ReadOptions(text_column, encoding, format_, text_template),
        choice=Choice(tuple(include or ()), tuple(exclude or ()), no_ignore),
        prune=prune,
        yes=yes,
        accept_rejected=accept_rejected,
    )
    options.choice.check()
    if not paths:
        paths, options = _configured(options)
    if name is not None and "-" not in paths:
        raise DocumentError(
            "--name is what to call standard input; it belongs to the path -, as in load - --name guide.md"
        )
    with (
        spooled_input(sys.stdin, name, options.read) if "-" in paths else nullcontext() as standard_input,
        table_session() as (settings, database),
    ):
        roots = find_roots(database, paths, collection, standard_input)
        for inner in collections_inside(database, roots):
            err.print(
                f"{inner} was loaded from a folder in there, whose documents are now loaded under both names; "
                f"`embedding-assets forget {inner}` removes the others",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        splitter = configured_splitter(settings, database)
        try:
            total = None
            # A walk of its own, which only a bar is worth.
            if err.is_terminal and not as_json:
                with progress.spinner(err, "counting files"):
                    total = count_files(roots, options.choice, options.read)
            with progress.of_files(err, "loading", total, quiet=as_json) as done:
                report = load_files(
                    database,
                    roots,
                    splitter,
                    options,
                    on_progress=done.chunks,
                    on_files=done.files,
                    on_reject=rejections.add,
                )
        except KeyboardInterrupt as stop:
            err.print("Stopped. Run it again to go on.", highlight=False)
            raise typer.Exit(exit_status(stop)) from None
    rejections.sum_up()
    document = {
        **asdict(report),
        "collections": sorted({root.collection.name for root in roots}),
        "rejections": [asdict(rejection) for rejection in rejections.first],
        "reasons": dict(rejections.reasons),
    }
    show(document, load_view(report), as_json=as_json)
    if ((rejections.reasons or report.empty) and not report.documents) or report.prune_refused:
        raise typer.Exit(1)


def _configured(options: LoadOptions) -> tuple[list[str], LoadOptions]:
    """What the settings say is to be loaded, and how where the command does not say it."""
    from embedding_assets.config import get_settings
    from embedding_assets.documents.configured import configured_options

    config = get_settings().loading
    if not config.paths:
        raise DocumentError("say what to load: embedding-assets load PATH, or set EMBEDDING_DOCUMENTS")
    set_ = configured_options(config)
    choice = replace(
        options.choice,
        include=options.choice.include or set_.choice.include,
        exclude=options.choice.exclude + set_.choice.exclude,
        all_files=options.choice.all_files or set_.choice.all_files,
    )
    says_text = options.read.template is not None or options.read.text_column is not None
    of_text = options.read if says_text else set_.read
    read = replace(
        options.read,
        text_column=of_text.text_column,
        template=of_text.template,
        encoding=options.read.encoding or set_.read.encoding,
    )
    accept_rejected = options.accept_rejected or set_.accept_rejected
    options = replace(options, choice=choice, read=read, prune=options.prune or set_.prune)
    return list(config.paths), replace(options, accept_rejected=accept_rejected)


def load_view(report: LoadReport, next_step: str = "embedding-assets embed") -> str:
    """Sentences on what loading did, and on what it left to be decided."""
    lines = [load_line(report)]
    if report.reused:
        lines.append(f"{counted(report.reused, 'chunk')} kept the vector of the same text.")
    if report.renamed:
        lines.append(f"{counted(report.renamed, 'document')} renamed.")
    if report.taken_over:
        lines.append(
            f"{counted(report.taken_over, 'document')} known by absolute paths got the names that they have now."
        )
    if report.prune_refused:
        lines.append(
            f"[yellow]{counted(report.gone, 'document')} gone, more than a fifth of a collection: none was removed."
            "[/yellow] If that is right: --prune --yes"
        )
    elif report.pruned:
        lines.append(f"{counted(report.pruned, 'document')} gone and removed.")
    elif report.gone:
        lines.append(f"[yellow]{counted(report.gone, 'document')} gone, and still found by searches.[/yellow] "
                     "To remove them: --prune")  # fmt: skip
    lines += [
        f"[yellow]{escape(visible(origin))} lost so much that none of it was removed.[/yellow] If that is right: --yes"
        for origin in report.shrunk
    ]
    lines += [
        f"[yellow]{escape(visible(origin))} changed while it was read, and is left to the next load.[/yellow]"
        for origin in report.changing
    ]
    if report.kept:
        kept = f"{counted(report.kept, 'chunk')} kept of files that were not whole or had rejected parts."
        lines.append(f"{kept} To remove them: --accept-rejected" if report.rejected else kept)
    if report.rejected_before:
        lines.append(
            f"{counted(report.rejected_before, 'row')} of unchanged documents rejected as before; "
            "`embedding-assets documents COLLECTION` shows of which."
        )
    lines += _passed_over(report)
    if next_step and report.added > report.reused:
        lines.append(f"Next: [bold]{next_step}[/bold]")
    return "\n".join(lines)


def _passed_over(report: LoadReport) -> list[str]:
    """Sentences on what there was nothing to load of."""
    blank = f"{counted(report.blank_rows, 'row')} without a text." if report.blank_rows else ""
    empty = f"{counted(report.empty, 'empty file')}." if report.empty else ""
    left_out = f"Left out: {_counts(report.left_out)}." if report.left_out else ""
    other_kinds = f"Of other kinds: {_counts(report.other_kinds)}." if report.other_kinds else ""
    return [line for line in (blank, empty, left_out, other_kinds) if line]


def load_line(report: LoadReport) -> str:
    """A sentence on what loading did."""
    states = {"new": report.new, "changed": report.changed, "unchanged": report.unchanged}
    of_these = ", ".join(f"{count:,} {state}" for state, count in states.items() if count)
    parts = [
        f"{counted(report.documents, 'document')}{f' ({of_these})' if of_these else ''}",
        f"{counted(report.added, 'chunk')} added",
        f"{report.removed:,} removed",
    ]
    if report.rejected:
        files = f" ({counted(report.rejected_files, 'whole file')})" if report.rejected_files else ""
        parts.append(f"[yellow]{report.rejected:,} rejected{files}[/yellow]")
    return "Loaded " + ", ".join(parts) + "."


def _counts(counts: dict[str, int], most: int = 12) -> str:
    shown = [f"{escape(visible(what))} ({count:,})" for what, count in list(counts.items())[:most]]
    rest = sum(list(counts.values())[most:])
    return ", ".join([*shown, *([f"others ({rest:,})"] if rest else [])])


def documents(
    name: Annotated[
        str | None, typer.Argument(help="A collection, a folder in it, or a document. Default: all collections.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most documents.")] = 1_000,
    as_json: Json = False,
) -> None:
    """List what is loaded: collections, or the documents of one."""
    from embedding_assets.postgres.chunks import check_is_own
    from embedding_assets.postgres.documents import list_documents, summarize_collections

    with looking_session() as (_, database, is_made):
        check_is_own(database)
        if name is None:
            collections = summarize_collections(database) if is_made else []
            view = (
                _collections_table(collections)
                if collections
                else "Nothing is loaded. Next: embedding-assets load PATH"
            )
            show([asdict(one) for one in collections], view, as_json=as_json)
            return
        found = list_documents(database, name.rstrip("/"), limit + 1) if is_made else []
        if not found:
            raise DocumentError(f"{visible(name)} is not loaded; `embedding-assets documents` lists the collections")
        shown = found[:limit]
        show([asdict(one) for one in shown], _documents_table(shown), as_json=as_json)
        if len(found) > limit:
            err.print(f"Only the first {limit:,}; --limit shows more.", highlight=False)


def _collections_table(collections: list[CollectionSummary]) -> Table:
    table = Table("collection", "documents", "chunks", "incomplete", "loaded", "from", box=None)
    for one in collections:
        numbers = (f"{one.documents:,}", f"{one.chunks:,}", f"{one.incomplete:,}")
        loaded = "" if one.loaded_at is None else moment(one.loaded_at)
        name = "in none" if one.name is None else escape(visible(one.name))
        table.add_row(name, *numbers, loaded, escape(visible(one.root or "")))
    table.columns[0].overflow = table.columns[-1].overflow = "fold"
    table.columns[4].no_wrap = True
    return table


def _documents_table(found: list[DocumentSummary]) -> Table:
    table = Table("document", "chunks", "loaded", "state", box=None)
    for one in found:
        state = f"{one.rejected:,} rejected" if one.rejected else "" if one.is_complete else "not read to its end"
        table.add_row(escape(visible(one.origin)), f"{one.chunks:,}", moment(one.loaded_at), state)
    table.columns[0].overflow = "fold"
    return table


def forget(
    name: Annotated[str, typer.Argument(help="A collection, or a document or folder of it: COLLECTION/PATH.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove documents with their chunks and vectors; their files stay as they are."""
    from embedding_assets.postgres.chunks import check_is_own
    from embedding_assets.postgres.documents import count_named, forget_collection, list_documents
    from embedding_assets.postgres.source_records import remove_documents

    name = name.rstrip("/")
    with table_session() as (_, database):
        check_is_own(database)
        count, chunks = count_named(database, name)
        if not count:
            raise DocumentError(f"{visible(name)} is not loaded; `embedding-assets documents` lists the collections")
        confirm(f"{counted(count, 'document')} and {counted(chunks, 'chunk')} of {visible(name)} will go.", yes=yes)
        removed = 0
        while found := list_documents(database, name, _FORGOTTEN_TOGETHER):
            removed += remove_documents(database, [one.origin for one in found])
        forget_collection(database, name)
        line = f"{escape(visible(name))}: {counted(count, 'document')} and {counted(removed, 'chunk')} removed."
        show({"name": name, "documents": count, "chunks": removed}, line, as_json=as_json)
