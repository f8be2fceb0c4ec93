"""The Helm values: what Dagster makes of them, up to runs in pods of a cluster."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.test_utils import create_run_for_test
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job, get_job_name_from_run_id
from psycopg.conninfo import conninfo_to_dict

from embedding_assets.config import Settings, get_settings
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.chart import code_server_of, environment_of, instance_of, read_settings, read_values
from embedding_assets_tests.support.dagster_ui import free_port
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.kubernetes import Cluster
from embedding_assets_tests.support.waiting import wait_until

BIN = Path(sys.executable).parent
LOCATION = "embedding_assets.definitions"
CHUNKS = 600
"""In each of two ranges; together more than the sensor leaves to one run."""

Sources = dict[str, dict[str, str]]


@pytest.fixture
def sources(settings: Settings, data_dir: Path) -> Sources:
    """ConfigMaps and Secrets that values.yaml names."""
    assert settings.database.url
    secret = {
        "EMBEDDING_DATABASE_URL": settings.database.url.get_secret_value(),
        # The model that is in the image, and where.
        **{name: os.environ[name] for name in ("EMBEDDING_MODEL_NAME", "HF_HUB_OFFLINE", "HF_ASSETS_CACHE")},
        "EMBEDDING_DATA_DIR": str(data_dir),
        # Not in one commit batch.
        "EMBEDDING_COMMIT_SECONDS": "0.2",
    }
    return {"embedding-assets": {**read_settings(), **secret}, "embedding-assets-dagster-instance": {}}


@pytest.fixture
def dagster_database(empty_url: str) -> dict[str, object]:
    """``postgres_db`` of the storages, without the user."""
    parts = conninfo_to_dict(empty_url)
    return {"hostname": "", "db_name": parts["dbname"], "password": "", "params": {"host": parts["host"]}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def cluster(tmp_path: Path, sources: Sources, home: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, sources, home) as cluster:
        yield cluster


def open_instance(home: Path, values: dict, cluster: Cluster, database: dict) -> DagsterInstance:
    config = instance_of(values, cluster.write_configuration(), database)
    # The user that values.yaml names is not one of this server.
    for storage in ("run_storage", "event_log_storage", "schedule_storage"):
        config[storage]["config"]["postgres_db"]["username"] = "postgres"
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    return DagsterInstance.from_config(str(home))


# Where the schema of the chart of 1.13 refuses other names.
POD = "affinity annotations env envConfigMaps envSecrets image labels nodeSelector podSecurityContext resources "
POD += "schedulerName securityContext tolerations volumeMounts volumes livenessProbe readinessProbe startupProbe "
CHART = {
    "dagsterWebserver": POD + "dbPoolRecycle dbStatementTimeout deploymentLabels enableReadOnly logLevel nameOverride "
    "pathPrefix replicaCount service workspace",
    "dagsterWebserver.service": "annotations port type",
    "dagsterDaemon": POD + "deploymentLabels enabled heartbeatTolerance runCoordinator runMonitoring runRetries "
    "schedules sensors",
    "dagsterDaemon.runCoordinator": "config enabled type",
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator": "dequeueIntervalSeconds dequeueNumWorkers "
    "dequeueUseThreads maxConcurrentRuns tagConcurrencyLimits",
    "dagsterDaemon.runMonitoring": "cancelTimeoutSeconds enabled freeSlotsAfterRunEndSeconds maxResumeRunAttempts "
    "pollIntervalSeconds startTimeoutSeconds",
    "dagsterDaemon.runRetries": "enabled maxRetries",
    "runLauncher": "config type",
    "runLauncher.config.k8sRunLauncher": "envConfigMaps envSecrets envVars failPodOnRunFailure image imagePullPolicy "
    "jobNamespace kubeconfigFile labels loadInclusterConfig resources runK8sConfig schedulerName securityContext "
    "volumeMounts volumes",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "containerConfig jobMetadata jobSpecConfig podSpecConfig "
    "podTemplateSpecMetadata",
    "postgresql": "enabled image postgresqlDatabase postgresqlHost postgresqlParams postgresqlPassword "
    "postgresqlScheme postgresqlUsername service",
    "dagster-user-deployments": "deployments enableSubchart enabled imagePullSecrets",
    "dagster-user-deployments.deployments.0": POD + "codeServerArgs dagsterApiGrpcArgs includeConfigInLaunchedRuns "
    "name port",
}


@pytest.mark.parametrize("names", [["values.yaml"], ["values.yaml", "values-gpu.yaml"]])
@pytest.mark.parametrize("place", CHART)
def test_names_are_those_of_the_chart(names: list[str], place: str):
    part = read_values(*names)
    for name in place.split("."):
        part = part[int(name)] if isinstance(part, list) else part[name]
    assert part
    assert part.keys() <= set(CHART[place].split())


def test_an_instance_is_made_of_them(home: Path, cluster: Cluster, dagster_database: dict):
    with open_instance(home, read_values("values.yaml"), cluster, dagster_database) as instance:
        assert isinstance(instance.run_launcher, K8sRunLauncher)
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 8
        assert instance.run_retries_enabled
        assert instance.run_monitoring_max_resume_run_attempts == 0
        # A pod that takes its grace period is not given up before.
        grace = instance.run_launcher.run_k8s_config["pod_spec_config"]["terminationGracePeriodSeconds"]
        assert instance.run_monitoring_cancel_timeout_seconds > grace


def pod_of(instance: DagsterInstance, tags: dict[str, str]) -> dict:
    """The pod that the launcher would ask for: a JSON of Kubernetes."""
    run = create_run_for_test(instance, job_name="embed_chunks", tags=tags)
    context = K8sContainerContext.create_for_run(run, instance.run_launcher, include_run_tags=True)
    config = context.get_k8s_job_config("image:1", instance.run_launcher)
    job = construct_dagster_k8s_job(config, ["dagster"], "job", user_defined_k8s_config=context.run_k8s_config)
    return instance.run_launcher._api_client.batch_api.api_client.sanitize_for_serialization(job.spec.template.spec)


def tags_of_the_job(deployment: dict, settings: Settings) -> dict[str, str]:
    """Tags of the job in the code server of these values."""
    script = "import json; from embedding_assets.definitions import defs; "
    script += "j = defs.get_repository_def().get_job('embed_chunks'); print(json.dumps(dict(j.tags)))"
    [value] = [item["value"] for item in deployment["env"] if item["name"] == "EMBEDDING_RUN_TAGS"]
    environment = {**os.environ, "EMBEDDING_RUN_TAGS": value}
    output = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
    return json.loads(output)


def test_runs_that_embed_get_a_gpu_and_others_none(
    home: Path, cluster: Cluster, dagster_database: dict, settings: Settings
):
    values = read_values("values.yaml", "values-gpu.yaml")
    with open_instance(home, values, cluster, dagster_database) as instance:
        tags = tags_of_the_job(code_server_of(values), settings)
        embedding, other = pod_of(instance, tags), pod_of(instance, {})
        [limit] = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
    assert embedding["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert embedding["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert [toleration["key"] for toleration in embedding["tolerations"]] == ["nvidia.com/gpu"]
    assert embedding["terminationGracePeriodSeconds"] == other["terminationGracePeriodSeconds"] == 120
    assert other["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "2Gi"}
    assert "nodeSelector" not in other
    assert tags[limit["key"]] == limit["value"]


def test_the_second_file_changes_nothing_but_the_image_and_the_tags():
    plain, gpu = (
        code_server_of(read_values(*names)) for names in (["values.yaml"], ["values.yaml", "values-gpu.yaml"])
    )
    assert {name for name in plain if plain[name] != gpu[name]} == {"image", "env"}
    assert plain.keys() == gpu.keys()


def texts_under(prefix: str, count: int) -> list[str]:
    # Some hundred tokens, so that a model takes seconds for all.
    texts = (f"note {number} about shelves: {'oak, ash, elm and pine; ' * 10}" for number in range(count * 20))
    return [text for text in texts if hash_of(text).startswith(prefix)][:count]


def test_each_range_is_a_pod_and_one_that_is_lost_is_started_again(
    tmp_path: Path,
    home: Path,
    cluster: Cluster,
    dagster_database: dict,
    sources: Sources,
    database: Database,
    beside: psycopg.Connection,
):
    """Sensor → queue → launcher → pods; one pod gets SIGTERM half way, one SIGKILL; nothing is embedded twice."""
    values = read_values("values.yaml")
    values["dagsterDaemon"]["runMonitoring"]["pollIntervalSeconds"] = 2
    values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]["dequeueIntervalSeconds"] = 1
    ranges = {"1": texts_under("1", CHUNKS), "e": texts_under("e", CHUNKS)}
    # The space is known, so that only what is due is asked for.
    select_for_run(get_settings(), database)
    insert_chunks(database, [text for texts in ranges.values() for text in texts])
    audit(beside)
    deployment, port = code_server_of(values), free_port()

    def embedded(prefix: str) -> int:
        query = "SELECT count(embedding) FROM knowledge_base WHERE chunk_hash LIKE %s"
        return beside.execute(query, [f"{prefix}%"]).fetchone()[0]

    with open_instance(home, values, cluster, dagster_database) as instance:
        environment = {**os.environ, **environment_of(deployment, sources), "DAGSTER_HOME": str(home)}
        workspace = {"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": LOCATION}}
        (home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [workspace]}))
        arguments = ["api", "grpc", "-h", "127.0.0.1", "-p", port, *deployment["dagsterApiGrpcArgs"]]
        for name, command in {
            "code": [BIN / "dagster", *map(str, arguments)],
            "daemon": [BIN / "dagster-daemon", "run", "-w", "workspace.yaml"],
        }.items():
            with (tmp_path / f"{name}.log").open("wb") as log:
                processes.start(command, env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT)

        wait_until(lambda: len(cluster.jobs) == 2, "two pods")
        pods = {run_tags(instance, job)["dagster/asset_partition_range_start"]: job for job in cluster.jobs}
        assert pods.keys() == ranges.keys()
        check_pod(cluster, pods["1"], values)

        # Here all pods are on one host, and take turns.
        first = wait_until(lambda: next(filter(embedded, ranges), None), "the first vectors")
        [second] = ranges.keys() - {first}
        [run] = [run for run in instance.get_runs() if get_job_name_from_run_id(run.run_id) == pods[first]]
        assert instance.run_launcher.terminate(run.run_id)
        cluster.pods[pods[first]].wait(180)
        kept = embedded(first)
        # What it had embedded is written, and on record.
        assert 0 < kept < CHUNKS
        assert beside.execute("SELECT embedded FROM embedding_runs").fetchall() == [(kept,)]
        wait_until(lambda: instance.get_run_by_id(run.run_id).status is DagsterRunStatus.CANCELED, "the end of a run")
        wait_until(lambda: embedded(second), "the first vectors of the other")
        cluster.pods[pods[second]].send_signal(signal.SIGKILL)

        # The one that was lost is started again by the daemon; the one that was stopped is not.
        third = wait_until(lambda: cluster.jobs.keys() - set(pods.values()), "the retry").pop()
        assert run_tags(instance, third)["dagster/asset_partition_range_start"] == second
        wait_until(lambda: cluster.status(third) == {"succeeded": 1}, "its end")
        assert instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.SUCCESS])) == 1

    assert {first: embedded(first), second: embedded(second)} == {first: kept, second: CHUNKS}
    # What a killed pod had written and not committed is gone, and no other has written it.
    most = "SELECT max(times) FROM (SELECT count(*) AS times FROM written GROUP BY hash)"
    assert beside.execute(f"{most} t").fetchone() == (1,)
    locks = """
        SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    assert beside.execute(locks).fetchone() == (0,)
    assert "about shelves" not in "".join(cluster.log(job) for job in cluster.jobs)


