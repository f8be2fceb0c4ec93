"""Counts of questions are added up by week and space."""

from datetime import date

from embedding_assets.postgres.question_weeks import QuestionWeek, add_questions, list_question_weeks
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.tables import SMALL_SPACE

MONDAYS = [date(2026, 3, 2), date(2026, 3, 9), date(2026, 3, 23)]


def test_they_add_up(database):
    name = register_space(database, SMALL_SPACE).space.name
    add_questions(database, {(MONDAYS[0], name): (10, 2), (MONDAYS[1], name): (4, 4)})
    add_questions(database, {(MONDAYS[1], name): (6, 1), (MONDAYS[2], name): (1, 0)})
    whole = [QuestionWeek(MONDAYS[0], name, 10, 2), QuestionWeek(MONDAYS[1], name, 10, 5),
             QuestionWeek(MONDAYS[2], name, 1, 0)]  # fmt: skip
    assert list_question_weeks(database, 26) == whole
    assert [week.share for week in whole] == [0.2, 0.5, 0]
    assert list_question_weeks(database, 3) == whole[1:], "weeks without a question count too"
    assert list_question_weeks(database, 1) == whole[2:]


def test_those_of_a_space_that_is_gone_are_dropped(database):
    add_questions(database, {(MONDAYS[0], "gone"): (1, 1)})
    assert list_question_weeks(database, 26) == []
