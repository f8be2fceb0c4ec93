"""Conditions as a person types them, and as Python says them."""

import re
from datetime import date
from decimal import Decimal

import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions import Condition, conditions_of


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("lang=en", Condition("lang", "=", "en")),
        (" lang = en ", Condition("lang", "=", "en")),
        ("price<10", Condition("price", "<", "10")),
        ("price>=12.5", Condition("price", ">=", "12.5")),
        ("lang!=de", Condition("lang", "!=", "de")),
        ("title=a=b", Condition("title", "=", "a=b")),
        ("title=is null", Condition("title", "=", "is null")),
        ("title=x in (y)", Condition("title", "=", "x in (y)")),
        ("lang in (de, en)", Condition("lang", "in", ("de", "en"))),
        ("lang IN (de)", Condition("lang", "in", ("de",))),
        ("lang not in ('a, b', \"c\",d)", Condition("lang", "not in", ("a, b", "c", "d"))),
        ("draft is null", Condition("draft", "is null")),
        ("draft IS NOT NULL", Condition("draft", "is not null")),
        ("page.number=3", Condition("page.number", "=", "3")),
        ("lang=", Condition("lang", "=", "")),
        ("page == 3", Condition("page", "=", "3")),
        ("page<>3", Condition("page", "!=", "3")),
        ("title=<html>", Condition("title", "=", "<html>")),
        ("name = 'O''Reilly'", Condition("name", "=", "O'Reilly")),
        ('lang="en"', Condition("lang", "=", "en")),
        ("day >= '2024-05-01'", Condition("day", ">=", "2024-05-01")),
        ("title='", Condition("title", "=", "'")),
        ("""title='a' or 'b'""", Condition("title", "=", "'a' or 'b'")),
        ("""title in ('"a"')""", Condition("title", "in", ('"a"',))),
    ],
)
def test_what_a_person_types(text, condition):
    assert Condition.parse(text) == condition


@pytest.mark.parametrize("text", ["lang", "", "lang in ()", "=", "in (a)"])
def test_what_is_none(text):
    with pytest.raises(ConfigurationError, match=r"is not a condition|nothing between"):
        Condition.parse(text)


@pytest.mark.parametrize("text", ["price<", "price <= ", "price>", "year>="])
def test_nothing_to_be_less_or_more_than(text):
    with pytest.raises(ConfigurationError, match=r"a condition on '(price|year)' has nothing behind its [<>]"):
        Condition.parse(text)


def test_several_to_be_less_than():
    with pytest.raises(ConfigurationError, match="a condition on 'price' with < takes one value"):
        Condition("price", "<", (1, 2))


def test_fields_within_a_field():
    where = {"metadata": {"page": 3, "position": {"line": [1, 2], "slide": None}}}
    assert conditions_of(where) == (
        Condition("metadata.page", "=", 3),
        Condition("metadata.position.line", "in", (1, 2)),
        Condition("metadata.position.slide", "is null"),
    )
    with pytest.raises(ConfigurationError, match=r"'a\.b' is compared with list"):
        conditions_of({"a": {"b": []}})


def test_a_long_text_is_cut_in_the_message():
    with pytest.raises(ConfigurationError) as caught:
        Condition.parse("x" * 5000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", float("nan"), float("inf"), Decimal("nan")])
def test_what_no_row_can_have(value):
    with pytest.raises(ConfigurationError, match=r"cannot store|is no number"):
        Condition("field", "=", value)


def test_conditions_of_a_mapping():
    where = {"draft": True, "price": 12.5, "lang": ["de", "en"], "gone": None, "day": date(2024, 5, 1)}
    assert conditions_of(where) == (
        Condition("draft", "=", True),
        Condition("price", "=", 12.5),
        Condition("lang", "in", ("de", "en")),
        Condition("gone", "is null"),
        Condition("day", "=", date(2024, 5, 1)),
    )
    for value in ({}, [], [[1]], object()):
        with pytest.raises(ConfigurationError, match="'field' is compared with"):
            conditions_of({"field": value})


def test_one_condition_alone():
    wanted = (Condition("price", "<", "10"),)
    assert conditions_of("price<10") == conditions_of(wanted[0]) == conditions_of(["price<10"]) == wanted
    assert conditions_of(None) == conditions_of("lang=de" for _ in range(0)) == ()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (5, "where: int is not a condition; give a text such as 'price<10'"),
        ([5], "where: int is not a condition"),
        ([None], "where: NoneType is not a condition"),
        (b"a=b", "where: int is not a condition"),
        ([["a=b"]], "where: list is not a condition"),
        ({5: "a"}, "where: a field's name is a text, but one is int"),
        ({"a": {None: 1}}, "where: a field's name is a text, but one is NoneType"),
        ("price", "'price' is not a condition"),
    ],
)
def test_of_another_type(where, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        conditions_of(where)


def test_a_key_given_twice_is_an_or():
    assert conditions_of(["lang=de", "price<5", "lang=en", "price>1"]) == (
        Condition("lang", "in", ("de", "en")),
        Condition("price", "<", "5"),
        Condition("price", ">", "1"),
    )
