"""What Dagster's Helm chart makes of values: the instance's configuration, and the environment of a code server."""

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"

Values = dict[str, Any]


def read_values(*names: str) -> Values:
    """Values as ``helm -f A -f B`` reads them: maps are merged, lists replaced."""
    merged: Values = {}
    for name in names:
        merged = _merge(merged, yaml.safe_load((DEPLOY / name).read_text("utf-8")))
    return merged


def _merge(onto: Any, values: Any) -> Any:
    if not (isinstance(onto, dict) and isinstance(values, dict)):
        return values
    return onto | {name: _merge(onto.get(name), value) for name, value in values.items()}


def instance_of(values: Values, kubeconfig: Path, database: dict[str, Any]) -> Values:
    """``dagster.yaml`` as the chart's template writes it, but for the addresses of cluster and database."""
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    run = launcher["runK8sConfig"]
    daemon = values["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    monitoring, retries = daemon["runMonitoring"], daemon["runRetries"]
    postgres = {"config": {"postgres_db": {**database, "username": values["postgresql"]["postgresqlUsername"]}}}
    return {
        "run_storage": {"module": "dagster_postgres.run_storage", "class": "PostgresRunStorage", **postgres},
        "event_log_storage": {"module": "dagster_postgres.event_log", "class": "PostgresEventLogStorage", **postgres},
        "schedule_storage": {
            "module": "dagster_postgres.schedule_storage",
            "class": "PostgresScheduleStorage",
            **postgres,
        },
        "run_launcher": {
            "module": "dagster_k8s",
            "class": values["runLauncher"]["type"],
            "config": {
                "load_incluster_config": False,
                "kubeconfig_file": str(kubeconfig),
                "job_namespace": "default",
                "image_pull_policy": launcher["imagePullPolicy"],
                "service_account_name": "embedding-assets-dagster",
                "dagster_home": values["global"]["dagsterHome"],
                "instance_config_map": "embedding-assets-dagster-instance",
                "postgres_password_secret": values["global"]["postgresqlSecretName"],
                "env_config_maps": [source["name"] for source in launcher["envConfigMaps"]],
                "env_secrets": [source["name"] for source in launcher["envSecrets"]],
                "run_k8s_config": {
                    "container_config": run["containerConfig"],
                    "pod_spec_config": run["podSpecConfig"],
                    "job_spec_config": run["jobSpecConfig"],
                },
            },
        },
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": {
                "max_concurrent_runs": queue["maxConcurrentRuns"],
                "tag_concurrency_limits": queue.get("tagConcurrencyLimits", []),
                "dequeue_interval_seconds": queue.get("dequeueIntervalSeconds", 5),
            },
        },
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "cancel_timeout_seconds": monitoring["cancelTimeoutSeconds"],
            "max_resume_run_attempts": monitoring["maxResumeRunAttempts"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
            "free_slots_after_run_end_seconds": monitoring["freeSlotsAfterRunEndSeconds"],
        },
        "run_retries": {"enabled": retries["enabled"], "max_retries": retries["maxRetries"]},
        # The chart's default: what a pod prints is the cluster's to keep.
        "compute_logs": {
            "module": "dagster.core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "python_logs": {"managed_python_loggers": values["pythonLogs"]["managedPythonLoggers"]},
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }


def code_server_of(values: Values) -> Values:
    """The one deployment of user code."""
    [deployment] = values["dagster-user-deployments"]["deployments"]
    return deployment


def environment_of(deployment: Values, sources: dict[str, dict[str, str]]) -> dict[str, str]:
    """Variables of a code server: those of its ConfigMaps and Secrets, then its own."""
    names = [source["name"] for source in (*deployment["envConfigMaps"], *deployment["envSecrets"])]
    variables = {name: value for source in names for name, value in sources[source].items()}
    image = deployment["image"]
    variables |= {item["name"]: item["value"] for item in deployment["env"]}
    return variables | {"DAGSTER_CURRENT_IMAGE": f"{image['repository']}:{image['tag']}"}


def read_settings() -> dict[str, str]:
    """The variables of settings.env."""
    lines = (DEPLOY / "settings.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
