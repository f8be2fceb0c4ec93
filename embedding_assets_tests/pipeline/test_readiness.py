"""What runs could take up now: what is due, within the limits in dollars, beside an outage."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from embedding_assets.config import BudgetConfig, Settings, get_settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.pipeline.readiness import FEW_CHUNKS, Readiness, check_readiness
from embedding_assets.planning import all_prefixes
from embedding_assets.postgres.catalog import ensure_pending_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.spaces import serve_space
from embedding_assets.postgres.usage.admission import Admitted, settle
from embedding_assets.postgres.usage.endpoints import RateLimits
from embedding_assets.postgres.usage.ledger import ApiRequest
from embedding_assets.providers.fallback import fallback_settings
from embedding_assets.providers.openai.provider import endpoint_of
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.admission import admit
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.selecting import select_unasked

PREFIXES = all_prefixes(1)


@pytest.fixture
def by_api(settings: Settings) -> Settings:
    """An API at a dollar for 1,000 tokens."""
    changed = settings.with_embedding(provider="openai")
    return changed.with_group("openai", usd_per_million_tokens=1000, api_key="k")


def insert(database: Database, prefixes: str, *, count: int = 1, text: str = "0123456789") -> None:
    """Pending chunks of ten bytes under each of the prefixes."""
    rows = [[f"{prefix}{number:04x}".ljust(64, "0"), text] for prefix in prefixes for number in range(count)]
    database.run(
        lambda c: c.cursor().executemany("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (%s, %s)", rows)
    )


def embed(database: Database, column: SpaceColumn, prefixes: str) -> None:
    """A vector for every chunk under the prefixes."""
    vector = str([1] + [0] * (column.space.dimensions - 1))
    database.run(
        lambda c: c.execute(
            f"UPDATE knowledge_base SET {column.name} = %s::vector WHERE left(chunk_hash, 1) = ANY(%s)",
            [vector, list(prefixes)],
        )
    )


def spend(database: Database, dollars: float) -> None:
    tokens = round(dollars * 1000)
    request = ApiRequest("elsewhere", "space", "openai", "model", "run", 1, tokens, tokens, Decimal(1000))
    admitted = admit(database, request, RateLimits(None, None), BudgetConfig(), lifetime_seconds=60)
    assert isinstance(admitted, Admitted)
    settle(database, admitted.reservation, tokens=tokens, rates=None)


def fail(database: Database, settings: Settings, *, seconds: float = 60) -> datetime:
    """The API is known to be down for so long."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    database.run(
        lambda c: c.execute(
            "INSERT INTO embedding_endpoints (name, open_until) VALUES (%s, %s) "
            "ON CONFLICT (name) DO UPDATE SET open_until = excluded.open_until",
            [endpoint_of(settings.openai), until],
        )
    )
    return until


def test_an_empty_table(settings: Settings, by_api: Settings, database: Database):
    assert check_readiness(database, settings, PREFIXES) == Readiness([])
    select_unasked(settings, database)
    assert check_readiness(database, settings, PREFIXES) == Readiness([])
    assert check_readiness(database, by_api, PREFIXES) == Readiness([])


def test_a_space_that_does_not_exist_yet_needs_everything(settings: Settings, by_api: Settings, database: Database):
    insert(database, "3")
    assert check_readiness(database, settings, PREFIXES) == Readiness(PREFIXES)
    select_unasked(settings, database)
    assert check_readiness(database, settings, PREFIXES) == Readiness(["3"], few=True, chunks=1)
    assert check_readiness(database, by_api, PREFIXES) == Readiness(PREFIXES)


def test_a_space_that_a_run_loads_without_its_index_is_not_probed(
    settings: Settings, by_api: Settings, database: Database
):
    select_unasked(settings, database)
    insert(database, "37")
    column = select_unasked(by_api, database).column
    database.run(lambda c: c.execute(f"DROP INDEX IF EXISTS {column.pending_index}"))
    assert check_readiness(database, by_api, PREFIXES).prefixes == ["3", "7"]
    with closing(PrefixLocks(database, column.space.name)) as locks:
        locks.acquire(range(1))
        found = check_readiness(database, by_api, PREFIXES)
        assert (found.prefixes, found.obstacle) == (
            [],
            f"a run is loading space {column.space.name} for the first time",
        )
        ensure_pending_index(database, column)
        assert check_readiness(database, by_api, PREFIXES).prefixes == ["3", "7"]


