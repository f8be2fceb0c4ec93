"""The commands status, health and report, as a user types them."""

import json
import re
from datetime import datetime

import pytest

from embedding_assets.config import get_settings
from embedding_assets.pipeline.run import embed_pending
from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.shop import BIGINT, adopt_shop, fill

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
    shown = json.loads(run("status", "--json")[1])
    [space] = shown["spaces"]
    assert {check["name"]: check["passed"] for check in space["checks"]}["recall"] is True
    assert space["unchecked"] == ["vectors_match_model"]
    assert space["failures"] == {}
    measurement = space["measurement"]
    assert (space["index"]["valid"], measurement["ef_search"]) == (True, 40)
    assert datetime.fromisoformat(measurement["measured_at"]).tzinfo is not None
    search = measurement["search"]
    assert search["exact_p50_ms"] > 0
    assert [point["ef_search"] for point in search["curve"]] == [10, 20, 40, 80, 120, 200, 400]
    assert set(search["curve"][0]) == {"ef_search", "recall", "recall_low", "recall_high", "p50_ms", "p95_ms"}


def test_status_gives_programs_what_it_shows_people(run, database, embedded, monkeypatch):
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "2.5")
    monkeypatch.setenv("EMBEDDING_MAX_ATTEMPTS", "1")
    [chunk] = insert_chunks(database, ["fails"])
    save_failures(
        database, list_spaces(database)[0].space.name, [FailedChunk(chunk, "not_finite")], get_settings().embedding
    )

    shown = json.loads(run("status", "--json")[1])

    [space] = shown["spaces"]
    assert (space["backlog"]["quarantined"], space["failures"]) == (1, {"not_finite": 1})
    assert space["measurement"] is None
    assert shown["costs"] == {
        "usd_today": 0.0, "usd_this_month": 0.0, "limit_usd_per_day": 2.5, "limit_usd_per_month": None,
        "alert_share": 0.8, "days": [],
    }  # fmt: skip
    assert {"name": "EMBEDDING_BUDGET_USD_PER_DAY", "value": "2.5", "default": ""} in shown["settings"]


def test_health_keeps_a_recent_measurement_and_says_how_old_it_is(run, database, embedded):
    def measured():
        return database.run(lambda c: c.execute("SELECT count(*) FROM embedding_index_measurements").fetchone())[0]

    assert re.search(r": built as vector_cosine_ops in \d\.\d s, measured just now\.", run("health")[1])
    before = measured()
    database.run(
        lambda c: c.execute("UPDATE embedding_index_measurements SET measured_at = measured_at - interval '3 hours'")
    )
    assert ": measured 3.0 h ago (--anew measures again)." in " ".join(run("health")[1].split())
    assert measured() == before
    assert ": measured just now." in run("health", "--anew")[1]
    assert measured() == before + 1


def test_health_fails_where_searches_are_in_danger(run, database, embedded):
    database.run(
        lambda connection: connection.execute(
            "UPDATE knowledge_base SET embedding = (SELECT array_agg(0)::vector(768) FROM generate_series(1, 768))"
        )
    )
    code, out, _ = run("health", "--json")
    assert code == 1
    failed = {
        verdict["name"] for verdict in json.loads(out) if not verdict["passed"] and verdict["severity"] == "error"
    }
    assert {"finite_dimensions", "unit_norm", "vectors_match_model"} <= failed


def test_health_of_an_empty_table_says_what_to_do(run, settings, database):
    select_for_run(settings, database)
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
    ("arguments", "error"),
    [
        (["report"], "Missing option '--html'"),
        (["report", "--html", "/"], "is a directory"),
        (["report", "--html", "/nowhere/page.html"], "--html: cannot write /nowhere/page.html: No such file"),
    ],
)
def test_a_report_that_cannot_be_written_says_why(run, settings, database, arguments, error):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert error in err


def test_health_and_status_of_a_table_that_the_users_own_provider_embeds(run, settings, database, monkeypatch):
    insert_chunks(database, TEXTS)
    embed_pending(settings, database=database, provider=FakeProvider(), build_index="never")
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")
    code, out, _ = run("health")
    assert code == 0
    assert "is no provider of this package" in " ".join(out.split()), "its vectors cannot be computed again here"
    shown = " ".join(run("status")[1].split())
    assert "by a provider of your own, fake" in shown
    assert "ef_search 10 20 40*" in shown
    code, out, err = run("embed")
    assert (code, out) == (2, "")
    assert "pass yours to the call" in err


def test_an_empty_table_of_yours_is_called_by_its_name(run, settings, beside, monkeypatch):
    fill(beside, BIGINT, 0)
    adopt_shop(settings, BIGINT)
    monkeypatch.setenv("EMBEDDING_TABLE", "notes")
    code, out, _ = run("status")
    assert (code, out.splitlines()[-1]) == (0, "Nothing is embedded yet: public.notes is empty")
    code, _, err = run("health")
    assert code != 0
    assert "public.notes is empty" in " ".join(err.split())
