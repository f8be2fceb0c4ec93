"""The command ``embedding-assets drift``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, looking_session, out, print_json
from embedding_assets.errors import ConfigurationError
from embedding_assets.formatting import counted, share

if TYPE_CHECKING:
    from embedding_assets.health.drift import Drift, WeekDrift
    from embedding_assets.postgres.question_weeks import QuestionWeek


def drift(
    weeks: Annotated[int, typer.Option(min=1, max=520, help="How many, up to that of the last load.")] = 26,
    as_json: Json = False,
) -> None:
    """Show by week whether what was loaded is about other things than before, and how many questions found little.

    By the cosine of mean vectors: a week "differs" if its mean is farther from that of all earlier ones than means of
    as many documents ever were that were drawn from both, in 200 draws. It is no fault: new subjects do that. Questions
    are those that `embedding-assets serve` has answered; "low" are those whose best score is not clearly higher than
    scores of chunks picked at random.
    """
    from embedding_assets.health.drift import measure_drift
    from embedding_assets.postgres.question_weeks import list_question_weeks

    with looking_session() as (_, database, is_made):
        if not is_made:
            raise ConfigurationError(database.table.emptiness)
        asked = list_question_weeks(database, weeks)
        questions = [{**asdict(week), "share": week.share} for week in asked]
        if not database.table.is_own and asked:
            # When its rows came is not known; when questions did is.
            if as_json:
                print_json({"weeks": [], "questions": questions})
            else:
                _show_questions(asked)
            return
        with progress.spinner(err, "reading vectors", quiet=as_json or not err.is_terminal):
            found = measure_drift(database, weeks)
        if as_json:
            differing = [{**asdict(week), "differs": week.differs} for week in found.weeks]
            print_json({**asdict(found), "weeks": differing, "questions": questions})
            return
        if found.weeks:
            out.print(_table(found.weeks))
            out.print(_sentence(found), highlight=False, soft_wrap=True)
        elif not found.undated:
            out.print("No chunk has a vector yet. Next: [bold]embedding-assets embed[/bold]")
        if found.undated:
            out.print(f"Left out: {counted(found.undated, 'chunk')} without a recorded load.", highlight=False)
        if asked:
            out.print()
            _show_questions(asked)


def _show_questions(asked: Sequence[QuestionWeek]) -> None:
    several = len({week.space for week in asked}) > 1
    table = Table("week of", "questions", "low", "share of low ones", *(["space"] if several else []), box=None)
    for week in asked:
        numbers = [f"{week.monday}", f"{week.questions:,}", f"{week.low:,}", share(week.share)]
        table.add_row(*numbers, *([escape(week.space)] if several else []))
    out.print(table)
    words = "Questions that `embedding-assets serve` answered; low: no better than chunks picked at random, or hardly."
    out.print(words, highlight=False, soft_wrap=True)


def _sentence(found: Drift) -> str:
    if len(found.weeks) == 1:
        return "All of them were loaded at one time: there is nothing to compare it with."
    return f"Cosine of the week's mean vector to that of all earlier chunks (space {escape(found.space)})."


def _table(found: Sequence[WeekDrift]) -> Table:
    table = Table("week of", "chunks", "documents", "looked at", "cosine", "lowest of 200 draws", "", box=None)
    for week in found:
        numbers = [f"{number:,}" for number in (week.chunks, week.documents, week.sampled)]
        cosines = ["" if value is None else f"{value:.3f}" for value in (week.cosine, week.lowest_drawn)]
        state = "[yellow]differs[/yellow]" if week.differs else ""
        table.add_row("before" if week.monday is None else f"{week.monday}", *numbers, *cosines, state)
    return table
