"""Every example runs, and does what it says."""

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.api_runs import configure
from fake_api.server import ApiServer

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*arguments: object) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_is_tried_here():
    names = {path.stem if path.stem != "definitions" else path.parent.name for path in EXAMPLES.rglob("*.py")}
    assert names == {"filtered_search", "openai_budget", "own_provider", "dagster_project"}


def test_filtered_search(settings: Settings):
    lines = run(EXAMPLES / "filtered_search.py").splitlines()
    assert lines[-2].startswith("printer: 0.")
    assert lines[-2].endswith("If paper jams, open the rear cover and pull the sheet out slowly.")
    assert lines[-1].endswith("If paper jams, switch the scanner off and lift the feeder.")


def test_openai_budget(settings: Settings, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch):
    limit = re.search(r"EMBEDDING_BUDGET_USD_PER_RUN=(\S+) python", (EXAMPLES / "openai_budget.py").read_text()).group(
        1
    )
    with ApiServer(usd_per_million_tokens=Decimal("0.02")) as server:
        configure(monkeypatch, server, openai_usd_per_million_tokens="0.02", budget_usd_per_run=limit)
        monkeypatch.delenv("EMBEDDING_OPENAI_MAX_INPUTS", raising=False)
        output = run(EXAMPLES / "openai_budget.py")
        assert 0 < server.bill_usd <= Decimal(limit)
    assert re.search(r"^stopped: this run costs .* \(EMBEDDING_BUDGET_USD_PER_RUN\)", output, re.MULTILINE)
    embedded, pending = beside.execute(
        "SELECT count(embedding), count(*) - count(embedding) FROM knowledge_base"
    ).fetchone()
    assert embedded > 0
    assert pending > 0


def test_own_provider(settings: Settings, beside: psycopg.Connection, database: Database):
    *_, embedded, best, _, _ = run(EXAMPLES / "own_provider.py").splitlines()
    assert int(embedded.removeprefix("embedded: ")) > 50
    assert best.startswith("0.")
    # The table is then that provider's, and still loaded into, and its index maintained.
    *_, embedded, best_again, _, _ = run(EXAMPLES / "own_provider.py").splitlines()
    assert (embedded, best_again) == ("embedded: 0", best)


def test_dagster_project(
    settings: Settings, beside: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    file = EXAMPLES / "dagster_project" / "definitions.py"
    dagster = ("-m", "dagster", "asset", "materialize", "-f", file)
    run(*dagster, "--select", "*", "--partition-range", "0...f")
    rows = beside.execute("SELECT count(*), count(embedding) FROM knowledge_base").fetchone()
    assert rows == (2, 2)
