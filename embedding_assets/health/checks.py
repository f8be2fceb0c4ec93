"""The catalogue of checks, from which Dagster's specs, the commands and the documentation are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from embedding_assets.health.verdict import Number, Severity, Verdict

Subject = Literal["documents", "chunks_pending", "chunk_embeddings", "pgvector_index_health", "retrieval_quality"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check, before it is made.

    Attributes:
        subject: the asset that it is a check of.
        name: also that of the function that judges.
        states: what holds when it passes, as a short sentence without its full stop.
        detail: what there is to know besides, in the same form.
        remedy: what to do when it fails, as a sentence without its full stop; begins with a verb.
        cost: what looking takes.
        severity: of a failure.
        blocking: whether a failure stops what is downstream of the asset in the same run.
    """

    subject: Subject
    name: str
    states: str
    remedy: str
    cost: str
    severity: Severity = "warning"
    blocking: bool = False
    detail: str = ""

    @property
    def description(self) -> str:
        """The statement that holds when it passes; what to do stands in the verdict of one that failed."""
        return f"{self.states}. {self.detail}." if self.detail else f"{self.states}."

    def verdict(
        self, passed: bool, found: str, numbers: Mapping[str, Number] | None = None, *, remedy: str | None = None
    ) -> Verdict:
        """The outcome: what was found, and when the check failed what to do."""
        description = found if passed else f"{found}. {remedy or self.remedy}"
        return Verdict(self.name, self.severity, passed, description, numbers or {})


_of_embeddings: Final = partial(Check, "chunk_embeddings")
_of_index: Final = partial(Check, "pgvector_index_health")

DOCUMENTS_READABLE: Final = Check(
    "documents",
    "documents_readable",
    states="All files of EMBEDDING_DOCUMENTS can be read",
    detail="It is an error where a folder or bucket cannot be had or nothing could be read at all",
    remedy="Look at `rejections` of the last materialization; correct those files or leave them out by "
    "EMBEDDING_DOCUMENTS_EXCLUDE. Bring a missing folder back, or take it out of EMBEDDING_DOCUMENTS; what was loaded "
    "of it is kept. What was not removed because it is so much goes with `embedding-assets load --prune --yes`",
    cost="nothing beyond loading, with which it is made. Only with EMBEDDING_DOCUMENTS",
)

COLUMNS_UNCHANGED: Final = Check(
    "chunks_pending",
    "columns_unchanged",
    states="The table has the columns that it was adopted with, of the same types",
    remedy="Give the table those columns back, or adopt it as it is now: `embedding-assets adopt TABLE` shows what "
    "that takes, after `embedding-assets adopt TABLE --undo` where the key has changed",
    cost="a look into the catalog. Only with EMBEDDING_TABLE",
)

