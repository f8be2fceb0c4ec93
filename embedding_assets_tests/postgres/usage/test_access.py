"""Roles and servers that only read: searches go on, requests are not counted, and limits in dollars are not ignored."""

import logging
from collections.abc import Iterator

import psycopg
import pytest

from embedding_assets import embed_pending, search
from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import DatabasePermissionError, ProviderUnavailableError
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.url import normalize_url
from embedding_assets.postgres.usage.access import may_write_ledger
from embedding_assets.postgres.usage.ledger import total_costs
from embedding_assets_tests.support.api_runs import configure
from embedding_assets_tests.support.calls import embed, make_provider
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.tables import as_role
from fake_api.server import ApiServer

TEXTS = ["the cat sat on the mat", "stock prices fell", "a recipe for bread"]
GRANT = "GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def become(url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", normalize_url(url))
    return get_settings()


@pytest.fixture(params=["without rights", "read-only by default"])
def read_only_url(
    role: str, request: pytest.FixtureRequest, database_url: str, beside: psycopg.Connection
) -> Iterator[str]:
    """The database as seen by a role that only reads."""
    if request.param == "without rights":
        beside.execute(f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}")
        beside.execute(GRANT.format(role=role))
    else:
        beside.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {role}")
        beside.execute(GRANT.format(role=role).replace("SELECT", "ALL"))
        beside.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    yield as_role(database_url, role)
    beside.execute(f"DROP OWNED BY {role}")


def test_a_search_with_a_local_model(settings, database, read_only_url, monkeypatch):
    insert_chunks(database, TEXTS)
    embed_pending(settings=settings)
    [best] = search("stock prices fell", k=1, settings=become(read_only_url, monkeypatch))
    assert best.text == "stock prices fell"


def test_a_search_with_an_api(settings, database, server, read_only_url, monkeypatch, caplog):
    insert_chunks(database, TEXTS)
    embed_pending(settings=configure(monkeypatch, server))
    before = total_costs(database)
    settings = become(read_only_url, monkeypatch)
    caplog.set_level(logging.WARNING, "embedding_assets")
    [best] = search("stock prices fell", k=1, settings=settings)
    assert best.text == "stock prices fell"
    assert sum("are not counted" in message for message in caplog.messages) == 1
    assert total_costs(database) == before
    limited = settings.with_group("budget", usd_per_day="5")
    sent = server.requests
    with pytest.raises(DatabasePermissionError, match=r"EMBEDDING_BUDGET_.*rights on"):
        search("stock prices fell", k=1, settings=limited)
    assert server.requests == sent


def test_who_may_write_the_ledger(database, role, database_url, beside):
    assert may_write_ledger(database)
    beside.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    beside.execute(f"GRANT ALL ON embedding_usage, embedding_endpoints TO {role}")
    with open_as(database_url, role) as other:
        beside.execute(f"GRANT SELECT, INSERT ON embedding_spending TO {role}")
        assert not may_write_ledger(other)
        beside.execute(f"GRANT UPDATE ON embedding_spending TO {role}")
        beside.execute(f"GRANT SELECT ON knowledge_base TO {role}")
        assert may_write_ledger(other)
    beside.execute(f"DROP OWNED BY {role}")


def open_as(url: str, role: str) -> Database:
    settings = get_settings()
    return Database(as_role(url, role), settings.database)


def test_many_requests_that_are_not_counted(server, database, read_only_url, monkeypatch):
    texts = [f"text {number}" for number in range(300)]
    with open_database(become(read_only_url, monkeypatch)) as reader:
        provider = make_provider(server, reader, max_inputs=16)
        assert len(embed(provider, texts).vectors) == 300
        provider.close()


def test_an_outage_ends_in_time(server, database, read_only_url, monkeypatch):
    with open_database(become(read_only_url, monkeypatch)) as reader:
        provider = make_provider(server, reader, retry_seconds=2)
        server.outage = True
        with pytest.raises(ProviderUnavailableError):
            embed(provider, ["a text"])
        server.outage = False
        assert len(embed(provider, ["a text"]).vectors) == 1
        provider.close()


def test_a_replica_serves_searches(folder, server, monkeypatch, caplog):
    url = start_embedded_server(folder)
    settings = configure(monkeypatch, server)
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", normalize_url(url))
    settings = get_settings()
    with open_database(settings) as primary:
        insert_chunks(primary, TEXTS)
    embed_pending(settings=settings)
    stop_embedded_server(folder)
    (folder / "postgres" / "standby.signal").touch()
    start_embedded_server(folder)
    with open_database(settings) as replica:
        assert replica.run(lambda c: c.execute("SELECT pg_is_in_recovery()").fetchone()) == (True,)
        assert not may_write_ledger(replica)
        with pytest.raises(DatabasePermissionError, match="replica"):
            insert_chunks(replica, ["more"])
    caplog.set_level(logging.WARNING, "embedding_assets")
    [best] = search("stock prices fell", k=1, settings=settings)
    assert best.text == "stock prices fell"
    assert any("are not counted" in message for message in caplog.messages)
    stop_embedded_server(folder)
