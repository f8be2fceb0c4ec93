"""Everything Dagster loads: ``-m embedding_assets.definitions``."""

from dagster import Definitions, in_process_executor

from embedding_assets.defs.alerts import failed_checks_sensor, failed_runs_sensor
from embedding_assets.defs.assets import chunk_embeddings, chunks_pending, pgvector_index_health
from embedding_assets.defs.automation import index_health_sensor
from embedding_assets.defs.checks import costs_within_budget, embedding_checks, index_checks, vectors_match_model
from embedding_assets.defs.jobs import embedding_job
from embedding_assets.defs.quality import quality_assets
from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets.defs.schedules import nightly_schedule
from embedding_assets.defs.sensors import new_chunks_sensor
from embedding_assets.encoder.threads import let_threads_sleep

let_threads_sleep()

# Configured at launch, so that the provider sees what the launchpad sets for the model.
_model = ModelResource.configure_at_launch()

_measured, _judged = quality_assets()

defs = Definitions(
    assets=[chunks_pending, chunk_embeddings, pgvector_index_health, *_measured],
    asset_checks=[embedding_checks, vectors_match_model, costs_within_budget, index_checks, *_judged],
    resources={
        "postgres": PostgresResource(),
        "model": _model,
        "embedding_provider": EmbeddingProviderResource(model=_model),
    },
    jobs=[embedding_job],
    sensors=[new_chunks_sensor, index_health_sensor, failed_runs_sensor, failed_checks_sensor],
    schedules=[nightly_schedule],
    # In one process the steps share one model and pay for loading definitions once.
    executor=in_process_executor,
)
