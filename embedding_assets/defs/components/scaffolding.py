"""Scaffolders: files that a project begins with, commented, so that they say what else there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import dagster as dg
from pydantic import BaseModel, Field

_COMMON: Final = """
  # URL of the database, read when a run needs it. Left out: EMBEDDING_DATABASE_URL, or else a bundled PostgreSQL.
  # database_url: "{{ env.SHOP_DATABASE_URL }}"

  # Who embeds. Left out: EMBEDDING_PROVIDER and its model, or else a local one.
  # provider: openai
  # model: text-embedding-3-small
  # settings:
  #   EMBEDDING_OPENAI_API_KEY: "{{ env.SHOP_OPENAI_KEY }}"

  # Limits in dollars.
  # budget:
  #   usd_per_run: 5
  #   usd_per_month: 50

  # What runs by itself.
  # automation:
  #   schedule: "0 2 * * *" # the run over everything; null for never
  #   sensors: true # runs for new chunks
  #   keep_runs_days: 30 # older runs are deleted; left out, never

  # group: embedding
  # owners: [team:search]
  # tags: {tier: "1"}
"""

_TABLE: Final = """type: %(type)s

# `dg check yaml` says which fields there are, and what is wrong with one.
attributes:
  # Before the names of its assets, jobs and sensors; two tables need two.
  key_prefix: %(prefix)s
%(source)s"""

_OF_TABLE: Final = """
  # The table, as in SQL, and its column that is embedded, or a template such as "{title}: {body}".
  table: %(table)s
  text: %(text)s
  # key: id # left out: the primary key
  # where: published
  # metadata: [lang, price]

  # Adopting gives the table a column for vectors and a trigger. `embedding-assets adopt TABLE` shows what that takes
  # and does it; or the first run does:
  # adopt: true

  # Keys of assets that bring its rows, which the vectors then follow.
  # deps: [shop/articles]
"""

_OF_DOCUMENTS: Final = """
  # Folders and files, relative to the project's root; their chunks go into the table knowledge_base.
  documents: [%(documents)s]
"""

_QUERY: Final = """type: %(type)s

# `dg check yaml` says which fields there are, and what is wrong with one.
attributes:
  # Before the names of its assets, jobs and sensors; two of them need two.
  key_prefix: %(prefix)s
%(source)s
  # When the rows are compared, as in cron (UTC), and the keys of assets that bring them, which this follows.
  every: "*/15 * * * *"
  # deps: [shop/articles]
"""

_OF_QUERY: Final = """
  # One SELECT with the columns key and text, maybe title; any other is metadata. Rows are split into chunks, which go
  # into the table knowledge_base under this name.
  name: %(name)s
  query: |
    SELECT id AS key, body AS text, title, lang FROM articles
"""

_OF_ROWS: Final = """
  # The table whose rows are split into chunks, as in SQL, and its column with the text. They go into knowledge_base.
  table: %(table)s
  text: %(text)s
  # title: title
  # metadata: [lang, price]
  # where: published
"""

_PYTHON: Final = """import dagster as dg

from embedding_assets import {class_name}


@dg.component_instance
def load(context: dg.ComponentLoadContext) -> {class_name}:
    return {class_name}({arguments})
"""


class TableParams(BaseModel):
    """What ``dg scaffold defs embedding_assets.EmbeddedTable`` may be given."""

    table: str | None = Field(default=None, description="A table of yours, as in SQL.")
    text: str | None = Field(default=None, description="Its column that is embedded.")
    documents: str | None = Field(default=None, description="A folder of files to load instead.")


class QueryParams(BaseModel):
    """What ``dg scaffold defs embedding_assets.EmbeddedQuery`` may be given."""

    table: str | None = Field(default=None, description="A table to read instead of a query.")
    text: str | None = Field(default=None, description="Its column with the text.")


class TableScaffolder(dg.Scaffolder[TableParams]):
    """Writes a ``defs.yaml`` for a table or for documents."""

    @classmethod
    def get_scaffold_params(cls) -> type[TableParams]:
        """The options of the command."""
        return TableParams

    def scaffold(self, request: dg.ScaffoldRequest[TableParams]) -> None:
        """Write the file."""
        params = request.params
        if params.documents is not None and (params.table or params.text):
            raise ValueError("--documents go into knowledge_base; leave --table and --text out")
        if params.documents is not None:
            attributes: dict[str, Any] = {"documents": params.documents}
            source = _OF_DOCUMENTS
        else:
            attributes = {"table": params.table or _prefix(request), "text": params.text or "body"}
            source = _OF_TABLE
        _write(request, _TABLE, source, attributes)


class QueryScaffolder(dg.Scaffolder[QueryParams]):
    """Writes a ``defs.yaml`` for a query, or for a table whose rows are split."""

    @classmethod
    def get_scaffold_params(cls) -> type[QueryParams]:
        """The options of the command."""
        return QueryParams

    def scaffold(self, request: dg.ScaffoldRequest[QueryParams]) -> None:
        """Write the file."""
        params = request.params
        if params.table is None:
            query = "SELECT id AS key, body AS text, title, lang FROM articles"
            _write(request, _QUERY, _OF_QUERY, {"name": _prefix(request), "query": query})
        else:
            _write(request, _QUERY, _OF_ROWS, {"table": params.table, "text": params.text or "body"})


def _write(request: dg.ScaffoldRequest[Any], frame: str, source: str, attributes: dict[str, Any]) -> None:
    if request.scaffold_format == "python":
        arguments = ", ".join(
            f"{name}={value!r}" for name, value in {"key_prefix": _prefix(request), **attributes}.items()
        )
        text = _PYTHON.format(class_name=request.type_name.rpartition(".")[2], arguments=arguments)
        (request.target_path / "component.py").write_text(text, "utf-8")
        return
    # JSON is YAML, with quotes where they are needed and where they are not.
    quoted = {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()}
    prefix = json.dumps(_prefix(request))
    text = frame % {"type": request.type_name, "prefix": prefix, "source": source % quoted} + _COMMON
    if request.append:
        with request.target_path.open("a", encoding="utf-8") as file:
            file.write(f"---\n{text}")
    else:
        (request.target_path / "defs.yaml").write_text(text, "utf-8")


def _prefix(request: dg.ScaffoldRequest[Any]) -> str:
    """The name of the folder, as jobs and sensors may be called; with a number if the file has components already."""
    path: Path = request.target_path
    name = re.sub(r"\W", "_", (path.parent if request.append else path).name, flags=re.ASCII)
    if not request.append:
        return name
    others = len(re.findall(r"^type:", path.read_text("utf-8"), re.MULTILINE))
    return f"{name}_{others + 1}"