def test_it_is_the_configured_space_that_counts_not_the_one_that_serves(
    settings: Settings, by_api: Settings, database: Database
):
    insert(database, "35")
    local, api = select_unasked(settings, database).column, select_unasked(by_api, database).column
    embed(database, local, "35")
    embed(database, api, "3")
    assert check_readiness(database, settings, PREFIXES) == Readiness([])
    assert check_readiness(database, by_api, PREFIXES) == Readiness(["5"], few=True, chunks=1)
    # An unset provider is that of the vectors that serve.
    unset = settings.model_copy(update={"embedding": type(settings.embedding)(), "openai": by_api.openai})
    assert check_readiness(database, unset, PREFIXES).prefixes == []
    serve_space(database, api, force=True)
    assert check_readiness(database, unset, PREFIXES).prefixes == ["5"]


def test_many_are_not_few(settings: Settings, database: Database):
    select_unasked(settings, database)
    insert(database, "3", count=FEW_CHUNKS)
    assert check_readiness(database, settings, PREFIXES) == Readiness(["3"], few=True, chunks=1000)
    insert(database, "4")
    assert check_readiness(database, settings, PREFIXES) == Readiness(["3", "4"], few=False, chunks=1001)


@pytest.mark.parametrize(("usd_per_day", "ready"), [("40", True), ("32", False)])
def test_a_limit_need_not_leave_a_full_request(
    usd_per_day: str, ready: bool, by_api: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
):
    """One text of full length may cost 8,192 tokens, each of four bytes."""
    monkeypatch.setattr("embedding_assets.pipeline.readiness.FEW_CHUNKS", 1)
    limited = by_api.with_group("budget", alert_share=1, usd_per_day=usd_per_day)
    select_unasked(limited, database)
    insert(database, "35")
    assert bool(check_readiness(database, limited, PREFIXES).prefixes) == ready


@pytest.mark.parametrize(
    ("budget", "spent", "setting"),
    [
        # Two chunks of 11 bytes could cost 2.2 cents.
        ({"usd_per_day": 1}, 0.977, None),
        ({"usd_per_day": 1}, 0.979, "EMBEDDING_BUDGET_USD_PER_DAY leaves"),
        ({"usd_per_month": 1}, 0.977, None),
        ({"usd_per_month": 1}, 0.979, "EMBEDDING_BUDGET_USD_PER_MONTH leaves"),
        ({"usd_per_run": "0.021"}, 0, "EMBEDDING_BUDGET_USD_PER_RUN leaves"),
        ({"usd_per_run": "0.022"}, 5, None),
        ({}, 5, None),
    ],
)
def test_a_limit_in_dollars_that_the_next_request_could_pass_stops_all_runs(
    budget: dict[str, object], spent: float, setting: str | None, by_api: Settings, database: Database
):
    limited = by_api.with_group("budget", alert_share=1, **budget)
    select_unasked(limited, database)
    insert(database, "35")
    if spent:
        spend(database, spent)
    ready = check_readiness(database, limited, PREFIXES)
    if setting is None:
        assert ready == Readiness(["3", "5"], few=True, chunks=2)
    else:
        assert ready.prefixes == []
        assert ready.obstacle.startswith("a limit in dollars leaves too little for the next request: ")
        assert setting in ready.obstacle
        assert "resets" in ready.obstacle


def test_limits_in_dollars_do_not_concern_a_local_model(settings: Settings, database: Database):
    limited = settings.with_group("budget", usd_per_day="0.01")
    select_unasked(limited, database)
    insert(database, "3")
    spend(database, 5)
    assert check_readiness(database, limited, PREFIXES) == Readiness(["3"], few=True, chunks=1)


def test_a_long_text_of_many_chunks_must_fit(by_api: Settings, database: Database):
    """Of many chunks or of a space that is yet to be made: 4 x 100 tokens cost up to 40 cents."""
    limited = by_api.with_group("openai", max_request_tokens=100).with_group("budget", usd_per_day=1)
    insert(database, "3", count=FEW_CHUNKS + 1)
    for _ in range(2):
        assert check_readiness(database, limited, PREFIXES).obstacle == ""
        select_unasked(limited, database)
    spend(database, 0.61)
    assert "EMBEDDING_BUDGET_USD_PER_DAY" in check_readiness(database, limited, PREFIXES).obstacle
    smaller = limited.with_group("openai", max_request_tokens=90)
    assert check_readiness(database, smaller, PREFIXES).obstacle == ""


