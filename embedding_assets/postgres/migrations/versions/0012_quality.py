"""Measurements of answers by judged questions."""

from alembic import op

revision = "0012"
down_revision = "0011"

# No question and no text: only what the file calls each question, and a digest of them all.
_QUALITY = """
CREATE TABLE embedding_quality_measurements (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space text NOT NULL REFERENCES embedding_spaces (name) ON DELETE CASCADE,
    mode text NOT NULL,
    reranked boolean NOT NULL,
    ef_search integer NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT now(),
    question_set text NOT NULL,
    questions integer NOT NULL,
    questions_left_out integer NOT NULL,
    judgements integer NOT NULL,
    judgements_unmatched integer NOT NULL,
    ndcg double precision NOT NULL,
    ndcg_low double precision NOT NULL,
    ndcg_high double precision NOT NULL,
    mrr double precision NOT NULL,
    mrr_low double precision NOT NULL,
    mrr_high double precision NOT NULL,
    recall_k integer NOT NULL,
    recall double precision NOT NULL,
    recall_low double precision NOT NULL,
    recall_high double precision NOT NULL,
    ndcg_by_question jsonb NOT NULL,
    accepted boolean NOT NULL
);
CREATE INDEX idx_embedding_quality_measurements_space ON embedding_quality_measurements (space, mode, reranked, id DESC)
"""


def upgrade() -> None:
    """One table more."""
    op.execute(_QUALITY)
