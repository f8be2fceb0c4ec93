"""What one process learns of a server, and the next one knows."""

from __future__ import annotations

import psycopg
import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai import provider as openai_provider
from embedding_assets_tests.support.calls import assert_embedded, embed, make_provider
from fake_api import dialects
from fake_api.server import ApiServer

TEXTS = [f"text {number}" for number in range(320)]


def test_the_next_process_knows_what_a_server_refuses(database: Database):
    with ApiServer(dialect=dialects.TextEmbeddingsInference()) as server:
        assert_embedded(embed(make_provider(server, database), TEXTS), TEXTS)
        refused = sum(one.status != 200 for one in server.served)
        assert refused > 0
        server.served.clear()
        assert_embedded(embed(make_provider(server, database), TEXTS), TEXTS)
        assert [(one.inputs, one.status) for one in server.served] == [(32, 200)] * 10
        server.served.clear()
        smaller = make_provider(server, database, max_inputs=10)
        assert_embedded(embed(smaller, TEXTS), TEXTS)
        assert max(one.inputs for one in server.served) == 10, "settings count, too"


def test_the_next_process_knows_that_base64_is_refused(database: Database):
    with ApiServer(dialect=dialects.Gateway()) as server:
        embed(make_provider(server, database), TEXTS[:1])
        server.served.clear()
        embed(make_provider(server, database), TEXTS[:1])
        assert [one.status for one in server.served] == [200]


def test_the_next_process_goes_on_at_the_same_pace(database: Database):
    with ApiServer() as server:
        embed(make_provider(server, database), TEXTS)
        server.served.clear()
        embed(make_provider(server, database), TEXTS)
        assert [one.inputs for one in server.served] == [320]


def test_a_server_that_was_upgraded_is_found_out_after_a_day(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    with ApiServer(dialect=dialects.TextEmbeddingsInference()) as server:
        provider = make_provider(server, database)
        embed(provider, TEXTS)
        server.dialect = dialects.Dialect()
        embed(provider, TEXTS)
        assert max(one.inputs for one in server.served if one.status == 200) == 32
        # For this process and for the database.
        monkeypatch.setattr(openai_provider, "_RECALL_SECONDS", 0.0)
        beside.execute("UPDATE embedding_endpoints SET learned_at = now() - interval '25 hours'")
        assert_embedded(embed(provider, TEXTS), TEXTS)
        assert max(one.inputs for one in server.served) > 64


def test_that_nothing_can_be_kept_is_no_error(
    database: Database, beside: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    with ApiServer() as server:
        provider = make_provider(server, database)
        embed(provider, TEXTS[:1])
        beside.execute("ALTER TABLE embedding_endpoints ADD CHECK (inputs IS NULL)")
        assert_embedded(embed(provider, TEXTS), TEXTS)
    assert "what was learned of the server is not kept" in caplog.text
