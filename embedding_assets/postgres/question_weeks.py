"""How many questions were asked in a week, and how many of them found nothing that stands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database


@dataclass(frozen=True, slots=True)
class QuestionWeek:
    """The questions of one week in one space.

    Attributes:
        monday: on which the week begins in UTC.
        space: name of the space that was searched.
        questions: whose best score was compared with those of chunks picked at random.
        low: those of them whose best score is not clearly higher.
    """

    monday: date
    space: str
    questions: int
    low: int

    @property
    def share(self) -> float:
        """Of low ones."""
        return self.low / self.questions if self.questions else 0.0


def add_questions(database: Database, counts: Mapping[tuple[date, str], tuple[int, int]]) -> None:
    """Add numbers of questions, and of low ones, by week and space; those of a space that is gone are dropped.

    Raises:
        DatabaseError: PostgreSQL cannot be reached, or this role may not write there.
    """
    # In one order, so that processes wait for each other and never in a circle.
    rows = [(monday, space, *numbers) for (monday, space), numbers in sorted(counts.items())]
    mondays, spaces, questions, low = map(list, zip(*rows, strict=True))
    query = """
        INSERT INTO embedding_question_weeks AS kept (monday, space, questions, low)
        SELECT monday, space, questions, low
        FROM unnest(%s::date[], %s::text[], %s::bigint[], %s::bigint[]) AS added (monday, space, questions, low)
        JOIN embedding_spaces ON name = space ORDER BY monday, space
        ON CONFLICT (monday, space) DO UPDATE
        SET questions = kept.questions + excluded.questions, low = kept.low + excluded.low
    """
    database.run(lambda connection: connection.execute(query, [mondays, spaces, questions, low]))


def list_question_weeks(database: Database, weeks: int) -> list[QuestionWeek]:
    """Those of the last ``weeks`` weeks up to the last question, oldest first."""
    query = """
        SELECT monday, space, questions, low FROM embedding_question_weeks
        WHERE monday > (SELECT max(monday) FROM embedding_question_weeks) - 7 * %s ORDER BY monday, space
    """
    rows = database.run(lambda connection: connection.execute(query, [weeks]).fetchall())
    return [QuestionWeek(*row) for row in rows]
