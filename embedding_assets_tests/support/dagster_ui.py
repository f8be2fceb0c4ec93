"""A Dagster UI that is starting."""

import json
import socket
import time
import urllib.error
import urllib.request


def free_port():
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_definitions(port, process):
    """Ask until the UI has loaded the definitions."""
    location = 'repositoryLocationName: "embedding_assets.definitions"'
    place = f'(repositorySelector: {{repositoryName: "__repository__", {location}}})'
    query = (
        "{ assetNodes { assetKey { path } } "
        f"sensorsOrError{place} {{ ... on Sensors {{ results {{ name sensorState {{ status }} }} }} }} "
        f"schedulesOrError{place} {{ ... on Schedules {{ results {{ name scheduleState {{ status }} }} }} }} }}"
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)["data"]
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError("the UI did not answer")
