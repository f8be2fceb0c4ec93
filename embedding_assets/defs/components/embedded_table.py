"""The component of a table that is embedded in place, or of documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from embedding_assets.defs.components.component import PRODUCES, EmbeddedComponent
from embedding_assets.defs.components.scaffolding import TableScaffolder
from embedding_assets.defs.components.templating import LateText, at_load, late, plain
from embedding_assets.documents.stores.address import is_elsewhere
from embedding_assets.errors import ConfigurationError


@dg.scaffold_with(TableScaffolder)
class EmbeddedTable(EmbeddedComponent):
    """A PostgreSQL table that is kept embedded: each of its rows has a vector, and the vectors an index.

    With `table` one of your own is embedded in place. With `documents` instead, files are split into chunks, which go
    into a table `knowledge_base`. Three assets with their checks, a job, a schedule and sensors; what is not said here
    comes from the environment (EMBEDDING_…).
    """

    table: Annotated[
        LateText | None,
        late(
            str | None,
            'A table of yours, as in SQL: articles, shop."Notes". Left out: knowledge_base, which `documents` or '
            "somebody else's program fills.",
            examples=["shop.articles"],
        ),
    ] = None
    key: Annotated[
        LateText | list[LateText] | None,
        late(
            str | list[str] | None,
            "Column or columns of its primary key, or of a unique constraint. Left out: the primary key.",
            examples=["id"],
        ),
    ] = None
    text: Annotated[
        LateText | None,
        late(
            str | None,
            'Its column that is embedded, or a template: "{title}: {body}". A line whose columns are all empty is '
            "left out.",
            examples=["body", "Title: {title}\n{body}"],
        ),
    ] = None
    where: Annotated[
        LateText | None,
        late(str | None, "Embed only rows for which this SQL condition holds.", examples=["published"]),
    ] = None
    metadata: Annotated[
        LateText | list[LateText] | None,
        late(str | list[str] | None, "Columns that searches show and can filter by.", examples=[["lang", "price"]]),
    ] = None
    adopt: Annotated[
        bool,
        plain(
            "Whether the first run adopts the table: gives it a column for vectors and a trigger. Otherwise runs fail "
            "until `embedding-assets adopt` did, which shows first what that takes."
        ),
    ] = False
    documents: Annotated[
        str | list[str],
        at_load(
            str | list[str],
            "Folders and files to load, relative to the project's root; instead of `table`.",
            examples=[["docs", "data/faq.csv"]],
        ),
    ] = Field(default_factory=list)

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """For the lists of components."""
        return dg.ComponentTypeSpec(tags=["postgres", "pgvector", "embeddings"], produces=PRODUCES)

    def arguments(self) -> dict[str, Any]:
        """The table."""
        if self.documents and self.table is not None:
            raise ConfigurationError(
                "documents: they go into knowledge_base, so leave `table` out, or give the table a component of its own"
            )
        return {
            # Documents need the table that they go to, whichever one the environment is about.
            "table": "knowledge_base" if self.documents else self.table,
            "key": self.key,
            "text": self.text,
            "where": self.where,
            "metadata": self.metadata,
            "adopt": self.adopt,
        }

    def paths(self, root: Path) -> list[str] | None:
        """The documents, by absolute paths."""
        if not self.documents:
            # Those of the environment go into knowledge_base.
            return None if self.table is None else []
        given = [self.documents] if isinstance(self.documents, str) else self.documents
        return [path if is_elsewhere(path) else str(root / Path(path).expanduser()) for path in given]
