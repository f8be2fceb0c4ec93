"""`adopt` from the command line: shown first, done with --yes, undone; then embedded and searched."""

import json
import os
import pty
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.shop import BIGINT, fill

Run = Callable[..., tuple[int, str, str]]
ARGUMENTS = ["adopt", "notes", "--text", r"{title}\n{body}", "--metadata", "price, lang", "--where", "price < 4"]


@pytest.fixture
def notes(settings: Settings, beside: psycopg.Connection) -> None:
    fill(beside, BIGINT, 10)


@pytest.mark.usefixtures("notes")
def test_two_commands_and_a_search(run: Run, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch):
    code, out, err = run(*ARGUMENTS)
    assert (code, err) == (0, "")
    assert "Adopting public.notes" in out
    assert "SHARE ROW EXCLUSIVE lock, which keeps out writers, for a moment" in out
    assert "Nothing was changed. Do it with --yes." in out
    assert beside.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'notes'::regclass").fetchone() == (0,)

    code, out, err = run(*ARGUMENTS, "--yes")
    assert (code, err) == (0, "")
    assert "public.notes is adopted: key id, records in schema embedding_assets_notes." in " ".join(out.split())

    # The database has a knowledge_base too, so the table is named.
    monkeypatch.setenv("EMBEDDING_TABLE", "notes")
    code, out, _ = run("embed", "--json")
    assert (code, json.loads(out)["embedded"]) == (0, 7)
    code, out, _ = run("search", "body 3", "--where", "lang=de", "--where", "price>1", "--json")
    assert json.loads(out)["results"][0]["metadata"]["id"] == 3
    assert {result["metadata"]["lang"] for result in json.loads(out)["results"]} == {"de"}
    code, out, _ = run("status")
    assert code == 0
    assert "7 chunks in public.notes" in out
    code, _, err = run("load", Path(__file__).parents[2] / "README.md")
    assert code in (1, 2)
    assert "public.notes is filled by others" in err

    code, out, _ = run("adopt", "notes", "--undo", "--json")
    assert (code, json.loads(out)["done"]) == (0, False)
    code, out, _ = run("adopt", "notes", "--undo", "--yes")
    assert (code, out) == (0, "public.notes is as it was before.\n")
    code, _, err = run("embed")
    assert code == 2
    assert "notes is not adopted yet; `embedding-assets adopt notes`" in err


@pytest.mark.usefixtures("notes")
def test_the_plan_as_json(run: Run, beside: psycopg.Connection):
    beside.execute("ALTER TABLE notes ADD theirs vector(8)")
    code, out, _ = run(*ARGUMENTS, "--json")
    plan = json.loads(out)
    assert code == 0
    assert {key: plan[key] for key in ("done", "table", "key", "text", "metadata", "where", "column", "filled")} == {
        "done": False,
        "table": "public.notes",
        "key": ["id"],
        "text": "{title}\n{body}",
        "metadata": ["price", "lang"],
        "where": "price < 4",
        "column": "embedding",
        "filled": ["theirs"],
    }
    assert [step["lock"] for step in plan["later"]] == [
        "ACCESS EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
    ]


@pytest.mark.usefixtures("notes")
def test_settings_say_the_same_as_options(run: Run, monkeypatch: pytest.MonkeyPatch):
    for name, value in {"": "notes", "_TEXT": "body", "_METADATA": "lang", "_WHERE": "price < 2"}.items():
        monkeypatch.setenv(f"EMBEDDING_TABLE{name}", value)
    assert run("adopt", "--yes")[0] == 0
    code, out, _ = run("embed", "--json")
    assert (code, json.loads(out)["embedded"]) == (0, 3)
    monkeypatch.setenv("EMBEDDING_TABLE_TEXT", "title")
    code, _, err = run("embed")
    assert code == 2
    assert "EMBEDDING_TABLE_TEXT: public.notes was adopted with another value" in err


def test_without_a_table_and_with_a_wrong_one(run: Run, settings: Settings):
    code, _, err = run("adopt", "--yes")
    assert (code, "say which table: embedding-assets adopt TABLE" in err) == (2, True)
    code, _, err = run("adopt", "nots", "--text", "x")
    assert (code, "there is no table nots in this database" in err) == (2, True)
    code, _, err = run("adopt", "--undo", "knowledge_base")
    assert (code, "knowledge_base is not adopted" in err) == (2, True)


COMMAND = [sys.executable, "-c", "from embedding_assets.cli.entry import main; main()", "adopt"]


@pytest.fixture
def answer() -> Callable[..., str]:
    """Run `adopt` in a terminal and type these answers; returns what stands there at the end."""

    def typed(*answers: str) -> str:
        ours, theirs = pty.openpty()
        try:
            process = processes.start(COMMAND, stdin=theirs, stdout=theirs, stderr=theirs)
            os.close(theirs)
            os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
            seen = b""
            try:
                while more := os.read(ours, 4096):
                    seen += more
            except OSError:  # the other side has ended
                pass
            assert process.wait(60) == 0, seen
            return seen.decode().replace("\r\n", "\n")
        finally:
            os.close(ours)

    return typed


@pytest.mark.covered_processes
@pytest.mark.usefixtures("notes")
def test_in_a_terminal_it_asks_for_what_was_not_said(answer: Callable[..., str], beside: psycopg.Connection):
    beside.execute("CREATE SCHEMA shop CREATE TABLE embedding_notes (id int PRIMARY KEY, body text)")
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'notes'::regclass"
    said = ("public.notes", r"{title}\n{body}", "price, lang", "price < 4")
    seen = answer(*said, "n")
    assert "Tables with a text: public.notes, shop.embedding_notes\n" in seen
    for question in ("Columns: id, ", "Only rows for which this holds", "Do it?"):
        assert question in seen
    assert beside.execute(triggers).fetchone() == (0,)
    assert "records in schema embedding_assets_notes." in answer(*said, "y")
    assert beside.execute(triggers).fetchone() != (0,)
