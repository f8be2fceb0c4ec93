"""Details of measurements by the names and in the groups that the code has for them."""

from alembic import op

revision = "0005"
down_revision = "0004"

_REGROUP = """
UPDATE embedding_index_measurements SET details = jsonb_build_object(
    'ef_search', details -> 'ef_search',
    'bloat', bloat,
    'index', jsonb_build_object(
        'name', index_name, 'exists', index_bytes > 0, 'valid', index_bytes > 0, 'size_bytes', index_bytes,
        'operator_class', details -> 'operator_class', 'm', details -> 'm',
        'ef_construction', details -> 'ef_construction', 'method', details -> 'method'
    ),
    'search', jsonb_build_object(
        'queries', details -> 'queries', 'recall', recall, 'planner_uses_index', details -> 'planner_uses_index',
        'p50_ms', p50_ms, 'p95_ms', p95_ms, 'recall_low', recall_low, 'recall_high', recall_high,
        'exact_p50_ms', exact_p50_ms, 'exact_p95_ms', details -> 'exact_p95_milliseconds',
        'curve', coalesce((
            SELECT jsonb_agg(point - 'p50_milliseconds' - 'p95_milliseconds' || jsonb_build_object(
                'p50_ms', point -> 'p50_milliseconds', 'p95_ms', point -> 'p95_milliseconds'
            ) ORDER BY place)
            FROM jsonb_array_elements(details -> 'curve') WITH ORDINALITY AS points (point, place)
        ), '[]'),
        'duplicates', details -> 'duplicates', 'near_duplicates', details -> 'near_duplicates',
        'reason', details -> 'reason'
    ),
    'vectors', jsonb_build_object(
        'count', embedded, 'heap_bytes', details -> 'heap_bytes', 'toast_bytes', details -> 'toast_bytes',
        'pending_index_bytes', details -> 'pending_index_bytes', 'live_rows', details -> 'live_rows',
        'dead_rows', details -> 'dead_rows', 'vacuumed_at', NULL, 'sampled', details -> 'sampled',
        'wrong_dimensions', 0, 'zero', details -> 'zero', 'not_unit_length', NULL,
        'norm_min', details -> 'norm_min', 'norm_mean', details -> 'norm_mean', 'norm_max', details -> 'norm_max',
        'pgvector', details -> 'pgvector'
    )
)
WHERE NOT details ? 'search'
"""


def upgrade() -> None:
    """Measurements stay comparable over the change."""
    op.execute(_REGROUP)
