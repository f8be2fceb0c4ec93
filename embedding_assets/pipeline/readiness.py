"""Readiness for a run: the prefixes that are due, and what keeps an API from embedding them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from embedding_assets.health.costs import costs_within_budget, limits_exceeded_by
from embedding_assets.postgres.backlog import due_prefixes, measure_due
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.locks import is_loading
from embedding_assets.postgres.usage.endpoints import outage_until
from embedding_assets.postgres.usage.ledger import count_spending, usd_of
from embedding_assets.providers.fallback import find_fallback
from embedding_assets.providers.openai.prices import price_of
from embedding_assets.providers.openai.provider import endpoint_of, openai_space
from embedding_assets.providers.space_selection import find_for_run, foreign_provider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

FEW_CHUNKS: Final = 1000
"""Up to here one run had better take all that is due: several would spend longer on starting than on embedding."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Work that runs could take up.

    Attributes:
        prefixes: those with chunks that are due; empty while something hinders all work.
        few: whether one run had better take all of it.
        chunks: that are due, counted up to ``FEW_CHUNKS`` and one more; 0 where they were not counted.
        obstacle: why nothing that is due could be embedded now, and when that changes; empty if it could.
        warning: what somebody should know meanwhile; empty if nothing.
    """

    prefixes: list[str]
    few: bool = False
    chunks: int = 0
    obstacle: str = ""
    warning: str = ""


def check_readiness(database: Database, settings: Settings, prefixes: Sequence[str]) -> Readiness:
    """Find what runs under these settings could take up in ``prefixes``; loads no model and asks no API.

    In the space that a run would embed into, so that both see the same backlog. Costs one probe of its partial index
    for each prefix, however large the table; none while a run is at a space that waits for that index.

    Raises:
        ConfigurationError: the settings do not lead to the table's model, or a dollar limit needs a price.
    """
    account, column = find_for_run(settings, database)
    if (foreign := foreign_provider(account)) is not None:
        return Readiness([], obstacle=foreign)
    if column is None:
        # Nothing was ever embedded there, so there is no partial index to probe yet.
        readiness, most_tokens = Readiness(list(prefixes) if has_chunks(database) else []), None
    elif not describe_index(database, column.pending_index).valid and is_loading(database, column.space.name):
        # Without that index each prefix that is done would be read to its end.
        return Readiness([], obstacle=f"a run is loading space {column.space.name} for the first time")
    else:
        readiness, most_tokens = _measure(database, column, prefixes)
    if not readiness.prefixes or account.embedding.provider != "openai":
        return readiness
    readiness = _within_budget(database, account, readiness, most_tokens)
    return readiness if readiness.obstacle else _beside_outage(database, account, column, readiness)


def _measure(database: Database, column: SpaceColumn, prefixes: Sequence[str]) -> tuple[Readiness, int | None]:
    """The prefixes that are due, and if that is little the most tokens of it."""
    due = due_prefixes(database, column, prefixes)
    if not due:
        return Readiness([]), None
    chunks, most_tokens = measure_due(database, column, most=FEW_CHUNKS + 1)
    few = chunks <= FEW_CHUNKS
    return Readiness(due, few=few, chunks=chunks), most_tokens if few else None


def _within_budget(database: Database, settings: Settings, readiness: Readiness, most_tokens: int | None) -> Readiness:
    budget = settings.budget
    if not budget.is_limited:
        return readiness
    # What a request of one long text would reserve, at four bytes a token, of which each may be one: a larger request
    # is made smaller where less is left.
    long = 4 * min(settings.openai.max_input_tokens, settings.openai.max_request_tokens)
    usd = usd_of(long if most_tokens is None else min(long, most_tokens), price_of(settings.openai, budget))
    spending = count_spending(database, run_id="")
    if exceeded := limits_exceeded_by(float(usd), spending, budget):
        obstacle = f"a limit in dollars leaves too little for the next request: {'; '.join(exceeded)}"
        return Readiness([], obstacle=obstacle)
    costs = costs_within_budget(spending, budget)
    return readiness if costs.passed else replace(readiness, warning=costs.description)


def _beside_outage(
    database: Database, settings: Settings, column: SpaceColumn | None, readiness: Readiness
) -> Readiness:
    until = outage_until(database, endpoint_of(settings.openai))
    if until is None:
        return readiness
    server = openai_space(settings.openai).revision
    outage = f"the API at {server} is down and is asked again at {until:%H:%M:%S} UTC"
    if settings.embedding.fallback is None:
        return Readiness([], obstacle=outage)
    beside = find_fallback(settings, database)
    due = readiness.prefixes
    if beside is not None:
        # A run goes on with what neither has embedded.
        due = due_prefixes(database, column, due, also_in=beside) if column else due_prefixes(database, beside, due)
    if not due:
        return Readiness([], obstacle=f"{outage}; the fallback has embedded what is due")
    return replace(readiness, prefixes=due, warning=f"{outage}; the fallback stands in")
