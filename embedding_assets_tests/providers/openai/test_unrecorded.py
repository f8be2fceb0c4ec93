"""Answers that are paid for while the ledger fails: handed over first, recorded when that is possible again."""

from __future__ import annotations

import psycopg
import pytest

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.api_runs import usage
from embedding_assets_tests.support.calls import Result, assert_embedded, embed, make_provider
from embedding_assets_tests.support.ledger_failures import unsettleable
from fake_api.server import ApiServer, Fault

TEXTS = [f"text {number}" for number in range(80)]


def test_all_that_was_in_flight_is_delivered_and_recorded_later(
    server: ApiServer, database: Database, beside: psycopg.Connection
):
    provider = make_provider(server, database, max_inputs=10, concurrency=4)
    embed(provider, ["first"])  # from here on, several are in flight
    server.latency_seconds = 0.5
    result = Result()
    with unsettleable(beside), pytest.raises(DatabaseError, match="raised an exception"):
        embed(provider, TEXTS, into=result)
    assert len(result.vectors) == 10 * (server.requests - 1) >= 10
    assert_embedded(result, TEXTS, but=[index for index in range(len(TEXTS)) if index not in result.vectors])
    assert result.usd == pytest.approx(float(server.bill_usd), rel=0.1)
    assert usage(beside)["reserved"].requests == server.requests - 1
    beside.commit()

    assert_embedded(embed(provider, ["later"]), ["later"])
    assert usage(beside).keys() == {"settled"}
    assert usage(beside)["settled"].tokens == server.billed_tokens


def test_an_outcome_that_is_not_an_answer_is_recorded_later_too(
    server: ApiServer, database: Database, beside: psycopg.Connection
):
    provider = make_provider(server, database)
    server.faults.script.append(Fault.DROP_AFTER)
    with unsettleable(beside), pytest.raises(DatabaseError):
        embed(provider, ["lost"])
    assert_embedded(embed(provider, ["later"]), ["later"])
    assert {state: one.requests for state, one in usage(beside).items()} == {"settled": 1, "presumed": 1}


def test_while_it_still_fails_nothing_more_is_sent(server: ApiServer, database: Database, beside: psycopg.Connection):
    provider = make_provider(server, database)
    with unsettleable(beside):
        for _ in range(2):
            with pytest.raises(DatabaseError):
                embed(provider, ["a text"])
    assert server.requests == 1
