"""Code servers of projects, as processes, and what the UI asks them for."""

import os
import sys
from contextlib import contextmanager

from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from embedding_assets_tests.support.dagster_ui import free_port
from embedding_assets_tests.support.processes import start
from embedding_assets_tests.support.waiting import wait_until

PROJECT = """
import dagster as dg
from embedding_assets.defs.factory import build_embedding_definitions

@dg.asset
def own():
    return 1

defs = dg.Definitions.merge(dg.Definitions(assets=[own]), build_embedding_definitions(key_prefix="shop"))
"""

HOME = """
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
telemetry:
  enabled: false
"""
"""A home as a project may have it: SQLite, no loggers captured, no daemon."""

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)

_LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
_RETRY = """
mutation ($params: ReexecutionParams!) {
  launchPipelineReexecution(reexecutionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
_TICK = """
mutation ($selector: SensorSelector!) {
  sensorDryRun(selectorData: $selector, cursor: null) {
    __typename ... on DryRunInstigationTick {
      evaluationResult { skipReason error { message } runRequests { tags { key value } } }
    }
  }
}
"""
_TERMINATE = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"


class Project:
    """Somebody's code locations: their servers, their home, and their runs.

    Attributes:
        server: the process of the first code server.
        instance: of the home.
    """

    def __init__(self, server, instance, process):
        self.server, self.instance, self._process = server, instance, process

    def ask(self, query, **variables):
        """What GraphQL answers."""
        result = execute_dagster_graphql(self._process.create_request_context(), query, variables=variables)
        return next(iter(result.data.values()))

    def launch(self, job="shop__embed_chunks", assets=(), location="theirs", **tags):
        """Launch a run over all partitions; returns its id."""
        tags = {"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "f", **tags}
        selector = {"repositoryName": "__repository__", "repositoryLocationName": location, "pipelineName": job}
        if assets:
            selector["assetSelection"] = [{"path": ["shop", name]} for name in assets]
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        params = {"selector": selector, "mode": "default", "executionMetadata": metadata, "runConfigData": {}}
        return _run_id(self.ask(_LAUNCH, params=params))

    def retry(self, run_id):
        """Launch a run again from where it failed; returns the new one's id."""
        return _run_id(self.ask(_RETRY, params={"parentRunId": run_id, "strategy": "FROM_FAILURE"}))

    def terminate(self, run_id):
        """As the button does."""
        return self.ask(_TERMINATE, id=run_id)["__typename"]

    def tick(self, sensor="shop__new_chunks_sensor", location="theirs"):
        """What a sensor says when it is tested in the UI: why it asks for nothing, or the tags of the runs."""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": location, "sensorName": sensor}
        result = self.ask(_TICK, selector=selector)["evaluationResult"]
        assert result["error"] is None, result
        requests = result["runRequests"] or []
        return result["skipReason"] or [{tag["key"]: tag["value"] for tag in one["tags"]} for one in requests]

    def reload(self):
        """Load the definitions again, as the button does."""
        self._process.reload_code_location("theirs")

    def worker(self, run_id):
        """Process id of a run's worker, once it has begun."""
        return wait_until(lambda: next((pid for pid in self._pids(run_id)), None), "the worker")

    def _pids(self, run_id):
        for entry in self.instance.all_logs(run_id):
            metadata = entry.dagster_event.engine_event_data.metadata if _is_engine_event(entry) else {}
            if "pid" in metadata:
                yield int(metadata["pid"].value)

    def end_of(self, run_id):
        """The status that a run ends with."""
        return wait_until(lambda: (status := self.instance.get_run_by_id(run_id).status) in ENDED and status, "the end")

    def said(self, run_id):
        """Messages in a run's log that are no events."""
        return [entry.user_message for entry in self.instance.all_logs(run_id) if entry.dagster_event is None]


def _is_engine_event(entry):
    return entry.dagster_event is not None and entry.dagster_event.is_engine_event


def _run_id(answer):
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


@contextmanager
def code_server(folder):
    """A project in a folder, with its home there, served from another working directory."""
    with code_servers(folder, {"theirs": PROJECT}) as project:
        yield project


@contextmanager
def code_servers(folder, sources, variables=None):
    """Code locations in a folder, with one home there, each served from another working directory.

    Args:
        folder: an empty one.
        sources: name of a location → its code.
        variables: name of a location → what its environment has beside this one's.
    """
    home, elsewhere, workspace = folder / "home", folder / "elsewhere", folder / "workspace.yaml"
    home.mkdir(parents=True)
    elsewhere.mkdir()
    (home / "dagster.yaml").write_text(HOME)
    servers, ports = [], {}
    for name, source in sources.items():
        code = folder / f"{name}.py"
        code.write_text(source)
        ports[name] = free_port()
        environment = {"DAGSTER_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "dagster", "api", "grpc", "-f", code, "-h", "127.0.0.1"]
        servers.append(
            start(
                [*command, "-p", str(ports[name])],
                cwd=elsewhere,
                env={**os.environ, **environment, **(variables or {}).get(name, {})},
            )
        )
        # The next one must not find the same port free.
        wait_until(lambda port=ports[name]: _listens(port), "the code server")
    targets = [
        f"  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: {name}}}" for name, port in ports.items()
    ]
    workspace.write_text("\n".join(["load_from:", *targets]))
    with (
        DagsterInstance.from_config(str(home)) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as process,
    ):
        yield Project(servers[0], instance, process)


def _listens(port):
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
