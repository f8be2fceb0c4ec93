"""What a project of somebody's has in its root for Dagster+: read as ``dg`` reads it, up to the pod of a run."""

import shutil
from pathlib import Path

import pytest
from dagster_cloud_cli.config.models import Location
from dagster_dg_core.context import DgContext
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job

from embedding_assets_tests.support.dg_project import DgProject

EXAMPLE = Path(__file__).parents[2] / "examples" / "dagster_project"


@pytest.fixture
def project(tmp_path: Path) -> DgContext:
    """A project with both files in its root."""
    folder = DgProject.make(tmp_path / "theirs").folder
    for name in ("build.yaml", "container_context.yaml"):
        shutil.copy(EXAMPLE / name, folder)
    return DgContext.for_project_environment(folder, {})


def test_dg_finds_and_accepts_both(project: DgContext):
    build, container = project.build_config, project.container_context_config
    assert build == {"directory": str(project.root_path.resolve()), "registry": "registry.example.com/my-search"}
    location = Location(location_name="theirs", build=build, container_context=container)
    assert location.build.registry == "registry.example.com/my-search"


def test_a_run_gets_the_pod_that_is_said(project: DgContext):
    context = K8sContainerContext.create_from_config(project.container_context_config)
    config = DagsterK8sJobConfig(dagster_home=None, job_image="theirs")
    job = construct_dagster_k8s_job(config, [], "run", context.run_k8s_config).to_dict()
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "2Gi"}
    assert {"name": "OMP_NUM_THREADS", "value": "4", "value_from": None} in container["env"]
    assert [source["secret_ref"]["name"] for source in container["env_from"]] == ["embedding-assets"]
    assert pod["termination_grace_period_seconds"] == 120
    assert job["spec"]["ttl_seconds_after_finished"] == 3600
    server = context.server_k8s_config.container_config
    assert server["resources"]["limits"] == {"memory": "1Gi"}
