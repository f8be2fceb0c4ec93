"""Conditions on rows, as ``search --where`` takes them, and as Python does: ``lang=en``, ``{"price": 12.5}``."""

from embedding_assets.postgres.conditions.clause import Clause, clause_of
from embedding_assets.postgres.conditions.condition import Condition, Value, Where, conditions_of

__all__ = ["Clause", "Condition", "Value", "Where", "clause_of", "conditions_of"]
