"""Requests to an API that does not exist: asked for, let through, overtaken by time."""

import pytest
from psycopg import sql

from embedding_assets.postgres.usage.admission import Admitted, Wait
from embedding_assets.postgres.usage.endpoints import Endpoint, lock_endpoint
from embedding_assets_tests.support.admission import NO_BUDGET, NO_LIMITS, admit, api_request


@pytest.fixture
def ask(database):
    """Ask for admission of a request."""

    def ask(limits=NO_LIMITS, budget=NO_BUDGET, *, probe=False, question=False, **changes) -> Admitted | Wait:
        request = api_request(**changes)
        return admit(database, request, limits, budget, lifetime_seconds=600, probe=probe, question=question)

    return ask


@pytest.fixture
def enter(ask):
    """Ask for admission of a request that must be admitted; returns its reservation."""

    def enter(*arguments, **changes) -> int:
        verdict = ask(*arguments, **changes)
        assert isinstance(verdict, Admitted), verdict
        return verdict.reservation

    return enter


@pytest.fixture
def pass_time(beside):
    """Let seconds go by for all that is in the tables."""

    def pass_time(seconds: float) -> None:
        for table, names in (
            ("embedding_usage", ["created_at", "expires_at"]),
            ("embedding_endpoints", ["refilled_at", "blocked_until", "failing_since", "failed_at", "open_until"]),
        ):
            changes = sql.SQL(", ").join(
                sql.SQL("{0} = {0} - {1} * interval '1 second'").format(sql.Identifier(name), sql.Literal(seconds))
                for name in names
            )
            beside.execute(sql.SQL("UPDATE {} SET {}").format(sql.Identifier(table), changes))

    return pass_time


@pytest.fixture
def endpoint(database):
    """The endpoint as it is now."""

    def read(name="e") -> Endpoint:
        return database.run(lambda connection: lock_endpoint(connection, name))

    return read
