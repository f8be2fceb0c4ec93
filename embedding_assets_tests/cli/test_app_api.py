"""The command line where an API embeds: a second space, which one serves, dollars before and after, an outage."""

import json
import re
from decimal import Decimal

import pytest

from embedding_assets.cli import app
from embedding_assets.formatting import share
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index.measurements import baseline_measurement
from embedding_assets.postgres.runs import list_runs
from embedding_assets.postgres.spaces import list_spaces, serving_space
from embedding_assets.postgres.usage.ledger import list_costs
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.fakes import insert_chunks
from fake_api.server import ApiServer

TEXTS = [f"text number {number}" for number in range(30)]


@pytest.fixture
def api(settings, monkeypatch):
    """A server at two thousand dollars a million tokens, so that a few texts cost something; not chosen yet."""
    with ApiServer(usd_per_million_tokens=Decimal(2000)) as server:
        monkeypatch.setenv("EMBEDDING_OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", server.api_key)
        monkeypatch.setenv("EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS", "2000")
        yield server


@pytest.fixture
def by_api(api, monkeypatch):
    """The same, chosen."""
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    return api


@pytest.fixture
def both(run, api, database, monkeypatch):
    """A table that a local model has embedded, and then the API."""
    insert_chunks(database, TEXTS)
    assert run("embed")[0] == 0
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    assert run("embed")[0] == 0
    monkeypatch.delenv("EMBEDDING_PROVIDER")
    return list_spaces(database)


def test_no_spaces_and_no_costs(run, settings):
    assert run("spaces")[:2] == (
        0,
        "There is no vector space yet; the first run of embedding-assets embed makes one.\n",
    )
    assert json.loads(run("spaces", "--json")[1]) == []
    assert run("costs")[:2] == (0, "Nothing was ever billed: no request to an API is on record.\n")
    code, _, err = run("spaces", "use", "anything")
    assert (code, err.startswith("error: there is no space yet")) == (2, True)


def test_another_provider_fills_a_space_of_its_own(run, both, database):
    local, api = both
    assert (local.serving, api.serving) == (True, False)
    code, out, _ = run("spaces")
    assert code == 0
    assert f"{local.space.name}  serves searches, the settings lead here" in out
    assert re.search(rf"^{api.space.name}$", out, re.MULTILINE)
    assert out.count("30 of 30 embedded (100%)") == 2
    assert f"{api.name} (vector, ranked by cosine)" in out

    first, second = json.loads(run("spaces", "--json")[1])
    assert (first["name"], first["column"]["serving"], first["configured"]) == (local.space.name, True, True)
    assert (second["name"], second["column"]["serving"], second["configured"]) == (api.space.name, False, False)
    assert (second["column"]["space"]["provider"], second["column"]["space"]["dimensions"]) == ("openai", 768)
    assert (second["backlog"]["embedded"], second["backlog"]["chunks"]) == (30, 30)
    assert list_runs(database, api.space.name)[-1].usd > 0
    assert describe_index(database, api.index).valid


def test_which_space_serves_is_switched_and_switched_back(run, both, database):
    local, api = both
    code, out, err = run("spaces", "use", "openai-text")
    assert (code, out, err) == (0, f"{api.space.name} serves searches now.\n", "")
    assert serving_space(database).space == api.space
    assert describe_index(database, api.pending_index).valid
    assert f"{api.space.name}  serves searches, the settings lead here" in run("spaces")[1], "an unset provider follows"

    code, out, err = run("spaces", "use", api.space.slug)
    assert (code, out) == (0, f"{api.space.name} serves searches already.\n")
    shown = json.loads(run("spaces", "use", local.space.name, "--json")[1])
    assert shown == {"serving": local.space.name, "changed": True, "configured": local.space.name}
    assert json.loads(run("spaces", "--json", "use", local.space.name)[1])["changed"] is False
    assert serving_space(database).space == local.space


def test_settings_that_lead_elsewhere_are_pointed_out(run, both, monkeypatch):
    local, api = both
    monkeypatch.setenv("EMBEDDING_PROVIDER", "local")
    code, out, err = run("spaces", "use", "openai")
    assert (code, out) == (0, f"{api.space.name} serves searches now.\n")
    assert err.startswith(f"New chunks are embedded in {local.space.name}, as the settings say")
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "someone/else")
    assert "New chunks are embedded in another space" in run("spaces", "use", "openai")[2]


def test_only_a_complete_space_serves_unless_it_is_forced(run, both, database):
    local, api = both
    insert_chunks(database, ["one more"])
    code, out, err = run("spaces", "use", "openai")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: space {api.space.name} is not complete: 1 of 31 chunks are not embedded in it; run")
    assert serving_space(database).space == local.space
    assert run("spaces", "use", "openai", "--force")[0] == 0
    assert serving_space(database).space == api.space


