"""What a reader of an answer should know of how it was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.formatting import duration
from embedding_assets.postgres.conditions.condition import text_of
from embedding_assets.postgres.samples import table_sample

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions import Clause, Condition
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.search.facts import Facts
    from embedding_assets.postgres.search.scope import Scope
    from embedding_assets.postgres.search.statement import Outcome

_SAMPLE_ROWS: Final = 2000
_SLOW_SECONDS: Final = 0.2
_MOST_NAMED: Final = 20

_BUILD: Final = "`embedding-assets health` builds it"


def note_on_words(facts: Facts, outcome: Outcome, splittable: int) -> str | None:
    """The reason why a question was not searched by its words; None if it was.

    Args:
        facts: of the table.
        outcome: of the search.
        splittable: rows that a filter may leave so that their texts are split without an index.
    """
    table = facts.words.table
    if not facts.words.columns:
        return f"words were not searched: no column of the text of {table} can have an index of words"
    is_split = outcome.is_whole and outcome.passing is not None and outcome.passing <= splittable
    if facts.looks_up_words or facts.is_small or is_split:
        return None if outcome.has_words else "the question has no word to search for, so that its words found nothing"
    if facts.is_guarded:
        return (
            "words were not searched: row-level security holds for this role, under which PostgreSQL uses no index of "
            "words"
        )
    return f"words were not searched: {table} has no index of words in this language; {_BUILD}"


def is_any_left(database: Database, scope: Scope, outcome: Outcome) -> bool:
    """Whether a filter leaves any row; read again only where that was not counted for the search."""
    if outcome.passing is not None and not outcome.is_guessed:
        return outcome.passing > 0
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(scope.source, scope.condition)
    [[row]] = database.read([(query, scope.parameters)])
    return bool(row[0])


def note_on_filter(database: Database, where: Sequence[Condition]) -> str | None:
    """The reason why nothing fulfils the conditions, where some rows at random show one; only for ``knowledge_base``.

    The columns of other tables are known.
    """
    table = database.table
    if not table.is_own:
        return None
    query = sql.SQL("""
        WITH sampled AS MATERIALIZED (
            SELECT k.document_metadata AS document FROM {sample} WHERE jsonb_typeof(k.document_metadata) = 'object'
            LIMIT {rows}
        ), fields AS (SELECT key, value FROM sampled CROSS JOIN LATERAL jsonb_each(document))
        SELECT (SELECT count(*) FROM sampled),
               coalesce((SELECT jsonb_object_agg(key, kinds) FROM (
                   SELECT key, jsonb_agg(DISTINCT jsonb_typeof(value)) AS kinds FROM fields GROUP BY key
               ) f), '{{}}')
    """).format(sample=table_sample(table, _SAMPLE_ROWS), rows=sql.Literal(_SAMPLE_ROWS))
    row: Any
    [[row]] = database.read([(query, {})])
    sampled, kinds = row
    if not sampled:
        return None
    for condition in where:
        if condition.operator in ("!=", "not in", "is null"):
            continue
        if condition.key == "source" and (note := _note_on_rows(database, condition)):
            return note
        names = {condition.key, condition.key.partition(".")[0]}
        if condition.key.startswith("metadata."):
            names.add(condition.key.split(".")[1])
        found = next((kinds[name] for name in names if name in kinds), None)
        if found is None:
            known = ", ".join(sorted(kinds)[:_MOST_NAMED])
            return f"no chunk of {sampled:,} looked at has a field {condition.key!r}; they have {known}"
        if "." not in condition.key and condition.operator != "is not null":
            shown = " or ".join(_KINDS[kind] for kind in found)
            return f"no chunk fulfils the conditions; {condition.key!r} is {shown} in {sampled:,} looked at"
    return None


def _note_on_rows(database: Database, condition: Condition) -> str | None:
    """The name by which all rows of a file are asked for, where a source is said to be that of such a file.

    Looked up whole, and by its end among some rows at random.
    """
    names = [text_of(value) for value in condition.values if value is not None]
    query = sql.SQL("""
        WITH whole AS (
            SELECT document_metadata ->> 'origin' AS origin, document_metadata ->> 'source' AS source
            FROM {table} WHERE (document_metadata ->> 'origin') = ANY(%(names)s) LIMIT {rows}
        ), sampled AS MATERIALIZED (
            SELECT k.document_metadata AS document FROM {sample} LIMIT {rows}
        )
        SELECT origin FROM whole WHERE source <> origin
        UNION
        SELECT document ->> 'origin' FROM sampled
        WHERE document ->> 'source' <> document ->> 'origin'
          AND EXISTS (SELECT FROM unnest(%(names)s::text[]) name
                      WHERE right(document ->> 'origin', length(name) + 1) = '/' || name)
        ORDER BY 1 LIMIT 1
    """).format(
        table=database.table.rows, sample=table_sample(database.table, _SAMPLE_ROWS), rows=sql.Literal(_SAMPLE_ROWS)
    )
    found: Any
    [found] = database.read([(query, {"names": names})])
    if not found:
        return None
    [origin] = found[0]
    return f"no chunk fulfils the conditions; {origin} has rows, each a source of its own; origin={origin} finds them"


_KINDS: Final = {
    "string": "a text",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "empty",
}


def note_on_slow_filter(facts: Facts, clauses: Sequence[Clause], seconds: float) -> str | None:
    """The index that would have spared reading all of the table; None where that was quick, or none would have."""
    if seconds < _SLOW_SECONDS or any(facts.finds(clause) for clause in clauses):
        return None
    table = facts.words.table
    took = f"the filter took {duration(seconds)}, since all of {table} was read"
    indexable = [clause for clause in clauses if clause.indexable is not None]
    if table.is_own:
        return f"{took}; an index spares that, and {_BUILD}" if indexable else f"{took}: only equality has an index"
    if not indexable:
        return took
    clause = indexable[0]
    using = "USING gin " if clause.is_contained else ""
    column = sql.Identifier(clause.indexable or "").as_string()
    return f"{took}; this spares that: CREATE INDEX CONCURRENTLY ON {table} {using}({column})"
