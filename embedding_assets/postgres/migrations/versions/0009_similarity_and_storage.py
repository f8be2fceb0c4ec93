"""What a space ranks by and how its vectors are stored, beside the space; one address of a server in its identity."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

# Both as they were: the operator class was a setting, and its index shows what it was set to.
_COLUMNS = """
ALTER TABLE embedding_spaces
    ADD COLUMN IF NOT EXISTS similarity text NOT NULL DEFAULT 'cosine',
    ADD COLUMN IF NOT EXISTS storage text NOT NULL DEFAULT 'vector';
UPDATE embedding_spaces SET similarity = CASE opcname WHEN 'vector_ip_ops' THEN 'dot' ELSE 'euclidean' END
FROM pg_index JOIN pg_opclass ON pg_opclass.oid = indclass[0]
WHERE indexrelid = to_regclass(quote_ident(index_name)) AND opcname IN ('vector_ip_ops', 'vector_l2_ops')
"""

_REFERENCE = """
ALTER TABLE {table}
    DROP CONSTRAINT {table}_space_fkey,
    ADD CONSTRAINT {table}_space_fkey FOREIGN KEY (space) REFERENCES embedding_spaces (name)
        ON DELETE CASCADE ON UPDATE CASCADE
"""


def upgrade() -> None:
    """Add the columns; what refers to a space follows its name."""
    op.execute(_COLUMNS)
    for table in ("embedding_failures", "embedding_runs", "embedding_index_measurements"):
        op.execute(_REFERENCE.format(table=table))
    _normalize_addresses()


def _normalize_addresses() -> None:
    """Host names in lower case, without the usual port: both do not tell one server from another."""
    connection = op.get_bind()
    query = "SELECT provider, model, revision, dimensions, normalized, prompt, max_tokens, name FROM embedding_spaces"
    rows = connection.execute(sa.text(query)).mappings().all()
    for row in rows:
        host, slash, path = row["revision"].partition("/")
        host, mark, fields = host.partition("?")
        host = host.lower().removesuffix(":443").removesuffix(":80")
        revision = f"{host}{mark}{fields}{slash}{path}"
        if row["provider"] != "openai" or revision == row["revision"]:
            continue
        identity = {**row, "revision": revision}
        del identity["name"]
        name = f"{row['name'].rpartition('-')[0]}-{_digest(identity)}"
        if all(other["name"] != name for other in rows):
            change = "UPDATE embedding_spaces SET name = :name, revision = :revision WHERE name = :before"
            connection.execute(sa.text(change), {"name": name, "revision": revision, "before": row["name"]})


def _digest(identity: dict[str, object]) -> str:
    text = "\x1f".join(f"{key}={value!r}" for key, value in sorted(identity.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
