"""The Dagster layer: thin definitions over the library."""

import logging
import warnings

from dagster import BetaWarning

# Known and accepted; warnings above the output of every command say nothing to a user.
warnings.filterwarnings(
    "ignore", category=BetaWarning, message=r"Parameter `(backfill_policy|include_sources|use_user_code_server)`"
)

# Dagster's handlers take what this package's loggers let through.
logging.getLogger("embedding_assets").setLevel(logging.INFO)
