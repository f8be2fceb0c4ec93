"""The service that answers questions, as compose and Kubernetes start and probe it, as a process of this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml

from embedding_assets import embed_pending
from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.chart import DEPLOY, read_settings
from embedding_assets_tests.support.dagster_ui import free_port
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.waiting import wait_until

KEY = "a-key-of-enough-characters"
TEXTS = ["Keys are rotated every ninety days.", "Bread is baked at night."]


@pytest.fixture
def compose() -> dict[str, Any]:
    """The service in compose.yaml."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text("utf-8"))
    return yaml.safe_load(text)["services"]["serve"]


@pytest.fixture
def manifests() -> dict[str, Any]:
    """What serve.yaml declares, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "serve.yaml").read_text("utf-8"))}


@pytest.fixture
def start(settings: Settings, database: Database, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a command with the settings of deploy/ and a table that is embedded."""
    insert_chunks(database, TEXTS)
    embed_pending(settings, database=database)
    assert settings.database.url
    environment = {**os.environ, **read_settings()}
    environment["EMBEDDING_DATABASE_URL"] = settings.database.url.get_secret_value()
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(command: list[str], **variables: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "serve.log").open("ab") as log:
            return processes.start(command, env=environment | variables, stdout=log, stderr=subprocess.STDOUT)

    return run


def status(port: int, path: str) -> int:
    """The status that a probe gets; 0 where nothing listens."""
    try:
        with urlopen(
            Request(f"http://127.0.0.1:{port}{path}", headers={"Host": "10.1.2.3:8080"}), timeout=10
        ) as answer:
            return answer.status
    except HTTPError as refusal:
        return refusal.code
    except URLError:
        return 0


def best(port: int, key: str) -> str:
    request = Request(f"http://127.0.0.1:{port}/search?q=bread", headers={"Authorization": f"Bearer {key}"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)["results"][0]["text"]


def test_in_compose(compose, start, tmp_path):
    (tmp_path / "serve_key").write_text(f"{KEY}\n")
    port = free_port()

    def placed(word: str) -> str:
        word = word.replace("$$", "$").replace("/run/secrets", str(tmp_path)).replace("0.0.0.0", "127.0.0.1")
        return word.replace("8080", str(port))

    kind, *check = compose["healthcheck"]["test"]
    assert kind == "CMD"
    check = [placed(word).replace("python", sys.executable) if word == "python" else placed(word) for word in check]
    assert subprocess.run(check, capture_output=True, check=False).returncode
    process = start([placed(word) for word in compose["command"]])
    wait_until(lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0)
    assert best(port, KEY) == TEXTS[1]
    with pytest.raises(HTTPError, match="401"):
        best(port, "another")
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 143
    assert compose["profiles"] == ["serve"]


def test_in_kubernetes(manifests, start):
    pod = manifests["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    service = manifests["Service"]["spec"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert [one["targetPort"] for one in service["ports"]] == list(ports) == ["http"]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"http"}

    port = free_port()
    assert str(ports["http"]) in container["command"]
    # On all addresses, as in a pod: on loopback it would not be known by the pod's.
    command = [word.replace(str(ports["http"]), str(port)) for word in container["command"]]
    variables = {one["name"]: one["value"] for one in container["env"]}
    process = start(command, **variables, EMBEDDING_SERVE_KEY=KEY)
    # Kubernetes asks by the pod's address, without a key.
    wait_until(lambda: status(port, probes["startup"]["path"]) == 200)
    assert status(port, probes["liveness"]["path"]) == 200
    wait_until(lambda: status(port, probes["readiness"]["path"]) == 200)
    assert best(port, KEY) == TEXTS[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) == 143


def test_a_role_without_rights_in_pods(manifests):
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert not [one for one in container["env"] if "KEY" in one["name"] or "PASSWORD" in one["name"]]
