"""Age that embeddings and index may have before Dagster calls them stale."""

from datetime import timedelta

from dagster import FreshnessPolicy

# The latest materialization of any partition counts. The nightly run comes every 24 hours; two more are its own time.
nightly_at_least = FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