def test_a_wrong_name_lists_the_right_ones(run, both):
    code, _, err = run("spaces", "use", "nonsense")
    assert code == 2
    assert err.splitlines() == [
        "error: no space is called 'nonsense'; there are:",
        *(f"  {column.space.name}" for column in both),
    ]


def test_where_the_settings_lead_may_not_be_known(run, both, database, monkeypatch):
    """A model that came from a folder, which is not named."""
    database.run(lambda c: c.execute("UPDATE embedding_spaces SET revision = 'sha256:0' WHERE provider = 'local'"))
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")
    assert "the settings lead here" not in run("spaces")[1]


def test_what_was_billed_is_shown_by_day_run_and_space(run, by_api, database, monkeypatch):
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "50")
    for part in (TEXTS[:20], TEXTS[20:]):
        insert_chunks(database, part)
        assert run("embed")[0] == 0
    [row] = list_costs(database, by="day")
    assert (row.usd, row.embeddings) == (by_api.bill_usd, 31), "and a short text before the first"

    code, out, _ = run("costs")
    assert code == 0
    head, day, total, *rest = out.splitlines()
    assert head.split() == ["day", "requests", "embeddings", "tokens", "dollars", "per", "1,000"]
    usd = f"${row.usd:.2f}"
    assert (day.split()[:5], total.split()[:5]) == (
        [row.key, "3", "31", f"{row.tokens:,}", usd],
        ["total", "3", "31", f"{row.tokens:,}", usd],
    )
    text = " ".join(" ".join(rest).split())
    assert f"{usd} of $50.00 ({share(float(row.usd) / 50)}) EMBEDDING_BUDGET_USD_PER_DAY" in text
    assert f"this month {usd}, no limit" in text

    assert len(run("costs", "--by", "run")[1].split("total")[0].splitlines()) == 3
    report = json.loads(run("costs", "--by", "run", "--limit", "1", "--json")[1])
    assert (report["by"], len(report["rows"]), report["rows"][0]["embeddings"]) == ("run", 1, 10)
    assert report["total"]["embeddings"] == 31
    assert report["total"]["usd"] == report["usd_today"] == report["usd_this_month"] == float(row.usd)
    assert report["limits"]["usd_per_day"] == 50
    assert report["limits"]["usd_per_month"] is None
    space = json.loads(run("costs", "--by", "space", "--json")[1])["rows"][0]
    assert space["key"] == list_spaces(database)[0].space.name
    assert space["usd_per_1000_embeddings"] == float(row.usd * 1000 / 31)


def test_limits_are_shown_before_anything_was_billed(run, settings, monkeypatch):
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_MONTH", "5")
    lines = run("costs")[1].splitlines()
    assert lines[0].startswith("Nothing was ever billed")
    assert "$0.00 of $5.00 (0%)" in lines[2]


def test_an_estimate_for_an_api_asks_it_nothing(run, by_api, settings, database, monkeypatch):
    insert_chunks(database, TEXTS, token_count=5)
    code, out, err = run("estimate")
    assert (code, err, by_api.requests) == (0, "", 0)
    assert out.startswith("30 chunks, 150 tokens: an unknown time, $0.30 (space openai-text-embedding-3-small-768-")

    monkeypatch.setenv("EMBEDDING_OPENAI_TOKENS_PER_MINUTE", "50")
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "0.25")
    lines = run("estimate")[1].splitlines()
    assert lines[0].startswith("30 chunks, 150 tokens: about 3.0 min, $0.30 (space")
    assert lines[1].startswith("This exceeds a limit: EMBEDDING_BUDGET_USD_PER_DAY leaves $0.25")
    report = json.loads(run("estimate", "--json")[1])
    assert (report["usd"], report["seconds"], len(report["limits_exceeded"])) == (0.3, 180.0, 1)
    assert (report["pending"], report["chunks"]) == (30, 30)
    assert (report["request_usd"], len(report["limits_below_a_request"])) == (1.2, 1)
    monkeypatch.setenv("EMBEDDING_OPENAI_MAX_INPUTS", "5")
    report = json.loads(run("estimate", "--json")[1])
    assert (report["request_usd"], report["limits_below_a_request"]) == (0.2, [])
    assert (by_api.requests, list_spaces(database)) == (0, []), "nor is anything registered"


