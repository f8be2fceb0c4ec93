"""Measurements of answers over time, and the accepted one that a new one is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

_KEPT: Final = 1000
"""Measurements of one way to ask that are kept."""


@dataclass(frozen=True, slots=True)
class QualityMeasurement:
    """How good the answers to some judged questions were at one moment.

    Attributes:
        space: name of the space that was searched.
        mode: by what chunks were ranked.
        reranked: whether a reranker put the first chunks in order.
        ef_search: how thoroughly the vector index was searched.
        measured_at: when.
        question_set: digest of the questions and their judgements.
        questions: how many were asked.
        questions_left_out: how many more there are than may be asked.
        judgements: of the questions that were asked.
        judgements_unmatched: those that no chunk of the table fits.
        ndcg: nDCG@10, mean over the questions; ``_low`` and ``_high`` are its 95% interval, of each metric.
        mrr: mean reciprocal rank.
        recall_k: how many units count for the recall.
        recall: share of the places judged to answer that are among the first ``recall_k`` units.
        ndcg_by_question: what the file calls a question → its nDCG@10.
        accepted: whether later measurements are compared with this one.
        id: ascending; None before it is saved.
    """

    space: str
    mode: str
    reranked: bool
    ef_search: int
    measured_at: datetime
    question_set: str
    questions: int
    questions_left_out: int
    judgements: int
    judgements_unmatched: int
    ndcg: float
    ndcg_low: float
    ndcg_high: float
    mrr: float
    mrr_low: float
    mrr_high: float
    recall_k: int
    recall: float
    recall_low: float
    recall_high: float
    ndcg_by_question: Mapping[str, float] = field(repr=False)
    accepted: bool = False
    id: int | None = None


_COLUMNS: Final = tuple(one.name for one in fields(QualityMeasurement) if one.name != "id")
_ROWS: Final = sql.SQL("SELECT {}, id FROM embedding_quality_measurements").format(
    sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
)
_SELECT: Final = _ROWS + sql.SQL(" WHERE space = %s AND mode = %s AND reranked = %s")


def save_quality(database: Database, measurement: QualityMeasurement, *, accept: bool = False) -> QualityMeasurement:
    """Keep a measurement; returns it with its id, and accepted or not.

    It is accepted if that is asked for, if it is the first of these questions, or if it is not below the last accepted
    one of them. A lower one never becomes what the next is compared with, however little lower: many small steps down
    add up, and are noticed.
    """
    query = sql.SQL("INSERT INTO embedding_quality_measurements ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)), sql.SQL(", ").join(map(sql.Placeholder, _COLUMNS))
    )

    def work(connection: Connection) -> QualityMeasurement:
        before = _baseline(connection, measurement)
        kept = replace(measurement, accepted=accept or before is None or measurement.ndcg >= before.ndcg)
        row = {name: getattr(kept, name) for name in _COLUMNS}
        found: Any = connection.execute(
            query, row | {"ndcg_by_question": Jsonb(dict(kept.ndcg_by_question))}
        ).fetchone()
        _forget_old(connection, kept)
        return replace(kept, id=found[0])

    return database.run(work)


def baseline_quality(database: Database, measurement: QualityMeasurement) -> QualityMeasurement | None:
    """The last accepted one of the same questions, asked in the same space and mode, which may be the given one."""
    return database.run(lambda connection: _baseline(connection, measurement))


def latest_quality(database: Database, mode: str) -> QualityMeasurement | None:
    """The last one of a mode, of any space, without a reranker; None before the first."""
    query = _ROWS + sql.SQL(" WHERE mode = %s AND NOT reranked ORDER BY id DESC LIMIT 1")
    row = database.run(lambda connection: connection.execute(query, [mode]).fetchone())
    return QualityMeasurement(*row) if row else None


def list_quality(
    database: Database, space: str, mode: str, *, reranked: bool = False, limit: int = 100
) -> list[QualityMeasurement]:
    """The last ``limit`` ones, oldest first."""
    query = _SELECT + sql.SQL(" ORDER BY id DESC LIMIT %s")
    rows = database.run(lambda connection: connection.execute(query, [space, mode, reranked, limit]).fetchall())
    return [QualityMeasurement(*row) for row in reversed(rows)]


def _baseline(connection: Connection, measurement: QualityMeasurement) -> QualityMeasurement | None:
    row = connection.execute(
        _SELECT + sql.SQL(" AND question_set = %s AND accepted ORDER BY id DESC LIMIT 1"),
        [measurement.space, measurement.mode, measurement.reranked, measurement.question_set],
    ).fetchone()
    return QualityMeasurement(*row) if row else None


def _forget_old(connection: Connection, measurement: QualityMeasurement) -> None:
    query = """
        DELETE FROM embedding_quality_measurements AS old
        WHERE space = %(space)s AND mode = %(mode)s AND reranked = %(reranked)s
          AND id <= (SELECT id FROM embedding_quality_measurements
                     WHERE space = %(space)s AND mode = %(mode)s AND reranked = %(reranked)s
                     ORDER BY id DESC OFFSET %(kept)s LIMIT 1)
          AND id IS DISTINCT FROM (SELECT max(id) FROM embedding_quality_measurements
                                   WHERE space = %(space)s AND mode = %(mode)s AND reranked = %(reranked)s
                                     AND question_set = old.question_set AND accepted)
    """
    values = {"space": measurement.space, "mode": measurement.mode, "reranked": measurement.reranked, "kept": _KEPT}
    connection.execute(query, values)
