"""Everything Dagster loads: ``-m embedding_assets.definitions``."""

from dagster import Definitions, in_process_executor

from embedding_assets.defs.factory import build_embedding_definitions

defs = Definitions.merge(
    build_embedding_definitions(),
    # Also for what is started in the UI: in one process the steps share one model.
    Definitions(executor=in_process_executor),
)
