"""Partitions, by the first hex characters of ``chunk_hash``, and the age their vectors may have."""

from datetime import timedelta

from dagster import FreshnessPolicy, StaticPartitionsDefinition

from embedding_assets.config import get_settings
from embedding_assets.planning import all_prefixes

prefix_partitions = StaticPartitionsDefinition(all_prefixes(get_settings().embedding.prefix_length))

# The latest materialization of any partition counts. The nightly run comes every 24 hours; two more are its own time.
nightly_at_least = FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
