"""The component of rows that are split into chunks and embedded: of a query, or of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from pydantic import ConfigDict, Field

from embedding_assets.defs.components.component import PRODUCES, EmbeddedComponent
from embedding_assets.defs.components.same_names import check_names
from embedding_assets.defs.components.scaffolding import QueryScaffolder
from embedding_assets.defs.components.templating import LateText, at_load, late, plain
from embedding_assets.defs.row_source import RowSource
from embedding_assets.errors import ConfigurationError


class Source(dg.Model, dg.Resolvable):
    """Rows of a query or a table."""

    # An error must not quote what was given.
    model_config = ConfigDict(hide_input_in_errors=True)

    query: Annotated[
        LateText | None,
        late(
            str | None,
            "One SELECT with the columns key and text, maybe title; any other is metadata that searches show and "
            "filter by. It runs in a transaction that can write nothing.",
            examples=["SELECT id AS key, body AS text, title, lang FROM articles"],
        ),
    ] = None
    name: Annotated[
        LateText | None,
        late(
            str | None,
            "What to call the query: letters, digits, _ and -. Its documents are known by it, so that another name "
            "makes them again.",
            examples=["help_pages"],
        ),
    ] = None
    table: Annotated[
        LateText | None,
        late(
            str | None,
            "Instead of a query, a table or view whose rows are read, as in SQL.",
            examples=["shop.articles"],
        ),
    ] = None
    key: Annotated[
        LateText | list[LateText] | None,
        late(str | list[str] | None, "Of a table: column or columns that identify a row. Left out: the primary key."),
    ] = None
    text: Annotated[
        LateText | None,
        late(
            str | None,
            'Of a table: its column with the text, or a template: "{intro}\\n{body}".',
            examples=["body"],
        ),
    ] = None
    title: Annotated[
        LateText | None, late(str | None, "Of a table: its column with the title, which stands above each chunk.")
    ] = None
    metadata: Annotated[
        LateText | list[LateText] | None,
        late(
            str | list[str] | None,
            "Of a table: columns that searches show and filter by.",
            examples=[["lang", "price"]],
        ),
    ] = None
    where: Annotated[
        LateText | None,
        late(str | None, "Of a table: only rows for which this SQL condition holds.", examples=["published"]),
    ] = None
    markdown: Annotated[bool, plain("Whether texts are split at their Markdown headings.")] = False
    every: Annotated[
        str | None,
        at_load(
            str | None,
            "When the rows are compared, as in cron (UTC), beside the nightly run and after what is in `deps`.",
            examples=["*/15 * * * *"],
        ),
    ] = None

    def rows(self) -> RowSource:
        """The same for ``build_embedding_definitions``."""
        return RowSource(**{name: getattr(self, name) for name in Source.model_fields})


@dg.scaffold_with(QueryScaffolder)
class EmbeddedQuery(EmbeddedComponent, Source):
    """Rows of a query, or of a table that assets of yours fill, kept embedded: split into chunks, each with a vector.

    For long texts, and for texts that are put together from several tables. The chunks go into a table knowledge_base
    of the same database, and follow every change: an asset `synced_rows` compares the rows, upstream of the three
    assets of the vectors. What is not said here comes from the environment (EMBEDDING_…).
    """

    sources: Annotated[
        list[Source],
        plain(
            "Instead of one query or table several, each with the fields that say one: query and name, or table and "
            "text, and so on. Each has an asset synced_rows_NAME, called by its query or table."
        ),
    ] = Field(default_factory=list)

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """For the lists of components."""
        return dg.ComponentTypeSpec(tags=["postgres", "pgvector", "embeddings"], produces=PRODUCES)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """All definitions of the rows and their vectors.

        Raises:
            ConfigurationError: two fields do not go together, or another component brings other rows by the same name.
        """
        made = super().build_defs(context)
        prefix = self.key_prefix if isinstance(self.key_prefix, str) else "/".join(self.key_prefix)
        check_names(context, prefix, self.database_url, [one.rows() for one in self.sources or [self]])
        return made

    def arguments(self) -> dict[str, Any]:
        """The rows.

        Raises:
            ConfigurationError: beside ``sources`` there is a query or table of its own.
        """
        if not self.sources:
            return {"rows": self.rows()}
        if beside := [name for name, field in Source.model_fields.items() if getattr(self, name) != field.default]:
            raise ConfigurationError(f"sources: each says its own rows, so leave {', '.join(beside)} out beside them")
        return {"rows": [source.rows() for source in self.sources]}

    def paths(self, root: Path) -> list[str] | None:  # noqa: ARG002 (it loads none)
        """None: knowledge_base has these rows."""
        return []
