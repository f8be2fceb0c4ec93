"""The commands ``embedding-assets spaces``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from embedding_assets.cli import progress, tables
from embedding_assets.cli.console import Json, confirm, err, looking_session, out, print_json, show, table_session
from embedding_assets.errors import ConfigurationError
from embedding_assets.formatting import megabytes

Name = Annotated[str, typer.Argument(help="Name or slug of the space, or how it begins.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Force = Annotated[bool, typer.Option("--force", help="Even if searches or settings need it.")]

spaces_app = typer.Typer(rich_markup_mode="rich", invoke_without_command=True)


@spaces_app.callback()
def spaces(context: typer.Context, as_json: Json = False) -> None:
    """List the vector spaces: model, column, index, how much each has embedded, which one serves searches."""
    from embedding_assets.postgres.backlog import count_backlog
    from embedding_assets.postgres.catalog import describe_index
    from embedding_assets.postgres.spaces import list_spaces
    from embedding_assets.providers.space_selection import configured_space

    context.obj = as_json
    if context.invoked_subcommand is not None:
        return
    with looking_session() as (settings, database, is_made):
        configured = configured_space(settings, database) if is_made else None
        found = [
            (column, count_backlog(database, column), describe_index(database, column.index))
            for column in (list_spaces(database) if is_made else [])
        ]
        document = [
            {
                "name": column.space.name,
                "configured": column.space.name == configured,
                "column": asdict(column),
                "backlog": asdict(backlog),
                "index": asdict(index),
            }
            for column, backlog, index in found
        ]
        if as_json:
            print_json(document)
        else:
            out.print(tables.spaces_view(found, configured), soft_wrap=True)


@spaces_app.command()
def use(
    context: typer.Context,
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Even if searches then miss chunks, or take long.")] = False,
    as_json: Json = False,
) -> None:
    """Let a space serve searches. The one before keeps its column and index, so this can be taken back."""
    from embedding_assets.postgres.spaces import list_spaces, match_space, serve_space
    from embedding_assets.providers.space_selection import configured_space

    with table_session() as (settings, database):
        column = match_space(list_spaces(database), name)
        if not column.serving:
            serve_space(database, column, force=force)
        configured = configured_space(settings, database)
        if as_json or context.obj:
            print_json({"serving": column.space.name, "changed": not column.serving, "configured": configured})
            return
        state = "serves searches already" if column.serving else "serves searches now"
        out.print(f"{escape(column.space.name)} {state}.", highlight=False, soft_wrap=True)
        if configured != column.space.name:
            err.print(
                f"New chunks are embedded in {configured or 'another space'}, as the settings say, and not found by "
                "searches. Unset EMBEDDING_PROVIDER and the model to embed them where searches look.",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )


@spaces_app.command()
def rename(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Give a space the server or the folder that the settings name now. Nothing is embedded again.

    For an API at a new address, a server that gets a name (EMBEDDING_OPENAI_SERVER), or a model's folder of another
    name. A few vectors are computed there and compared first.
    """
    from embedding_assets.health.audit import confirm_model, open_judge
    from embedding_assets.postgres.space_changes import rename_space
    from embedding_assets.postgres.spaces import list_spaces, match_space
    from embedding_assets.providers.renaming import select_renamed

    as_json = as_json or context.obj
    with table_session() as (settings, database):
        column = match_space(list_spaces(database), name)
        selection = select_renamed(settings, column, database)
        before, space = column.space, selection.column.space
        with progress.spinner(err, "comparing", quiet=as_json or not err.is_terminal):
            compared = confirm_model(database, column, open_judge(selection))
        [changed] = space.differences(before)
        consequence = (
            f"Space {before.name} will be called {space.name}: "
            f"{changed} {getattr(before, changed)} becomes {getattr(space, changed)}."
        )
        if compared:
            consequence += f" {compared} of its vectors were computed there, and are the same."
        confirm(consequence, yes=yes)
        rename_space(database, column, space)
        document = {"before": before.name, "name": space.name, "changed": changed, "compared": compared}
        show(document, f"{escape(before.name)} is called {escape(space.name)} now.", as_json=as_json)


@spaces_app.command()
def drop(context: typer.Context, name: Name, yes: Yes = False, force: Force = False, as_json: Json = False) -> None:
    """Drop a space: its vectors, its index, and the records of its runs. What it has cost stays in the ledger."""
    from embedding_assets.postgres.backlog import count_backlog
    from embedding_assets.postgres.catalog import describe_index
    from embedding_assets.postgres.space_changes import drop_space
    from embedding_assets.postgres.spaces import list_spaces, match_space
    from embedding_assets.providers.space_selection import configured_space

    as_json = as_json or context.obj
    with table_session() as (settings, database):
        column = match_space(list_spaces(database), name)
        space = column.space
        uses = ["serves searches"] if column.serving else []
        uses += ["is the one that the settings lead to"] if configured_space(settings, database) == space.name else []
        if uses and not force:
            raise ConfigurationError(
                f"space {space.name} {' and '.join(uses)}; let another serve searches (`embedding-assets spaces use`) "
                "and change the settings first, or use --force"
            )
        vectors = count_backlog(database, column).embedded
        size = vectors * column.vector_bytes + describe_index(database, column.index).size_bytes
        confirm(f"{vectors:,} vectors of space {space.name} and its index, {megabytes(size)}, will be gone.", yes=yes)
        drop_space(database, column)
        document = {"dropped": space.name, "vectors": vectors, "size_bytes": size}
        view = f"Dropped {escape(space.name)}. PostgreSQL uses its room again as rows are rewritten."
        show(document, view, as_json=as_json)


@spaces_app.command("accept-recall")
def accept_recall(
    context: typer.Context,
    name: Name,
    as_json: Json = False,
) -> None:
    """Accept the recall of a space's index as it is now: the check [bold]recall_drop[/bold] compares with it later."""
    from embedding_assets.postgres.index.lifecycle import accept_recall as accept
    from embedding_assets.postgres.spaces import list_spaces, match_space

    with table_session() as (settings, database):
        column = match_space(list_spaces(database), name)
        with progress.spinner(err, "measuring", quiet=as_json or context.obj or not err.is_terminal):
            accepted = accept(database, column, settings.index)
        search = accepted.search
        recall = {"recall": search.recall, "recall_low": search.recall_low, "recall_high": search.recall_high}
        document = {"space": accepted.space, **recall, "measured_at": accepted.measured_at}
        view = f"{escape(accepted.space)} is compared with a recall@10 of {search.recall:.3f} from now on."
        show(document, view, as_json=as_json or context.obj)
