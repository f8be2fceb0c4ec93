"""The asset of judged questions and its check; only where EMBEDDING_EVALUATION_QUERIES names the questions."""

from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
    MetadataValue,
    asset_check,
)

from embedding_assets.defs.checks import as_result
from embedding_assets.defs.code_version import code_version
from embedding_assets.defs.figures import quality_pictures
from embedding_assets.defs.run_scope import in_run
from embedding_assets.defs.table_spec import HEALTH, QUALITY, TableSpec
from embedding_assets.evaluation.recording import record_quality
from embedding_assets.health.checks import QUALITY_DROP
from embedding_assets.health.quality import quality_drop as judge
from embedding_assets.logs import correlate
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.quality import baseline_quality, latest_quality, list_quality


def quality_assets(spec: TableSpec) -> tuple[list[AssetsDefinition], list[AssetChecksDefinition]]:
    """The asset and its check, if there are questions."""
    if not spec.is_measured:
        return [], []

    @spec.asset(QUALITY, kinds={"postgres"}, deps=[spec.key(HEALTH)], code_version=code_version(spec, QUALITY))
    def retrieval_quality(context: AssetExecutionContext) -> MaterializeResult[Any]:
        """How good answers are: the judged questions of EMBEDDING_EVALUATION_QUERIES, asked as searches are by default.

        The numbers are kept, so that a later fall is noticed. It asks up to EMBEDDING_EVALUATION_QUESTIONS questions,
        and runs only when it is asked for: neither sensor nor nightly schedule does it.

        If it fails, the file of questions is broken and the error names its lines, or the model cannot embed a
        question.
        """
        return _measure(context, spec)

    @asset_check(
        asset=spec.key(QUALITY),
        blocking=QUALITY_DROP.blocking,
        description=QUALITY_DROP.description,
        required_resource_keys=spec.resource_keys,
    )
    @in_run(spec.set_here)
    def quality_drop(context: AssetCheckExecutionContext) -> AssetCheckResult:
        """Verdict on the last measurement."""
        return _judge(context, spec)

    return [retrieval_quality], [quality_drop]


def _measure(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    settings = spec.run_settings(context)
    with correlate(context.run.run_id), spec.open(context) as database:
        if not has_chunks(database):
            context.log.info(database.table.emptiness)
            return MaterializeResult(metadata={"chunks": 0, "note": MetadataValue.md(database.table.emptiness)})
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


def _judge(context: AssetCheckExecutionContext, spec: TableSpec) -> AssetCheckResult:
    settings = spec.run_settings(context)
    with correlate(context.run.run_id), spec.open(context) as database:
        measurement = latest_quality(database, settings.search.mode)
        if measurement is None:
            return as_result(QUALITY_DROP.verdict(True, "nothing was measured yet"))
        baseline = baseline_quality(database, measurement)
    return as_result(judge(measurement, baseline, settings.evaluation.quality_drop))