def test_near_a_limit_it_warns(by_api: Settings, database: Database):
    limited = by_api.with_group("budget", usd_per_day=1)
    select_unasked(limited, database)
    insert(database, "3")
    spend(database, 0.79)
    assert check_readiness(database, limited, PREFIXES).warning == ""
    spend(database, 0.02)
    ready = check_readiness(database, limited, PREFIXES)
    assert ready.prefixes == ["3"]
    assert "EMBEDDING_BUDGET_USD_PER_DAY" in ready.warning
    assert "81%" in ready.warning


def test_a_limit_without_a_price_is_an_error(by_api: Settings, database: Database):
    unknown = by_api.with_group("openai", usd_per_million_tokens=None, model="someone/model")
    select_unasked(unknown, database)
    insert(database, "3")
    assert check_readiness(database, unknown, PREFIXES).prefixes == ["3"]
    with pytest.raises(ConfigurationError, match="EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS"):
        check_readiness(database, unknown.with_group("budget", usd_per_day=1), PREFIXES)


def test_an_api_that_is_down_is_left_alone(by_api: Settings, database: Database):
    select_unasked(by_api, database)
    insert(database, "3")
    until = fail(database, by_api)
    ready = check_readiness(database, by_api, PREFIXES)
    assert ready.prefixes == []
    assert ready.obstacle == f"the API at api.openai.com is down and is asked again at {until:%H:%M:%S} UTC"
    other_key = by_api.with_group("openai", api_key="another")
    assert check_readiness(database, other_key, PREFIXES).prefixes == ["3"]
    fail(database, by_api, seconds=-1)
    assert check_readiness(database, by_api, PREFIXES).prefixes == ["3"]


def test_beside_an_outage_the_fallback_goes_on_with_what_neither_has_embedded(by_api: Settings, database: Database):
    settings = by_api.with_embedding(fallback="local")
    column = select_unasked(settings, database).column
    fallback = fallback_settings(settings, column.space)
    assert fallback is not None
    insert(database, "357")
    embed(database, column, "7")
    fail(database, settings)
    ready = check_readiness(database, settings, PREFIXES)
    assert ready.prefixes == ["3", "5"], "the fallback has no space yet"
    assert "the fallback stands in" in ready.warning

    beside = select_unasked(fallback, database).column
    assert check_readiness(database, settings, PREFIXES).prefixes == ["3", "5"]
    embed(database, beside, "3")
    assert check_readiness(database, settings, PREFIXES).prefixes == ["5"]
    embed(database, beside, "5")
    ready = check_readiness(database, settings, PREFIXES)
    assert ready.prefixes == []
    assert ready.obstacle.endswith("UTC; the fallback has embedded what is due")
    fail(database, settings, seconds=-1)
    assert check_readiness(database, settings, PREFIXES) == Readiness(["3", "5"], few=True, chunks=2)


def test_an_api_that_was_down_from_the_start(settings: Settings, by_api: Settings, database: Database):
    """The table has the fallback's space, and the API's is still to be made."""
    insert(database, "35")
    local = select_unasked(settings, database).column
    embed(database, local, "3")
    fail(database, by_api)
    assert check_readiness(database, by_api.with_embedding(fallback="local"), PREFIXES).prefixes == ["5"]
    assert "is down" in check_readiness(database, by_api, PREFIXES).obstacle


def test_the_space_of_the_record_is_the_one_whose_endpoint_counts(by_api: Settings, database: Database):
    """Where the settings leave the model open, it is the table's."""
    column = select_unasked(by_api.with_group("openai", model="text-embedding-3-large"), database).column
    insert(database, "3")
    followed = by_api.openai.model_copy(update={"model": column.space.model})
    fail(database, by_api.model_copy(update={"openai": followed}))
    assert "is down" in check_readiness(database, by_api, PREFIXES).obstacle


def test_what_only_its_owners_provider_can_embed_asks_for_no_run(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")
    select_unasked(settings, database, FakeProvider())
    insert_chunks(database, ["text"])
    readiness = check_readiness(database, get_settings(), all_prefixes(1))
    assert readiness.prefixes == []
    assert "is no provider of this package" in readiness.obstacle
