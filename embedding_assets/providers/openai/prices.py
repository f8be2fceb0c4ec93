"""Prices of an API's tokens."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Final

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.errors import ConfigurationError

logger = logging.getLogger(__name__)

PRICES_DATE: Final = "2026-11"
"""The day on which the list was read."""

PRICES_USD_PER_MILLION: Final = {
    "text-embedding-3-small": Decimal("0.02"),
    "text-embedding-3-large": Decimal("0.13"),
    "text-embedding-ada-002": Decimal("0.10"),
}
"""List prices in dollars a million tokens (https://platform.openai.com/docs/pricing)."""


def price_of(config: OpenAIConfig, budget: BudgetConfig) -> Decimal | None:
    """Dollars a million tokens: as configured, else the list price; None: unknown, which is warned about.

    Raises:
        ConfigurationError: the price is unknown, and there is a limit in dollars to hold.
    """
    price = config.usd_per_million_tokens
    if price is None:
        price = PRICES_USD_PER_MILLION.get(config.model)
    if price is not None:
        return price
    advice = f"the price of model {config.model} is not known; set EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS"
    if budget.is_limited:
        raise ConfigurationError(f"{advice} (0 where nothing is billed), or no limit in dollars can be held")
    logger.warning("%s, or its requests count as free", advice)
    return None
