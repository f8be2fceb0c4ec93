"""The Dagster layer: thin definitions over the library."""
