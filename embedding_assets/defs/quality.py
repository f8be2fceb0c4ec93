"""The asset of judged questions and its check; only where EMBEDDING_EVALUATION_QUERIES names the questions."""

from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetExecutionContext,
    AssetsDefinition,
    BackfillPolicy,
    MaterializeResult,
    asset,
    asset_check,
)

from embedding_assets.config import get_settings
from embedding_assets.defs.assets import pgvector_index_health
from embedding_assets.defs.checks import as_result
from embedding_assets.defs.figures import quality_pictures
from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
from embedding_assets.evaluation.recording import record_quality
from embedding_assets.health.checks import QUALITY_DROP
from embedding_assets.health.quality import quality_drop as judge
from embedding_assets.logs import correlate
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.quality import baseline_quality, latest_quality, list_quality


@asset(
    group_name="embedding",
    kinds={"postgres"},
    deps=[pgvector_index_health],
    backfill_policy=BackfillPolicy.single_run(),
)
def retrieval_quality(
    context: AssetExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> MaterializeResult[Any]:
    """How good answers are: the judged questions of EMBEDDING_EVALUATION_QUERIES, asked as searches are by default.

    The numbers are kept, so that a later fall is noticed. It asks up to EMBEDDING_EVALUATION_QUESTIONS questions, and
    runs only when it is asked for: neither sensor nor nightly schedule does it. If it fails, the file of questions is
    broken and the error names its lines, or the model cannot embed a question.
    """
    settings = embedding_provider.settings()
    with correlate(context.run.run_id), postgres.open() as database:
        if not has_chunks(database):
            context.log.info("knowledge_base is empty; load documents with `embedding-assets load PATH`")
            return MaterializeResult(metadata={"chunks": 0})
        measurement = record_quality(settings, database)
        history = list_quality(database, measurement.space, measurement.mode, reranked=measurement.reranked)
    return MaterializeResult(
        metadata={
            **quality_pictures(history),
            "space": measurement.space,
            "mode": measurement.mode,
            "ef_search": measurement.ef_search,
            "questions": measurement.questions,
            "questions_left_out": measurement.questions_left_out,
            "judgements": measurement.judgements,
            "judgements_unmatched": measurement.judgements_unmatched,
            "ndcg_at_10": round(measurement.ndcg, 4),
            "mrr": round(measurement.mrr, 4),
            f"recall_at_{measurement.recall_k}": round(measurement.recall, 4),
            "accepted": measurement.accepted,
        }
    )


@asset_check(asset=retrieval_quality, blocking=QUALITY_DROP.blocking, description=QUALITY_DROP.description)
def quality_drop(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> AssetCheckResult:
    """Verdict on the last measurement."""
    settings = embedding_provider.settings()
    with correlate(context.run.run_id), postgres.open() as database:
        measurement = latest_quality(database, settings.search.mode)
        if measurement is None:
            return as_result(QUALITY_DROP.verdict(True, "nothing was measured yet"))
        baseline = baseline_quality(database, measurement)
    return as_result(judge(measurement, baseline, settings.evaluation.quality_drop))


def quality_assets() -> tuple[list[AssetsDefinition], list[AssetChecksDefinition]]:
    """The asset and its check, if there are questions."""
    if get_settings().evaluation.queries is None:
        return [], []
    return [retrieval_quality], [quality_drop]
