"""The Dagster instance of the command line: its home folder, and the commands that run in it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from typing import IO, Final

from embedding_assets.config import Settings
from embedding_assets.errors import EmbeddingAssetsError

_MODULE = "embedding_assets.definitions"
_PATIENCE_SECONDS: Final = 2.0


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Environment variables for a Dagster process on this state, from whatever folder it is started."""
    home = settings.data_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    # Written each time: an upgrade of the package may have changed it.
    # By way of this package: to name the folder's own would import Dagster, and let its log lines through.
    config = files("embedding_assets").joinpath("defs", "dagster.yaml").read_text("utf-8")
    (home / "dagster.yaml").write_text(config, "utf-8")
    return {**os.environ, "DAGSTER_HOME": os.environ.get("DAGSTER_HOME", str(home))}


def table_setting(settings: Settings) -> dict[str, str]:
    """``EMBEDDING_TABLE``, where commands find an adopted table without it: definitions look at no database.

    Nothing where the database does not answer, which the UI then shows.
    """
    if settings.database.url is None or settings.source.relation is not None:
        return {}
    from embedding_assets.postgres.bootstrap import resolve_url
    from embedding_assets.postgres.connection import Database

    config = settings.database.model_copy(update={"retry_seconds": _PATIENCE_SECONDS})
    try:
        with Database(resolve_url(settings), config, settings.source) as database:
            table = database.table
    except EmbeddingAssetsError:
        return {}
    return {} if table.is_own else {"EMBEDDING_TABLE": str(table)}


def start_materialization(settings: Settings, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Materialize all three assets over all partitions in one run, in a process of its own."""
    last = "f" * settings.embedding.prefix_length
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "*",
               "--partition-range", f"{'0' * len(last)}...{last}", "-m", _MODULE]  # fmt: skip
    return subprocess.Popen(command, env=dagster_environment(settings), stdout=log, stderr=subprocess.STDOUT)  # noqa: S603


def ui_command(host: str, port: int) -> list[str]:
    """The command that serves the Dagster UI with its daemon."""
    # Its successor, `dg dev`, wants a project's checkout.
    quiet = "ignore:Function `dev_command` is superseded"
    return [sys.executable, "-W", quiet, "-m", "dagster", "dev", "-m", _MODULE, "-h", host, "-p", str(port)]