FINITE_DIMENSIONS: Final = _of_embeddings(
    "finite_dimensions",
    severity="error",
    blocking=True,
    states="Every stored vector has finite numbers, as many as its space",
    detail="And length 1 where the model normalizes",
    remedy="Set those vectors to NULL and embed again: they were not written by this pipeline",
    cost="at night and when asked reads every vector, or 100,000 at random where that takes more than half a minute; "
    "after a run that embedded few chunks of a large table, 500 at random",
)
UNIT_NORM: Final = _of_embeddings(
    "unit_norm",
    severity="error",
    blocking=True,
    states="No vector has length 0, and those of a model that normalizes have length 1",
    remedy="Set those to NULL (vector_norm(embedding::vector) finds them) and embed again",
    cost="the same reading as finite_dimensions",
)
THROUGHPUT: Final = _of_embeddings(
    "throughput",
    states="The latest run of at least 100 chunks was not slower than EMBEDDING_THROUGHPUT_FLOOR",
    remedy="Use a GPU or a smaller model, ask an API for higher rate limits, or lower EMBEDDING_THROUGHPUT_FLOOR",
    cost="one row",
)
COVERAGE: Final = _of_embeddings(
    "coverage",
    states="The share of chunks that are embedded is not below EMBEDDING_COVERAGE_FLOOR",
    remedy="Materialize the remaining partitions of chunk_embeddings or run `embedding-assets embed`; while a fallback "
    "stands in, wait for the provider to come back",
    cost="reads the backlog by its index; at night, when asked and after a load counts the table by an index, else "
    "takes PostgreSQL's estimate",
)
BACKLOG_AGE: Final = _of_embeddings(
    "backlog_age",
    states="No chunk has been pending for longer than EMBEDDING_BACKLOG_AGE_HOURS",
    remedy="See that the sensor on new chunks is on and the daemon runs, look at the last runs of chunk_embeddings and "
    "at `embedding-assets failures`, or materialize what is pending by hand",
    cost="reads the backlog by its index",
)
QUARANTINE_EMPTY: Final = _of_embeddings(
    "quarantine_empty",
    states="No chunk was given up after repeated failures",
    remedy="List them with `embedding-assets failures`, correct their text (an edit is enough to try again) or run "
    "`embedding-assets failures --retry`",
    cost="reads the recorded failures",
)
HASHES_REACHABLE: Final = _of_embeddings(
    "hashes_reachable",
    states="Every pending chunk lies in a partition",
    remedy="Give those chunks a chunk_hash of lowercase hex; find them by: chunk_hash !~ '^[0-9a-f]{2,}$'",
    cost="reads the backlog by its index",
)
VECTORS_MATCH_MODEL: Final = _of_embeddings(
    "vectors_match_model",
    severity="error",
    blocking=True,
    states="Stored vectors are what their model makes of their text",
    detail="A sample of every space is embedded again and compared, which notices a wrong tenth of a column with a "
    "probability of at least 97%, a wrong hundredth with 29 to 47%",
    remedy="Set to NULL what is not this model's (the whole column if that cannot be determined) and embed again; for "
    "an adopted table check the EMBEDDING_MODEL_NAME that it was claimed with",
    cost="at night and when asked loads the model and embeds 64 texts a space, or 44 (some 7,000 tokens) by an API; "
    "after a run only as many as that embedded, up to 64, and none by an API. A model or API that cannot be had now is "
    "only named",
)
COSTS_WITHIN_BUDGET: Final = _of_embeddings(
    "costs_within_budget",
    states="What was spent is below EMBEDDING_BUDGET_ALERT_SHARE of every dollar limit",
    remedy="Raise EMBEDDING_BUDGET_USD_PER_RUN, _DAY or _MONTH, or wait until the limit resets: at a limit embedding "
    "stops, and what is embedded stays",
    cost="one row for each limit",
)
INDEX_VALID: Final = _of_index(
    "index_valid",
    severity="error",
    states="The index of every space with vectors exists, is valid and was built as configured",
    remedy="Materialize pgvector_index_health or run `embedding-assets health`, which builds it",
    cost="a look into the catalog",
)
RECALL: Final = _of_index(
    "recall",
    states="recall@10 is not below EMBEDDING_RECALL_FLOOR",
    detail="So many of the true ten nearest neighbours the indexes find",
    remedy="Raise EMBEDDING_INDEX_M and EMBEDDING_INDEX_EF_CONSTRUCTION, then materialize pgvector_index_health, which "
    "rebuilds the index; or lower EMBEDDING_RECALL_FLOOR",
    cost="20 to 100 exact searches, as many as a minute allows; what was measured within a day is used again while "
    "less than a hundredth of the vectors has changed, and until the night after a run that embedded few chunks of a "
    "large table",
)
RECALL_DROP: Final = _of_index(
    "recall_drop",
    states="recall@10 has not fallen since it was last accepted",
    detail="It has if it is lower by more than EMBEDDING_INDEX_RECALL_DROP, and by more than its confidence intervals "
    "explain",
    remedy="Rebuild the index (drop it, then materialize pgvector_index_health), raise EMBEDDING_INDEX_EF_SEARCH, or "
    "accept the lower recall with `embedding-assets spaces accept-recall NAME`",
    cost="the measurement of recall",
)
BLOAT: Final = _of_index(
    "bloat",
    states="The indexes are no larger than EMBEDDING_INDEX_BLOAT_CEILING times what they would be if built now",
    remedy="Materialize pgvector_index_health, which rebuilds the index beside itself, or raise "
    "EMBEDDING_INDEX_BLOAT_CEILING",
    cost="a look into the catalog",
)
PLANNER_USES_INDEX: Final = _of_index(
    "planner_uses_index",
    states="PostgreSQL answers searches by the index where the table is large enough to need one",
    remedy="Run ANALYZE knowledge_base; if that does not help, look at enable_indexscan, random_page_cost (1.1 for an "
    "SSD) and EMBEDDING_INDEX_EF_SEARCH",
    cost="one EXPLAIN",
)
PGVECTOR_VERSION: Final = _of_index(
    "pgvector_version",
    severity="error",
    states="pgvector is new enough: older versions could damage indexes",
    remedy="Install a newer one on the server, run ALTER EXTENSION vector UPDATE, then REINDEX INDEX CONCURRENTLY for "
    "each vector index",
    cost="one row",
)
QUALITY_DROP: Final = Check(
    "retrieval_quality",
    "quality_drop",
    states="nDCG@10 of the judged questions has not fallen since it was last accepted",
    detail="It has if it is lower by more than EMBEDDING_EVALUATION_QUALITY_DROP, and by more than its differences "
    "from question to question explain",
    remedy="See what changed with `embedding-assets evaluate` and its --baseline; embed what is pending, take back a "
    "change of model, splitting or EMBEDDING_SEARCH_MODE, or accept the lower value with `embedding-assets evaluate "
    "--accept`",
    cost="up to EMBEDDING_EVALUATION_QUESTIONS searches when the asset is materialized, and at most one reading of the "
    "table; the check itself reads two rows. Only with EMBEDDING_EVALUATION_QUERIES",
)

CHECKS: Final = (
    DOCUMENTS_READABLE,
    COLUMNS_UNCHANGED,
    FINITE_DIMENSIONS,
    UNIT_NORM,
    THROUGHPUT,
    COVERAGE,
    BACKLOG_AGE,
    QUARANTINE_EMPTY,
    HASHES_REACHABLE,
    VECTORS_MATCH_MODEL,
    COSTS_WITHIN_BUDGET,
    INDEX_VALID,
    RECALL,
    RECALL_DROP,
    BLOAT,
    PLANNER_USES_INDEX,
    PGVECTOR_VERSION,
    QUALITY_DROP,
)
"""All checks, in the order in which they are shown."""
