"""The asset checks evaluated alone, as the UI's "Execute" does."""

import dagster
from dagster import AssetCheckEvaluation, DagsterInstance

from embedding_assets.definitions import defs
from embedding_assets.postgres.connection import Database


def execute(database: Database, statement: str, *parameters: object) -> None:
    """One statement in a transaction of its own."""
    database.run(lambda connection: connection.execute(statement, parameters))


def evaluate(selection: dagster.AssetSelection | None = None) -> dict[str, AssetCheckEvaluation]:
    """All checks, or those selected: name to evaluation."""
    with DagsterInstance.ephemeral() as instance:
        result = dagster.materialize(
            [*defs.assets, *defs.asset_checks],
            instance=instance,
            resources=defs.resources,
            selection=selection or dagster.AssetSelection.all_asset_checks(),
            raise_on_error=False,  # a blocking check that fails
        )
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def failing() -> dict[str, AssetCheckEvaluation]:
    """Those that fail."""
    return {name: evaluation for name, evaluation in evaluate().items() if not evaluation.passed}
