"""Questions by week, and how many of them found nothing that stands out."""

from alembic import op

revision = "0016"
down_revision = "0015"

# Counts alone: no question is kept.
_WEEKS = """
CREATE TABLE embedding_question_weeks (
    monday date NOT NULL,
    space text NOT NULL REFERENCES embedding_spaces (name) ON DELETE CASCADE,
    questions bigint NOT NULL,
    low bigint NOT NULL,
    PRIMARY KEY (monday, space)
)
"""


def upgrade() -> None:
    """One table more."""
    op.execute(_WEEKS)
