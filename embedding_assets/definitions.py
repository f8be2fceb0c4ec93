"""Everything Dagster loads: ``-m embedding_assets.definitions``."""

import warnings

from dagster import BetaWarning, Definitions, in_process_executor

from embedding_assets.defs.factory import build_embedding_definitions

# Of Dagster's own commands, about what they call themselves; above their output it says nothing to a user.
warnings.filterwarnings("ignore", category=BetaWarning, message="Parameter `include_sources`")

defs = Definitions.merge(
    build_embedding_definitions(keep_runs_days=30),
    # Also for what is started in the UI: in one process the steps share one model.
    Definitions(executor=in_process_executor),
)
