"""What Dagster loads of one table, by name."""

from embedding_assets.definitions import defs
from embedding_assets.defs.table_spec import TableSpec

SPEC = TableSpec()

_repository = defs.get_repository_def()

new_chunks_sensor = _repository.get_sensor_def("new_chunks_sensor")
index_health_sensor = _repository.get_sensor_def("index_health_sensor")
failed_runs_sensor = _repository.get_sensor_def("failed_runs_sensor")
failed_checks_sensor = _repository.get_sensor_def("failed_checks_sensor")
nightly_schedule = _repository.get_schedule_def("nightly_schedule")
[chunk_embeddings] = [asset for asset in defs.assets or () if asset.key == SPEC.key("chunk_embeddings")]
index_checks = next(checks for checks in defs.asset_checks or () if checks.op.name == "index_checks")
