"""The command that searches."""

import json
import os
import pty
import subprocess
import sys

import pytest

from embedding_assets import embed_pending
from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.rerank_server import RerankingServer

TEXTS = ["Keys are rotated every ninety days.", "The pump F644-9530-0777 leaks.", "Bread is baked at night."]


@pytest.fixture(autouse=True)
def table(settings: Settings, database: Database) -> None:
    for number, text in enumerate(TEXTS):
        insert_chunks(
            database,
            [text],
            document_metadata=json.dumps(
                {"source": "book.md", "origin": "book.md", "title": "Book", "year": 2023 + number}
            ),
            chunk_index=number,
            total_chunks=len(TEXTS),
        )
    embed_pending(settings, database=database)


def test_one_document_for_programs(run):
    code, out, err = run("search", "how are keys rotated?", "--json", "-k", 2)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert set(document) == {"results", "notes", "mode", "random_scores"}
    assert (document["mode"], document["notes"], document["random_scores"]) == ("hybrid", [], None)
    best = document["results"][0]
    assert best["text"] == TEXTS[0]
    assert [best["snippet"]["text"][start:end] for start, end in best["snippet"]["marks"]] == ["Keys", "rotated"]
    assert {"score", "source", "key", "vector_rank", "text_rank", "other_places", "space"} <= set(best)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["keys", "--mode", "text"], TEXTS[:1]),
        (["F644-9530-0777", "--min-score", 0.99], TEXTS[1:2]),
        (["bread", "--where", "year>=2025"], TEXTS[2:]),
        (["bread", "--where", "year>2023", "--where", "title=Book", "-k", 1], TEXTS[2:]),
        (["bread", "--min-score", 5, "--mode", "vector"], []),
        (["bread", "--ef-search", 200, "-k", 1], TEXTS[2:]),
    ],
)
def test_options(run, arguments: list[object], expected: list[str]):
    code, out, _ = run("search", *arguments, "--json")
    assert code == 0
    assert [result["text"] for result in json.loads(out)["results"]] == expected


def test_notes_for_both(run, database: Database):
    insert_chunks(database, ["pending"])
    assert json.loads(run("search", "keys", "--json")[1])["notes"][0].startswith("1 of 4 chunks have no vector yet")
    assert "Note: 1 of 4 chunks have no vector yet" in " ".join(run("search", "keys")[1].split())


def test_neighbours_and_space(run):
    _, out, _ = run("search", "keys", "--context", 1, "-k", 1, "--space", "local-")
    assert "↓ The pump" in out
    code, _, err = run("search", "keys", "--space", "nothing")
    assert (code, "no space is called 'nothing'" in err) == (2, True)


def test_reranked(run, monkeypatch: pytest.MonkeyPatch):
    code, _, err = run("search", "keys", "--rerank")
    assert (code, "there is no reranker" in err) == (2, True)
    with RerankingServer() as server:
        monkeypatch.setenv("EMBEDDING_RERANK_URL", server.url)
        _, out, _ = run("search", "bread baked", "--rerank", "-k", 1)
    assert "(reranked 1.000)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["keys", "-k", 0], "greater than or equal to 1"),
        (["keys", "-k", 1001], "less than or equal to 1000"),
        (["keys", "--context", 99], "less than or equal to 10"),
        (["keys", "--ef-search", 0], "greater than or equal to 1"),
        (["keys", "--mode", "fuzzy"], "fuzzy"),
        (["keys", "--min-score", "nan"], "min_score is nan"),
        (["keys", "--mode", "text", "--min-score", "0.5"], "a least score needs vectors"),
        ([""], "the query is empty"),
        (["\udcff"], "no character that is text"),
        (["keys", "--where", "kind"], "is not a condition"),
    ],
)
def test_wrong_arguments(run, arguments: list[object], message: str):
    code, out, err = run("search", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


def test_bytes_that_are_no_text_as_an_argument(settings: Settings):
    code = "from embedding_assets.cli.entry import main; main()"
    command = [os.fsencode(sys.executable), b"-c", code.encode(), b"search", b"keys \xff\xe9", b"-k", b"1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert TEXTS[0] in done.stdout
    assert "characters of the question that are no text" in " ".join(done.stdout.split())


def test_in_a_terminal_words_are_bold_and_random_scores_are_shown(settings: Settings, database: Database):
    insert_chunks(database, [f"Sentence number {number} says nothing." for number in range(40)])
    embed_pending(settings, database=database)
    leader, follower = pty.openpty()
    code = "from embedding_assets.cli.entry import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "search", "rotated keys", "-k", "1"],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(follower)
    out = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        if not part:
            break
        out += part
    os.close(leader)
    assert process.wait(60) == 0
    text = out.decode()
    assert "\x1b[1mKeys\x1b[0m are \x1b[1mrotated\x1b[0m" in text
    assert "chunks picked at random score" in text
    assert "try --min-score 0." in text
