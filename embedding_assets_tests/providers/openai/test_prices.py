"""Prices: the list, a setting above it, and what follows where neither says."""

from decimal import Decimal

import pytest

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.usage.ledger import usd_of
from embedding_assets.providers.openai.prices import PRICES_DATE, PRICES_USD_PER_MILLION, price_of

UNLIMITED = BudgetConfig()
LIMITED = BudgetConfig(usd_per_day=Decimal(1))


@pytest.mark.parametrize(
    ("model", "price"),
    [("text-embedding-3-small", "0.02"), ("text-embedding-3-large", "0.13"), ("text-embedding-ada-002", "0.10")],
)
def test_list_prices(model: str, price: str):
    dimensions = 1536 if model.endswith("002") else 768
    for budget in (UNLIMITED, LIMITED):
        assert price_of(OpenAIConfig(model=model, dimensions=dimensions), budget) == Decimal(price)
    assert PRICES_DATE.startswith("20")
    assert all(price > 0 for price in PRICES_USD_PER_MILLION.values())


@pytest.mark.parametrize("price", ["0", "0.0137"])
def test_a_setting_is_above_the_list(price: str, caplog: pytest.LogCaptureFixture):
    for model in ("text-embedding-3-small", "own-model"):
        config = OpenAIConfig(model=model, usd_per_million_tokens=Decimal(price))
        assert price_of(config, LIMITED) == Decimal(price)
    assert caplog.records == []


def test_an_unknown_price_is_a_warning(caplog: pytest.LogCaptureFixture):
    assert price_of(OpenAIConfig(model="own-model"), UNLIMITED) is None
    [column] = caplog.records
    assert column.levelname == "WARNING"
    assert "price of model own-model is not known; set EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS" in column.message


@pytest.mark.parametrize("limit", ["usd_per_run", "usd_per_day", "usd_per_month"])
def test_an_unknown_price_is_an_error_where_a_limit_is_set(limit: str):
    with pytest.raises(ConfigurationError, match=r"own-model .*EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS"):
        price_of(OpenAIConfig(model="own-model"), BudgetConfig(**{limit: Decimal(1)}))


def test_dollars_are_exact():
    assert usd_of(1_000_000, Decimal("0.02")) == Decimal("0.02")
    assert usd_of(1, Decimal("0.02")) == Decimal("0.00000002")
    assert usd_of(123, None) == 0