def test_a_limit_in_dollars_stops_with_a_word_and_leaves_an_index(run, by_api, database, monkeypatch):
    insert_chunks(database, TEXTS)
    monkeypatch.setenv("EMBEDDING_OPENAI_MAX_INPUTS", "10")
    monkeypatch.setenv("EMBEDDING_OPENAI_CONCURRENCY", "1")
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "0.12")  # thirty texts: $0.84 at most, a fifth of that really

    code, out, err = run("embed")

    assert (code, out) == (1, "")
    stopped = next(line for line in err.splitlines() if line.startswith("Stopped:"))
    [left, total] = map(int, re.findall(r"\d+", stopped))
    assert 0 < left < 30 == total
    assert err.splitlines()[-1].startswith("error: ")
    assert "EMBEDDING_BUDGET_USD_PER_DAY" in err.splitlines()[-1]
    [column] = list_spaces(database)
    assert describe_index(database, column.index).valid, "who knows when the next run comes"
    assert by_api.bill_usd <= Decimal("0.35")


def test_a_key_that_is_refused_costs_no_index(run, both, database, api, monkeypatch):
    _, column = both
    insert_chunks(database, [f"more {number}" for number in range(100)])
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", "wrong")
    before = describe_index(database, column.index)
    code, _, err = run("embed")
    assert (code, "EMBEDDING_OPENAI_API_KEY" in err) == (1, True)
    assert describe_index(database, column.index) == before

    monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", "not a key")
    assert run("embed")[0] == 2
    assert describe_index(database, column.index) == before


def test_a_model_that_cannot_be_loaded_costs_no_index(run, settings, database, monkeypatch):
    insert_chunks(database, TEXTS[:3])
    assert run("embed")[0] == 0
    insert_chunks(database, TEXTS[3:])
    column = select_for_run(settings, database).column
    monkeypatch.setenv("EMBEDDING_DEVICE", "cuda:99")
    assert run("embed")[0] == 2
    assert describe_index(database, column.index).valid


def test_a_run_by_an_api_and_one_while_it_is_down(run, by_api, database, monkeypatch):
    insert_chunks(database, TEXTS[:20])
    _, out, _ = run("embed")
    assert "chunks/s by the API" in out
    assert re.search(r"^cost +\$0\.\d\d, \$[\d.]+ for 1,000 embeddings", out, re.MULTILINE)
    status = run("status")[1]
    assert "chunks/s by the API, 20 chunks" in status
    assert re.search(r"│ today +\$0\.\d+, no limit", status)

    by_api.hang_up()
    insert_chunks(database, TEXTS[20:])
    monkeypatch.setenv("EMBEDDING_FALLBACK", "local")
    monkeypatch.setenv("EMBEDDING_OPENAI_RETRY_SECONDS", "0.1")
    code, out, _ = run("embed")
    assert code == 0
    assert re.search(r"^embedded +0 chunks", out, re.MULTILINE)
    assert re.search(r"^fallback +10 chunks, [\d.]+ chunks/s on cpu", out, re.MULTILINE)
    assert re.search(r"^provider +down, so", out, re.MULTILINE)
    primary, fallback = list_spaces(database)
    assert describe_index(database, fallback.index).valid
    assert re.search(rf"^fallback's space +{fallback.space.name}", out, re.MULTILINE)
    assert json.loads(run("embed", "--json")[1])["fallback"]["space"] == fallback.space.name

    by_api.listen()
    monkeypatch.setenv("EMBEDDING_OPENAI_RETRY_SECONDS", "60")
    assert run("embed")[0] == 0
    assert "30 of 30 embedded" in run("spaces")[1].split(primary.space.name)[1].split(fallback.space.name)[0]


def test_more_than_a_json_line_for_a_person(run, both, monkeypatch):
    monkeypatch.setattr(app.out, "_force_terminal", True)
    monkeypatch.setattr(app.out, "no_color", True)
    assert '"usd_today"' in run("costs", "--json")[1]


def test_a_recall_is_accepted_as_what_later_ones_are_compared_with(run, settings, database):
    code, _, err = run("spaces", "accept-recall", "anything")
    assert code == 2
    assert "there is no space yet" in err
    insert_chunks(database, TEXTS)
    select_for_run(settings, database)
    code, _, err = run("spaces", "accept-recall", "local")
    assert code == 2
    assert "has no recall to accept: 0 vectors are too few" in err

    assert run("embed")[0] == 0
    [column] = list_spaces(database)
    code, out, _ = run("spaces", "accept-recall", "local")
    assert code == 0
    assert f"{column.space.name} is compared with a recall@10 of 1.000 from now on." in out
    kept = baseline_measurement(database, column.space.name)
    shown = json.loads(run("spaces", "accept-recall", column.space.slug, "--json")[1])
    assert (shown["space"], shown["recall"]) == (column.space.name, kept.search.recall)
