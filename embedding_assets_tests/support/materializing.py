"""Runs over the three assets with their checks, and what they report."""

import dagster

from embedding_assets.definitions import defs
from embedding_assets.defs.jobs import range_tags
from embedding_assets.planning import PrefixRange


def materialize(instance, *, first="0", last="f", partition=None, tags=None, **options):
    """A run over a range of partitions, or over one by its key."""
    return dagster.materialize(
        [*defs.assets, *defs.asset_checks],
        instance=instance,
        resources=defs.resources,
        partition_key=partition,
        tags=tags or (None if partition else range_tags(PrefixRange(first, last))),
        **options,
    )


def metadata_of(result, asset, partition=None):
    """Metadata of an asset's materialization: name to value."""
    events = [m for m in result.asset_materializations_for_node(asset) if partition in (None, m.partition)]
    return {name: entry.value for name, entry in events[0].metadata.items()}
