import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from embedding_assets.cli import app
from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.runs import save_run
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import insert_chunks

# A process that a script starts in the background ignores SIGINT, and so do its children.
COMMAND_THAT_HEEDS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from embedding_assets.cli.entry import main
main()
"""

COMMANDS = ["demo", "migrate", "load", "documents", "forget", "estimate", "embed", "spaces", "costs", "search",
            "failures", "ui",
            "status", "health", "report"]  # fmt: skip


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "fruit.md").write_text("# Fruit\nApples grow on trees.\n\n## Pears\nPears are green and sweet.\n")
    (folder / "locks.md").write_text("# Locks\nA mutex keeps two threads from changing the same data at once.\n")
    (folder / "rows.jsonl").write_text('{"text": "Sailing boats need wind.", "kind": "sport"}\n')
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(run, command):
    code, out, _ = run(command, "--help")

    assert code == 0
    assert f"embedding-assets {command}" in out
    summary = next(line for line in out.splitlines()[3:] if line.strip())
    assert len(summary) > 20


def test_the_help_lists_every_command(run):
    _, out, _ = run("--help")

    assert all(re.search(rf"│ {command} +\w", out) for command in COMMANDS)


def test_the_version_comes_with_those_of_what_it_stands_on(run):
    code, out, err = run("--version")

    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert out.startswith(f"embedding-assets {version('embedding-assets')} (Python 3.")
    assert f", dagster {version('dagster')}, torch {version('torch')}, " in out


def test_no_command_shows_the_help(run):
    code, out, err = run()

    assert code == 2
    assert "Usage" in out + err


def test_from_documents_to_answers(run, settings, documents):
    code, out, _ = run("load", documents)
    assert (code, out.splitlines()[0]) == (0, "Loaded 3 documents (3 new), 4 chunks added, 0 removed.")
    assert "embedding-assets embed" in out

    code, out, err = run("estimate")
    assert re.match(r"4 chunks, \d+ tokens: about [\d.]+ s, \$0\.00 \(space local-", out)
    assert "timing the model" in err

    code, out, err = run("embed")
    assert code == 0
    assert "4 chunks" in out
    assert "index built in" in out
    assert "embedding: 4 of 4 chunks" in err

    code, out, _ = run("embed")
    assert out == "Nothing to embed.\n"

    code, out, _ = run("search", "What stops threads from racing?", "-k", 2)
    assert "Locks" in out.splitlines()[0]
    assert "A mutex keeps two threads" in out

    _, out, _ = run("search", "anything", "--where", "kind=sport", "--json")
    assert [result["text"] for result in json.loads(out)["results"]] == ["Sailing boats need wind."]
    assert run("search", "anything", "--where", "kind=none")[1].startswith("Nothing matches.\n")

    _, out, _ = run("load", documents)
    assert out == "Loaded 3 documents (3 unchanged), 0 chunks added, 0 removed.\n"
    _, out, _ = run("status")
    assert "100% of 4 chunks" in out


def test_status_for_programs(run, settings, database):
    assert json.loads(run("status", "--json")[1])["spaces"] == []
    select_for_run(settings, database)
    insert_chunks(database, ["a", "b", "c"])
    run("embed", "--json", "--no-index")

    report = json.loads(run("status", "--json")[1])

    assert report["chunks"] == 3
    [space] = report["spaces"]
    assert (space["column"]["name"], space["column"]["serving"]) == ("embedding", True)
    assert space["column"]["space"]["dimensions"] == 768
    assert {"embedded": 3, "pending": 0, "quarantined": 0}.items() <= space["backlog"].items()
    assert space["name"].startswith("local-all-MiniLM-L6-v2-lifted-768-")
    assert {"name": "idx_knowledge_embedding", "valid": False, "size_bytes": 0}.items() <= space["index"].items()
    assert re.match(r"\d{4}-\d\d-\d\dT", space["runs"][-1]["finished_at"])


def test_everything_that_reports_does_so_for_programs(run, settings, documents):
    assert json.loads(run("migrate", "--json")[1])["changed"] is False
    loaded = json.loads(run("load", documents, "--json")[1])
    assert (loaded["documents"], loaded["added"], loaded["rejections"]) == (3, 4, [])
    assert json.loads(run("estimate", "--json")[1])["chunks"] == 4
    code, out, err = run("embed", "--json")
    assert (code, json.loads(out)["embedded"], err) == (0, 4, "")
    assert {"text", "score", "source", "chunk_hash"} <= set(json.loads(run("search", "x", "--json")[1])["results"][0])
    assert json.loads(run("failures", "--json")[1]) == []
    assert json.loads(run("failures", "--retry", "--json")[1]) == {"retried": 0}


def test_an_empty_database(run, empty_url, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", empty_url)

    code, out, _ = run("migrate")
    assert (code, "is now at version" in out) == (0, True)
    assert "was already at version" in run("migrate")[1]
    code, out, _ = run("status")
    assert (code, out.splitlines()[-1]) == (0, "Nothing is embedded yet. Next: embedding-assets load PATH")
    assert run("failures")[1] == "No chunk has failed.\n"
    assert run("search", "x")[0] == 2
    assert "Nothing is due" in run("estimate")[1]
    assert run("embed")[:2] == (0, "Nothing to embed.\n")


def test_an_estimate_after_a_run_times_nothing(run, settings, database):
    column = select_for_run(settings, database).column
    save_run(database, EmbeddingStats(space=column.space.name, embedded=200, tokens=1000, seconds=10, device="cpu"))
    insert_chunks(database, ["some text"] * 1, token_count=100)

    code, out, err = run("estimate")

    assert (code, err) == (0, "")
    assert "1 chunk, 100 tokens: about 1.0 s" in out


def test_some_prefixes_only(run, settings, database):
    hashes = insert_chunks(database, [f"text {n}" for n in range(40)])

    run("embed", "--prefixes", "0-7", "--no-index")

    [space] = json.loads(run("status", "--json")[1])["spaces"]
    assert space["backlog"]["embedded"] == sum(h[0] <= "7" for h in hashes)


def test_an_index_that_a_killed_run_left_out_is_built(run, settings, database):
    insert_chunks(database, [f"text {n}" for n in range(3)])
    run("embed", "--no-index")

    assert "The index was built" in run("embed")[1]
    assert run("embed")[1] == "Nothing to embed.\n"


def test_the_index_is_left_to_the_run_that_is_still_loading(run, settings, database):
    insert_chunks(database, [f"text {n}" for n in range(40)])
    locks = PrefixLocks(database, select_for_run(settings, database).column.space.name)
    locks.acquire(range(16))

    code, out, _ = run("embed", "--json")
    assert (code, json.loads(out)["busy_prefixes"], json.loads(out)["index_seconds"]) == (0, ["0"], None)

    locks.close()
    assert json.loads(run("embed", "--json")[1])["index_seconds"] is not None


def test_failures_are_listed_and_tried_again(run, settings, database):
    column = select_for_run(settings, database).column
    [chunk_hash] = insert_chunks(database, ["secret words"], document_metadata='{"source": "docs/a.md"}')
    save_failures(database, column.space.name, [FailedChunk(chunk_hash, "encoding_failed")], settings.embedding)

    code, out, _ = run("failures")
    assert code == 0
    assert chunk_hash[:16] in out
    assert "encoding_failed" in out
    assert "secret words" not in out
    [row] = json.loads(run("failures", "--json")[1])
    assert (row["chunk_hash"], row["attempts"], row["quarantined"]) == (chunk_hash, 1, False)

    assert "1 chunks are due again" in run("failures", "--retry")[1]
    assert run("failures")[1] == "No chunk has failed.\n"


def test_what_cannot_be_loaded_is_named_and_the_rest_goes_on(run, settings, documents):
    (documents / "bad.jsonl").write_text('{"text": "A good row."}\nnot json\n')

    code, out, err = run("load", documents)

    assert code == 0
    assert "1 rejected" in out
    assert "bad.jsonl:2: " in err
    assert "not json" not in err


def test_when_nothing_can_be_loaded_the_status_says_so(run, settings, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("not json\n")

    code, out, err = run("load", bad)
    assert (code, "1 rejected" in out, "bad.jsonl:1: " in err) == (1, True, True)
    code, out, _ = run("load", bad, "--json")
    assert (code, len(json.loads(out)["rejections"])) == (1, 1)
    code, _, err = run("load", tmp_path / "missing.md")
    assert (code, err.count("\n"), "does not exist" in err) == (1, 1, True)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["status"], {"EMBEDDING_BATCH_SIZE": "0"}, 2, "EMBEDDING_BATCH_SIZE: Input should be greater"),
        (["status"], {"EMBEDDING_DEVICE": "abacus"}, 2, "EMBEDDING_DEVICE"),
        (["embed", "--batch-size", "513"], {}, 2, "EMBEDDING_BATCH_SIZE"),
        (["embed", "--prefixes", "xyz"], {}, 2, "--prefixes: prefix 'xyz' is not one or two lowercase hex characters"),
        (["embed", "--prefixes", "9-3"], {}, 2, "--prefixes: prefix range 9-3 is empty"),
        (["search", " "], {}, 2, "the query is empty"),
        (["search", "x", "--where", "kind"], {}, 2, "'kind' is not a condition; write KEY=VALUE"),
        (["search", "x"], {}, 2, "nothing is embedded yet"),
        (["embed"], {"EMBEDDING_MODEL_NAME": "nobody/has-this-model"}, 1, "nobody/has-this-model"),
        (["embed"], {"EMBEDDING_DIMENSIONS": "384"}, 2, "EMBEDDING_DIMENSIONS is 384"),
        (["status"], {"EMBEDDING_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d"}, 1, "127.0.0.1:1"),
        (["status"], {"EMBEDDING_DATABASE_URL": "hunter2"}, 2, "EMBEDDING_DATABASE_URL"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_a_status(run, settings, monkeypatch, arguments, environment, code, message):
    for name, value in {"EMBEDDING_DATABASE_RETRY_SECONDS": "0", **environment}.items():
        monkeypatch.setenv(name, value)

    status, out, err = run(*arguments)

    assert (status, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "hunter2" not in err


@pytest.mark.parametrize("prefixes", ["", "0-f-3", "g"])
def test_prefixes_are_checked_before_any_work(run, monkeypatch, prefixes):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://127.0.0.1:1/d")

    assert "--prefixes: " in run("embed", "--prefixes", prefixes)[2]


def test_a_terminal_gets_readable_logs(run, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://127.0.0.1:1/d")
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "0.3")

    assert json.loads(run("status")[2].splitlines()[0])["level"] == "WARNING"
    monkeypatch.setattr(app.err, "_force_terminal", True)
    assert " WARNING " in run("status")[2].splitlines()[0]


def test_json_on_a_terminal_is_laid_out(run, settings, monkeypatch):
    monkeypatch.setattr(app.out, "_force_terminal", True)
    monkeypatch.setattr(app.out, "no_color", True)

    assert '"changed"' in run("migrate", "--json")[1]


def test_the_demo_gets_the_paths(run, settings, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "embedding_assets.cli.demo.run_demo", lambda *arguments, model: seen.append((arguments[1], model))
    )

    assert run("demo")[0] == run("demo", tmp_path, "--model", "default")[0] == 0
    assert seen == [([], None), ([str(tmp_path)], "default")]


def test_ctrl_c_before_there_is_anything_to_say(run, settings, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("embedding_assets.cli.demo.run_demo", interrupted)

    assert run("demo") == (130, "", "Stopped.\n")


def test_ctrl_c_while_embedding_says_where_it_stands(settings, database):
    total = 6000
    insert_chunks(database, [f"{n} {' '.join(str(m) for m in range(n % 50 + 60))}" for n in range(total)])
    process = processes.start(
        [sys.executable, "-c", COMMAND_THAT_HEEDS_CTRL_C, "embed"],
        env=os.environ | {"EMBEDDING_COMMIT_SECONDS": "0.2", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while not embedded(database) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "")
    committed = embedded(database)
    assert 0 < committed < total
    assert f"Stopped: {total - committed:,} of {total:,} due chunks are left." in err
    assert "Traceback" not in err


def embedded(database):
    return database.run(lambda c: c.execute("SELECT count(embedding) FROM knowledge_base").fetchone())[0]
