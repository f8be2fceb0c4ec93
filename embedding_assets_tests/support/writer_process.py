"""A program that writes to its table as applications do, at random, and fails on any error of the database.

Usage: python -m embedding_assets_tests.support.writer_process URL TABLE SECONDS SEED
"""

import random
import sys
import time

import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from embedding_assets_tests.support.fakes import vector_of

ROWS = 300
QUIET = 4711
"""Advisory lock that a writer shares, and who replaces the table has alone."""


def text_of(choice: random.Random) -> str:
    return f"text {choice.randrange(10**6)}"


def insert(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    connection.execute(
        f"INSERT INTO {table} (id, body) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        [choice.randrange(ROWS), text_of(choice)],
    )


def upsert(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    connection.execute(
        f"INSERT INTO {table} (id, body) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        [choice.randrange(ROWS), text_of(choice)],
    )


def upsert_with_vector(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    text = text_of(choice)
    connection.execute(
        f"INSERT INTO {table} (id, body, embedding) VALUES (%s, %s, %s) "
        "ON CONFLICT (id) DO UPDATE SET body = excluded.body, embedding = excluded.embedding",
        [choice.randrange(ROWS), text, Vector(vector_of(text, 8))],
    )


def edit_many(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    first = choice.randrange(ROWS)
    connection.execute(
        f"UPDATE {table} SET body = %s || ' ' || id WHERE id IN (SELECT id FROM {table} WHERE id BETWEEN %s AND %s "
        "ORDER BY id FOR UPDATE)",
        [text_of(choice), first, first + 20],
    )


def edit_slowly(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    """Two rows in one transaction, in any order but that of the other writer."""
    rows = sorted(choice.sample(range(ROWS), 2))
    with connection.transaction():
        for row in rows:
            connection.execute(f"UPDATE {table} SET body = %s WHERE id = %s", [text_of(choice), row])
            time.sleep(choice.random() / 50)


def replace(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    row = choice.randrange(ROWS)
    with connection.transaction():
        connection.execute(f"DELETE FROM {table} WHERE id = %s", [row])
        connection.execute(
            f"INSERT INTO {table} (id, body) VALUES (%s, %s) ON CONFLICT DO NOTHING", [row, text_of(choice)]
        )


def delete(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    connection.execute(f"DELETE FROM {table} WHERE id = %s", [choice.randrange(ROWS)])


def touch(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    connection.execute(f"UPDATE {table} SET seen = seen + 1 WHERE id = %s", [choice.randrange(ROWS)])


def swap_texts(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    one, other = sorted(choice.sample(range(ROWS), 2))
    with connection.transaction():
        rows = dict(
            connection.execute(
                f"SELECT id, body FROM {table} WHERE id IN (%s, %s) ORDER BY id FOR UPDATE", [one, other]
            ).fetchall()
        )
        if len(rows) == 2:
            for row, text in ((one, rows[other]), (other, rows[one])):
                connection.execute(f"UPDATE {table} SET body = %s WHERE id = %s", [text, row])


def copy_in(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    first = ROWS + choice.randrange(10**9)
    with connection.cursor().copy(f"COPY {table} (id, body) FROM STDIN") as copy:
        for number in range(5):
            copy.write_row((first + number, text_of(choice)))


def truncate(connection: psycopg.Connection, table: str, choice: random.Random) -> None:
    if choice.random() < 0.05:
        connection.execute(f"TRUNCATE {table}")


WAYS = [insert, insert, upsert, upsert_with_vector, edit_many, edit_slowly, replace, delete, touch, swap_texts, copy_in,
        truncate]  # fmt: skip


def main() -> None:
    url, table, seconds, seed = sys.argv[1:]
    choice = random.Random(int(seed))
    ends = time.monotonic() + float(seconds)
    written = 0
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        while time.monotonic() < ends:
            connection.execute("SELECT pg_advisory_lock_shared(%s)", [QUIET])
            try:
                choice.choice(WAYS)(connection, table, choice)
            finally:
                connection.execute("SELECT pg_advisory_unlock_shared(%s)", [QUIET])
            written += 1
            time.sleep(choice.random() / 100)
    sys.stdout.write(str(written))


if __name__ == "__main__":
    main()
