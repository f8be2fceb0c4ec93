"""The Dagster layer: thin definitions over the library."""

import logging

_logger = logging.getLogger("embedding_assets")
if _logger.level == logging.NOTSET:
    # Dagster's handlers take what this package's loggers let through.
    _logger.setLevel(logging.INFO)
