"""The command ``embedding-assets duplicates``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, looking_session, out, print_json
from embedding_assets.errors import ConfigurationError
from embedding_assets.formatting import counted, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embedding_assets.postgres.duplicates.equal_texts import EqualTexts
    from embedding_assets.postgres.duplicates.near import NearDuplicates
    from embedding_assets.postgres.duplicates.place import Place

_AT_LEAST: Final = 0.97
_SHOWN: Final = 5
"""Places of a group that are named."""

_CHARACTERS: Final = 120
"""Of a text that are shown."""


def duplicates(
    at_least: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=1.0, help=f"Least cosine of two chunks that are nearly the same. Default: {_AT_LEAST}."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most groups of each kind, the largest first.")] = 10,
    look_at: Annotated[
        int, typer.Option(min=1, max=200_000, help="Chunks to look for near-duplicates of, among all others.")
    ] = 5_000,
    as_json: Json = False,
) -> None:
    """List chunks that say the same: equal texts, and texts whose vectors are nearly the same.

    All texts are compared, blanks aside. Near-duplicates are found by the vector index of the space that serves
    searches, which may miss some; the output says how many chunks were looked at. Nothing is changed.
    """
    from embedding_assets.postgres.duplicates.equal_texts import find_equal_texts
    from embedding_assets.postgres.duplicates.near import NearDuplicates, find_near_duplicates, prepare

    with looking_session() as (settings, database, is_made):
        if not is_made:
            raise ConfigurationError(database.table.emptiness)
        # First: what cannot be done is known at once.
        search = prepare(database, at_least=at_least or _AT_LEAST, most=look_at, ef_search=settings.index.ef_search)
        if isinstance(search, NearDuplicates) and at_least is not None:
            raise ConfigurationError(f"--at-least: {search.reason}")
        with progress.spinner(err, "reading texts", quiet=as_json or not err.is_terminal):
            equal = find_equal_texts(database, limit)
        if isinstance(search, NearDuplicates):
            near = search
        else:
            due = len(search.keys)
            with progress.bar(err, "comparing", due, quiet=as_json or not due) as advance:
                near = find_near_duplicates(database, search, limit, advance)
        if as_json:
            print_json({"equal_texts": asdict(equal), "near_duplicates": asdict(near)})
        else:
            # Names are left to the terminal to wrap, so that they can be copied.
            out.print(Group(*_equal_view(equal), Text(), *_near_view(near)), highlight=False, soft_wrap=True)


def _equal_view(equal: EqualTexts) -> Iterable[RenderableType]:
    if not equal.groups_in_all:
        yield Text(f"Equal texts: none among {counted(equal.rows, 'chunk')}.")
        return
    yield Text(
        f"Equal texts: {counted(equal.groups_in_all, 'group')}; {equal.repeats:,} of {counted(equal.rows, 'chunk')} "
        "repeat another."
    )
    for group in equal.groups:
        yield Text()
        yield Text.assemble(
            (f"{group.rows:,} times", "bold green"), "  ", _snippet(group.places[0]) if group.places else ""
        )
        yield from (Text.assemble("    ", *_name(place)) for place in group.places[:_SHOWN])
        yield from _more(group.rows - min(len(group.places), _SHOWN))
    yield from _more_groups(equal.groups_in_all - len(equal.groups))


def _near_view(near: NearDuplicates) -> Iterable[RenderableType]:
    if near.reason:
        yield Text(f"Near-duplicates: not looked for, because {near.reason}.")
        return
    found = counted(near.groups_in_all, "group") if near.groups_in_all else "none"
    yield Text(
        f"Near-duplicates, cosine at least {near.at_least:g}: {found}. {counted(near.looked_at, 'chunk')} looked at, "
        f"{near.left_out:,} left out (space {near.space})."
    )
    for group in near.groups:
        yield Text()
        span = f"{group.highest:.3f}" if group.highest == group.lowest else f"{group.highest:.3f} to {group.lowest:.3f}"
        yield Text.assemble((span, "bold green"), f"  {counted(group.chunks, 'chunk')}")
        for place in group.places[:_SHOWN]:
            yield Text.assemble("    ", *_name(place))
            yield Text(f"      {_snippet(place)}", style="dim")
        yield from _more(group.chunks - min(len(group.places), _SHOWN))
    yield from _more_groups(near.groups_in_all - len(near.groups))
    if near.by_index:
        yield Text("\nNote: the index finds most neighbours, not all: there may be more.", style="dim")
    if near.left_out:
        yield Text("Note: --look-at looks at more chunks.", style="dim")
    if near.crowded:
        yield Text(
            f"Note: of {counted(near.crowded, 'chunk')} all neighbours that were asked for are that near: they may "
            "have more.",
            style="dim",
        )


def _name(place: Place) -> list[str | tuple[str, str]]:
    from embedding_assets.retrieval.answer import name_of_key

    source = visible(" ".join((place.source or name_of_key(place.key) or place.chunk_hash).split()))
    header = visible(" ".join(place.header.split()))
    return [source, *([("  " + header, "bold")] if header else [])]


def _snippet(place: Place) -> str:
    from embedding_assets.retrieval.snippet import snippet_of

    return visible(snippet_of(place.text, "", characters=_CHARACTERS).text)


def _more(count: int) -> Iterable[RenderableType]:
    if count > 0:
        yield Text(f"    and {count:,} more", style="dim")


def _more_groups(count: int) -> Iterable[RenderableType]:
    if count > 0:
        yield Text(f"\nOnly the largest groups are shown; --limit shows more of the other {count:,}.", style="dim")
