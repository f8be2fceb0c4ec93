"""Partitions: the first hex characters of ``chunk_hash``."""

from dagster import StaticPartitionsDefinition

from embedding_assets.config import get_settings
from embedding_assets.planning import all_prefixes

prefix_partitions = StaticPartitionsDefinition(all_prefixes(get_settings().embedding.prefix_length))