def audit(connection: psycopg.Connection) -> None:
    """Note every vector that is written."""
    connection.execute(
        """
        CREATE TABLE written (hash text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO written VALUES (NEW.chunk_hash); RETURN NULL; END $$;
        CREATE TRIGGER audit AFTER UPDATE OF embedding ON knowledge_base FOR EACH ROW
            WHEN (NEW.embedding IS NOT NULL) EXECUTE FUNCTION note();
        """
    )


def run_tags(instance: DagsterInstance, job: str) -> dict[str, str]:
    [run] = [run for run in instance.get_runs() if get_job_name_from_run_id(run.run_id) == job]
    return dict(run.tags)


def check_pod(cluster: Cluster, job: str, values: dict) -> None:
    """What the cluster was asked for."""
    spec, container = cluster.jobs[job]["spec"], cluster.container(job)
    pod = spec["template"]["spec"]
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    assert spec["ttlSecondsAfterFinished"] == 3600
    assert spec["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 120
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["resources"] == launcher["containerConfig"]["resources"]
    assert container["image"] == "registry.example.com/embedding-assets:0.1.0"
    assert {"name": "OMP_NUM_THREADS", "value": "4"} in container["env"]
    assert {"secretRef": {"name": "embedding-assets"}} in container["envFrom"]
    assert {"configMapRef": {"name": "embedding-assets"}} in container["envFrom"]
    assert "postgresql://" not in json.dumps(cluster.jobs[job])
