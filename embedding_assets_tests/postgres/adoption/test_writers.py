"""Programs that write to the table while it is embedded: no vector is ever that of another text, and no write fails."""

import os
import subprocess
import sys
import time

import psycopg
import pytest

from embedding_assets.config import Settings, TableConfig
from embedding_assets.postgres.adopting import adopt
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import serving_space
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.shop import SPACE, embed, opened, stale
from embedding_assets_tests.support.writer_process import QUIET

SECONDS = int(os.environ.get("WRITERS_SECONDS", "15"))
"""For which they write; more with ``WRITERS_SECONDS``."""

TIDY = """
    CREATE TRIGGER tidy BEFORE UPDATE ON articles FOR EACH ROW WHEN (OLD.seen <> NEW.seen) EXECUTE FUNCTION tidy()
"""

CONFIG = TableConfig(relation="articles", text="body")


def replace_table(connection: psycopg.Connection, url: str, settings: Settings) -> None:
    """As a nightly reload does: a copy takes the table's name; who does that adopts the new one."""
    connection.execute("SELECT pg_advisory_lock(%s)", [QUIET])
    try:
        connection.execute("""
            BEGIN;
            CREATE TABLE loaded (LIKE articles INCLUDING ALL);
            INSERT INTO loaded SELECT * FROM articles;
            ALTER TABLE articles RENAME TO retired;
            ALTER TABLE loaded RENAME TO articles;
            DROP TABLE retired;
            COMMIT
        """)
        with Database(url, settings.database, CONFIG) as database:
            adopt(database, CONFIG)
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [QUIET])


@pytest.mark.timeout(SECONDS + 120)
def test_two_programs_and_a_swap(settings: Settings, beside: psycopg.Connection):
    url = settings.database.url.get_secret_value()
    beside.execute("CREATE TABLE articles (id bigint PRIMARY KEY, body text NOT NULL, seen int NOT NULL DEFAULT 0)")
    # As editors' programs have it: a text is derived, by a trigger that other columns set off.
    beside.execute("""
        CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.body := NEW.body || '.'; RETURN NEW; END $$
    """)
    beside.execute(TIDY)
    with Database(url, settings.database, CONFIG) as database:
        adopt(database, CONFIG)
    settings = settings.model_copy(update={"source": TableConfig(relation="articles")})
    with opened(settings) as database:
        embed(settings, database)
    command = [sys.executable, "-m", "embedding_assets_tests.support.writer_process", url, "articles", str(SECONDS)]
    writers = [
        processes.start([*command, seed], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in ("1", "2")
    ]
    slowly = FakeProvider(space=SPACE, spoil=lambda _, batch: (time.sleep(0.02), batch)[1])
    embedded = 0
    replaced = time.monotonic()
    while any(writer.poll() is None for writer in writers):
        with opened(settings) as database:
            embedded += embed(settings, database, slowly).embedded
        if time.monotonic() - replaced > SECONDS / 5:
            replace_table(beside, url, settings)
            beside.execute(TIDY)
            replaced = time.monotonic()
    for writer in writers:
        out, err = writer.communicate()
        assert writer.returncode == 0, err
        assert int(out) > 10 * SECONDS
    # They may have emptied the table just now.
    beside.execute("INSERT INTO articles (id, body) SELECT -id, 'text ' || id FROM generate_series(1, 60) AS id")
    with opened(settings) as database:
        embed(settings, database)
        backlog = count_backlog(database, serving_space(database))
        assert (backlog.pending, backlog.quarantined) == (0, 0)
        assert embedded > 1000
        assert backlog.embedded > 50
        assert stale(database) == []
