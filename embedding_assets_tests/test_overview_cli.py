"""The commands status, health and report, as a user types them."""

import json
import re

import pytest

from embedding_assets.providers.factory import open_space
from embedding_assets_tests.fakes import insert_chunks

TEXTS = [f"text {number}" for number in range(40)]


@pytest.fixture
def embedded(run, settings, database):
    """A table whose chunks are embedded and without an index."""
    insert_chunks(database, TEXTS)
    assert run("embed", "--no-index")[0] == 0


def test_health_builds_measures_and_judges(run, database, embedded):
    assert "index missing: embedding-assets health builds it" in " ".join(run("status")[1].split())

    code, out, _ = run("health")

    assert code == 0
    for check in ("vectors_match_model", "costs_within_budget", "index_valid", "recall_drop", "backlog_age"):
        assert re.search(rf"^✔ +{check} ", out, re.MULTILINE)
    status = run("status")[1]
    assert "ef_search 10 20 40*" in " ".join(status.split())
    assert "✔ recall_drop" in status
    checks = json.loads(run("status", "--json")[1])["spaces"][0]["checks"]
    assert {check["name"]: check["passed"] for check in checks}["recall"] is True


def test_health_fails_where_searches_are_in_danger(run, database, embedded):
    database.run(
        lambda connection: connection.execute(
            "UPDATE knowledge_base SET embedding = (SELECT array_agg(0)::vector(768) FROM generate_series(1, 768))"
        )
    )
    code, out, _ = run("health", "--json")
    assert code == 1
    failed = {verdict["name"] for verdict in json.loads(out) if not verdict["passed"] and verdict["blocking"]}
    assert {"finite_dimensions", "unit_norm", "vectors_match_model"} <= failed


def test_health_of_an_empty_table_says_what_to_do(run, settings, database):
    open_space(settings, database)
    code, out, err = run("health")
    assert (code, out) == (2, "")
    assert "embedding-assets load PATH" in err


def test_report_is_one_page(run, database, embedded, tmp_path):
    page = tmp_path / "page.html"
    code, out, _ = run("report", "--html", page)
    assert (code, bool(re.fullmatch(r"Wrote .*page\.html \(\d+ kB\)\.\n", out))) == (0, True)
    html = page.read_text("utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert "40 chunks" in html
    assert html.count("<img ") == 5
    assert not any(text in html for text in TEXTS), "no text of a chunk"

    written = json.loads(run("report", "--html", page, "--json")[1])
    assert written == {"html": str(page), "bytes": page.stat().st_size}
    assert run("report", "--html", "-")[1].startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["report"], "Missing option '--html'"),
        (["report", "--html", "/"], "is a directory"),
        (["report", "--html", "/nowhere/page.html"], "--html: cannot write /nowhere/page.html: No such file"),
    ],
)
def test_a_report_that_cannot_be_written_says_why(run, settings, database, arguments, told):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert told in err
