"""`adopt`: a table of the user's, embedded in place; what that takes is shown first."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from embedding_assets.cli.console import Json, err, out, session, show
from embedding_assets.config import Settings, TableConfig
from embedding_assets.errors import ConfigurationError
from embedding_assets.formatting import counted, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedding_assets.postgres.adopting import Adoption, Step
    from embedding_assets.postgres.connection import Database


_NOTHING_CHANGED = "Nothing was changed. Do it with [bold]--yes[/bold]."


def adopt(
    table: Annotated[str | None, typer.Argument(help="As in SQL: articles, shop.notes, 'shop.\"Notes\"'.")] = None,
    *,
    key: Annotated[str | None, typer.Option(help="Columns that identify a row. Default: the primary key.")] = None,
    text: Annotated[
        str | None, typer.Option(help=r"The column to embed, or a template: 'Title: {title}\n{body}'.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="Columns that searches show and filter by.")] = None,
    where: Annotated[str | None, typer.Option(help="Embed only rows for which this SQL condition holds.")] = None,
    column: Annotated[
        str | None, typer.Option(help="Column for the vectors: new, or one that is there. Default: embedding.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Leave the table as it was before.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only shown.")] = False,
    as_json: Json = False,
) -> None:
    """Embed a table of yours as it is: see what that takes, then do it with --yes.

    The table gets one column of vectors, three indexes and a trigger; everything else is kept in a schema apart. Lists
    of columns are separated by commas. On a terminal it asks for what is not said.
    """
    from embedding_assets.postgres.adopting import adopt as adopt_table
    from embedding_assets.postgres.adopting import plan_adoption
    from embedding_assets.postgres.bootstrap import resolve_url
    from embedding_assets.postgres.connection import Database

    said = {"relation": table, "key": key, "text": text, "metadata": metadata, "where": where, "column": column}
    asks = sys.stdin.isatty() and err.is_terminal and not as_json and not yes
    with session() as environment:
        settings = environment.with_group("source", **{name: one for name, one in said.items() if one is not None})
        with Database(resolve_url(settings), settings.database, settings.source) as database:
            if undo:
                _undo(database, settings.source.relation, asks=asks, yes=yes, as_json=as_json)
                return
            config = _completed(database, settings) if asks else settings.source
            plan = plan_adoption(database, config)
            if not yes:
                _show_plan(plan, asks=asks, as_json=as_json)
            if yes or (asks and typer.confirm("Do it?", err=True)):
                adopt_table(database, config)
                _show_done(plan, is_default=_is_default(settings, plan), as_json=as_json)


def _undo(database: Database, relation: str | None, *, asks: bool, yes: bool, as_json: bool) -> None:
    from embedding_assets.postgres.adopting import plan_undoing, undo_adoption

    if relation is None:
        if database.table.is_own:
            raise ConfigurationError("say which table is to be as it was: embedding-assets adopt --undo TABLE")
        relation = str(database.table)
    table, steps = plan_undoing(database, relation)
    if not yes:
        _show_steps(f"Undoing the adoption of {table} takes", steps, as_json=as_json)
        if not (asks or as_json):
            out.print(_NOTHING_CHANGED)
    if yes or (asks and typer.confirm("Do it?", err=True)):
        undo_adoption(database, str(table))
        show({"done": True, "table": str(table)}, f"{table} is as it was before.", as_json=as_json)


def _completed(database: Database, settings: Settings) -> TableConfig:
    """The configuration with what was asked for on the terminal."""
    from embedding_assets.postgres.adopting import candidates
    from embedding_assets.postgres.inspection import look_at

    config = settings.source
    with database.session() as connection:
        relation = config.relation
        if relation is None:
            found = candidates(connection)
            if not found:
                raise ConfigurationError("this database has no table of this role's with a text")
            err.print(f"Tables with a text: {', '.join(found)}", highlight=False, markup=False)
            relation = typer.prompt("Table", default=found[0] if len(found) == 1 else None, err=True)
        seen = look_at(connection, relation)
    changes: dict[str, object] = {"relation": relation}
    if config.text is None:
        err.print(f"Columns: {', '.join(seen.columns)}", highlight=False, markup=False)
        default = seen.texts[0] if len(seen.texts) == 1 else None
        changes["text"] = typer.prompt(
            "Text, a column or a template such as {title}\\n{body}", default=default, err=True
        )
        changes["metadata"] = _prompt("Columns that searches show and filter by, with commas (Enter: none)")
        changes["where"] = _prompt("Only rows for which this holds, as behind WHERE (Enter: all)") or None
    return settings.with_group("source", **changes).source


def _prompt(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False, err=True))


def _show_plan(plan: Adoption, *, asks: bool, as_json: bool) -> None:
    if as_json:
        show(_document(plan, done=False), "", as_json=True)
        return
    rows = "" if plan.rows < 0 else f" (about {counted(plan.rows, 'row')})"
    _show_steps(f"Adopting {plan.table}{rows} takes", plan.steps, as_json=False)
    _show_steps("The first run of `embedding-assets embed` then does", plan.later, as_json=False)
    for name in plan.filled:
        out.print(
            f"Column {name} has vectors and is left alone; to go on with them, say --column {name}.",
            highlight=False,
            markup=False,
        )
    if not asks:
        out.print(_NOTHING_CHANGED)


def _show_steps(title: str, steps: Sequence[Step], *, as_json: bool) -> None:
    if as_json:
        show({"done": False, "steps": [asdict(step) for step in steps]}, "", as_json=True)
        return
    out.print(f"{title}:", style="bold", highlight=False, markup=False)
    for number, step in enumerate(steps, start=1):
        lasts = f"about {duration(step.seconds)}" if step.seconds >= 1 else "a moment"
        lock = f"{step.lock} lock, which keeps out {step.blocks}, for {lasts}" if step.lock else "no lock on the table"
        # In one line, which can be copied; the terminal wraps it.
        out.print(Text(f"  {number}. {step.sql}"), soft_wrap=True)
        out.print(Text(f"     {lock}", style="dim"), soft_wrap=True)
    out.print()


def _is_default(settings: Settings, plan: Adoption) -> bool:
    """True if commands lead to the table without EMBEDDING_TABLE, or with it as it is."""
    from embedding_assets.postgres.bootstrap import resolve_url
    from embedding_assets.postgres.connection import Database

    with Database(resolve_url(settings), settings.database) as database:
        try:
            return str(database.table) == str(plan.table)
        except ConfigurationError:
            return False


def _show_done(plan: Adoption, *, is_default: bool, as_json: bool) -> None:
    chosen = "" if is_default else f"export EMBEDDING_TABLE={shlex.quote(str(plan.table))}\n      "
    view = Text.assemble(
        (f"{plan.table} is adopted", "bold"),
        f": key {', '.join(column.name for column in plan.table.key)}, records in schema {plan.table.records}.\nNext: ",
        chosen,
        ("embedding-assets embed", "bold"),
    )
    if as_json:
        show(_document(plan, done=True), "", as_json=True)
    else:
        out.print(view, soft_wrap=True)


def _document(plan: Adoption, *, done: bool) -> dict[str, object]:
    table = plan.table
    return {
        "done": done,
        "table": str(table),
        "key": [column.name for column in table.key],
        "text": table.template,
        "metadata": [column.name for column in table.metadata],
        "where": table.where,
        "column": table.vectors,
        "records": table.records,
        "rows": plan.rows,
        "filled": list(plan.filled),
        "steps": [asdict(step) for step in plan.steps],
        "later": [asdict(step) for step in plan.later],
    }
