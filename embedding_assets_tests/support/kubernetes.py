"""What of a Kubernetes cluster Dagster's launcher talks to: its API for jobs and pods, and the running of a pod."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from embedding_assets_tests.support import processes

NAMESPACE = "default"


class Cluster:
    """A server of the API on loopback. A job's pod is a process here, with the pod's environment alone.

    Args:
        folder: for the output of pods and the configuration of clients.
        sources: environments of ConfigMaps and Secrets by their name.
        home: what stands where the chart mounts ``dagster.yaml``.
    """

    def __init__(self, folder: Path, sources: dict[str, dict[str, str]], home: Path) -> None:
        self.folder = folder
        self.sources = sources
        self.home = home
        self.jobs: dict[str, dict] = {}
        self.pods: dict[str, subprocess.Popen[bytes]] = {}
        self._deleted: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    def __enter__(self) -> "Cluster":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write_configuration(self) -> Path:
        """A kubeconfig that leads here."""
        address = f"http://127.0.0.1:{self._server.server_port}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {}}],
        }
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path

    def container(self, job: str) -> dict:
        [container] = self.jobs[job]["spec"]["template"]["spec"]["containers"]
        return container

    def start(self, job: dict) -> None:
        """Run the pod of a job that was posted."""
        name = job["metadata"]["name"]
        self.jobs[name] = job
        container = self.container(name)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        for source in container.get("envFrom", []):
            [reference] = source.values()
            environment |= self.sources[reference["name"]]
        environment |= {item["name"]: item["value"] for item in container["env"] if "value" in item}
        environment["DAGSTER_HOME"] = str(self.home)
        # The cores that a pod asks for are not there.
        environment["OMP_NUM_THREADS"] = "1"
        command = [Path(sys.executable).with_name(container["args"][0]), *container["args"][1:]]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.pods[name] = processes.start(
                command, env=environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )

    def delete(self, name: str) -> None:
        """End a pod as a kubelet does: SIGTERM, once, and SIGKILL after the grace period."""
        if name in self._deleted:
            return
        self._deleted.add(name)
        pod = self.pods[name]
        grace = self.jobs[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        if pod.poll() is None:
            pod.send_signal(signal.SIGTERM)
        timer = threading.Timer(grace, pod.kill)
        timer.daemon = True
        timer.start()

    def status(self, name: str) -> dict:
        code = self.pods[name].poll()
        return {"active": 1} if code is None else {"failed": 1} if code else {"succeeded": 1}

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            cluster.start(job)
            self.answer(job)

        def do_GET(self) -> None:
            if match := re.search(r"/jobs/([\w-]+)", self.path):
                name = match[1]
                self.answer({**cluster.jobs[name], "status": cluster.status(name)})
            elif match := re.search(r"/pods\?.*job-name%3D([\w-]+)", self.path):
                names = [name for name in cluster.pods if name == match[1]]
                self.answer({"items": [{"metadata": {"name": name}} for name in names]})
            else:
                self.answer({"major": "1", "minor": "32"})

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            name = self.path.partition("?")[0].rsplit("/", 1)[1]
            cluster.delete(name)
            self.answer({"metadata": {"name": name}} if "/pods/" in self.path else {"status": "Success"})

        def answer(self, document: dict) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
