"""A Dagster project of one's own, with the pipeline in it: an asset writes chunks, the pipeline embeds them.

Run, from this folder:

    dagster dev -f definitions.py
    dagster asset materialize -f definitions.py --select '*' --partition-range 0...f
"""

import hashlib

import dagster as dg

from embedding_assets.defs.factory import build_embedding_definitions

ARTICLES = ["Keys are rotated every ninety days.", "Backups are kept for a year, in another region."]


# Single run: so that it can be materialized with a range of partitions of what is downstream.
@dg.asset(required_resource_keys={"embedding_database"}, backfill_policy=dg.BackfillPolicy.single_run())
def articles(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Chunks of the articles, written into knowledge_base."""
    with context.resources.embedding_database.open() as database:
        rows = [(hashlib.sha256(text.encode()).hexdigest(), text) for text in ARTICLES]
        database.run(
            lambda connection: connection.cursor().executemany(
                "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (%s, %s) ON CONFLICT DO NOTHING", rows
            )
        )
    return dg.MaterializeResult(metadata={"articles": len(ARTICLES)})


# Counting the backlog waits for the articles, and chunk_embeddings follows them.
defs = dg.Definitions.merge(dg.Definitions(assets=[articles]), build_embedding_definitions(deps=[articles]))
