"""Daemons of projects, as processes with a home of their own."""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
from dagster import DagsterInstance

from embedding_assets_tests.support.processes import start
from embedding_assets_tests.support.waiting import wait_until

PROJECT = """
from embedding_assets import build_embedding_definitions

defs = build_embedding_definitions(key_prefix="shop")
"""

HOME = """
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}
telemetry:
  enabled: false
"""
"""Runs and events in SQLite."""


class Daemon:
    """A home whose daemon runs.

    Attributes:
        instance: of the home.
    """

    def __init__(self, instance, process, log):
        self.instance, self._process, self._log = instance, process, log
        self._served = []

    def skipped(self, sensor="shop__new_chunks_sensor"):
        """Why ticks of a sensor asked for nothing, the latest first."""
        ticks = [
            tick
            for state in self.instance.all_instigator_state()
            if state.instigator_name == sensor
            for tick in self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        ]
        return [tick.skip_reason for tick in ticks if tick.skip_reason]

    def said(self):
        """Messages in the logs of all runs that are no events."""
        entries = [entry for run in self.instance.get_runs() for entry in self.instance.all_logs(run.run_id)]
        return [entry.user_message for entry in entries if entry.dagster_event is None]

    def stop(self):
        """Ask it to end, as a service manager does."""
        self._served = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGTERM)

    def end(self):
        """The exit status of one that was asked to end, once its code server has gone, too."""
        status = self._process.wait(180)
        wait_until(lambda: not any(map(psutil.Process.is_running, self._served)), "the end of its code server")
        assert "Traceback" not in self._log.read_text(), self._log.read_text()
        return status


@contextmanager
def daemon(folder):
    """A daemon with its home in a folder, which serves a project's code itself."""
    home, elsewhere, code, log = (folder / name for name in ("home", "elsewhere", "theirs.py", "daemon.log"))
    home.mkdir(parents=True)
    elsewhere.mkdir()
    (home / "dagster.yaml").write_text(HOME)
    code.write_text(PROJECT)
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [Path(sys.executable).parent / "dagster-daemon", "run", "-f", code]
    with DagsterInstance.from_config(str(home)) as instance, log.open("wb") as output:
        instance.get_runs()  # makes the files, which two processes would at once
        yield Daemon(instance, start(command, cwd=elsewhere, env=environment, stdout=output, stderr=output), log)
