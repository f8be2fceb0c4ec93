"""What was learned of a server: kept for a day, the lowest limits together with the latest pace."""

import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.usage.endpoints import lock_endpoint
from embedding_assets.postgres.usage.learned import Learned, read_learned, save_learned
from embedding_assets_tests.support.tables import run_sql

FIRST = Learned(64, 2, most_inputs=None, floats=False)


def age(beside, hours: float) -> None:
    beside.execute("UPDATE embedding_endpoints SET learned_at = learned_at - %s * interval '1 hour'", [hours])


def test_nothing_is_known_of_a_server_that_was_not_asked(database):
    assert read_learned(database, "e") is None
    database.run(lambda connection: lock_endpoint(connection, "e"))
    assert read_learned(database, "e") is None


@pytest.mark.parametrize(
    ("later", "known"),
    [
        (Learned(512, 4, None, floats=False), Learned(512, 4, None, floats=False)),
        (Learned(32, 2, 32, floats=True), Learned(32, 2, 32, floats=True)),
    ],
)
def test_the_latest_counts(database, later, known):
    for learned in (FIRST, later):
        save_learned(database, "e", learned)
    assert read_learned(database, "e") == known
    assert read_learned(database, "another") is None


def test_who_has_not_met_a_limit_does_not_raise_it(database):
    save_learned(database, "e", Learned(32, 2, 32, floats=True))
    save_learned(database, "e", Learned(16, 4, None, floats=False))
    assert read_learned(database, "e") == Learned(16, 4, 32, floats=True)
    save_learned(database, "e", Learned(50, 4, 50, floats=False))
    assert read_learned(database, "e") == Learned(50, 4, 32, floats=True)


def test_after_a_day_all_is_forgotten_however_often_it_was_kept(database, beside):
    save_learned(database, "e", Learned(32, 2, 32, floats=True))
    age(beside, 23)
    save_learned(database, "e", FIRST)
    assert read_learned(database, "e") == Learned(64, 2, 32, floats=True)
    age(beside, 2)
    assert read_learned(database, "e") is None
    save_learned(database, "e", FIRST)
    assert read_learned(database, "e") == FIRST


def test_an_endpoint_of_the_version_before_is_kept(empty_url, settings, monkeypatch):
    with Database(empty_url, settings.database) as database:
        with monkeypatch.context() as patch:
            patch.setattr("embedding_assets.postgres.schema.HEAD", "0006")
            migrate(database)
        run_sql(empty_url, "INSERT INTO embedding_endpoints (name, requests_learned) VALUES ('e', 600)")
        assert migrate(database)
        assert read_learned(database, "e") is None
        save_learned(database, "e", FIRST)
        assert read_learned(database, "e") == FIRST
        assert database.run(lambda connection: lock_endpoint(connection, "e")).requests.learned == 600
