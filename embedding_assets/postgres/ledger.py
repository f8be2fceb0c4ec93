"""Dollars: reserved before a request is sent, settled after it was answered, and added up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

__all__ = ["CostRow", "Spending", "count_spending", "list_costs"]


@dataclass(frozen=True, slots=True)
class CostRow:
    """What a day, a run or a space cost.

    Attributes:
        key: the day (UTC) as ``2026-11-21``, the run's id, or the space's name.
        requests: those that were answered.
        embeddings: texts in them.
        tokens: as billed for them.
        usd: dollars for them.
        presumed_usd: likely dollars for requests of which nobody knows whether they were billed.
    """

    key: str
    requests: int
    embeddings: int
    tokens: int
    usd: Decimal
    presumed_usd: Decimal

    @property
    def usd_per_1000_embeddings(self) -> Decimal | None:
        """Dollars for a thousand embeddings; None when there are none."""
        return self.usd * 1000 / self.embeddings if self.embeddings else None


@dataclass(frozen=True, slots=True)
class Spending:
    """Dollars that count against the limits: billed, presumed, and reserved by what is in flight."""

    run: Decimal
    day: Decimal
    month: Decimal


def list_costs(database: Database, *, by: Literal["day", "run", "space"], limit: int = 1000) -> list[CostRow]:
    """What each day, run or space cost: the newest days and runs first, the most expensive spaces first."""
    raise NotImplementedError


def count_spending(database: Database, run_id: str) -> Spending:
    """What counts against the limits of this run, of today and of this month (UTC), in all processes together."""
    raise NotImplementedError
