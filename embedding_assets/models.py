"""The records that cross the library's edge: chunks, their documents, the statistics of a run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, model_validator


def embedded_text(context_header: str, chunk_text: str) -> str:
    """The text a model reads for a chunk: the headings it stands under, then the chunk itself."""
    return f"{context_header}\n{chunk_text}" if context_header else chunk_text


HEADINGS = "headings"
"""In a chunk's position: its title and headings, where they are not what is embedded in front of it."""


def shown_headings(context_header: str, metadata: Mapping[str, Any]) -> str:
    """The headings a chunk stands under, whether they are embedded or not."""
    position = metadata.get("position")
    headings = position.get(HEADINGS) if isinstance(position, Mapping) else None
    return headings if isinstance(headings, str) else context_header


def _storable_text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("contains a NUL character, which PostgreSQL cannot store")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("contains a lone surrogate, which is not valid Unicode") from None
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty or blank")
    return value


def _storable_json(value: Any) -> None:
    if isinstance(value, str):
        _storable_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("contains NaN or infinity, which JSON cannot express")
    elif isinstance(value, dict):
        for item in (*value, *value.values()):
            _storable_json(item)
    elif isinstance(value, list):
        for item in value:
            _storable_json(item)


def _valid_vector(value: list[float], info: ValidationInfo) -> list[float]:
    if not all(map(math.isfinite, value)):
        raise ValueError("contains NaN or infinity")
    dimensions = (info.context or {}).get("dimensions", len(value))
    if len(value) != dimensions:
        raise ValueError(f"has {len(value)} dimensions, not {dimensions}")
    return value


StorableText = Annotated[str, AfterValidator(_storable_text)]
Vector = Annotated[list[float], Field(min_length=1, max_length=2000), AfterValidator(_valid_vector)]


class _Record(BaseModel):
    # hide_input_in_errors: a validation error must not carry chunk text into a log.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class DocumentMetadata(_Record):
    """The origin of a chunk. Further fields are kept, searchable with ``--where key=value``.

    Attributes:
        source: shown to a reader: a path, a URL, any stable name.
        title: what a person would call it.
        origin: what was loaded, if that is more than ``source``, e.g. the file of many rows. Loading it again replaces
            all its chunks.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    source: StorableText = Field(min_length=1)
    title: StorableText = ""
    origin: StorableText = ""

    @model_validator(mode="before")
    @classmethod
    def _origin_defaults_to_source(cls, values: Any) -> Any:
        return (
            {**values, "origin": values.get("origin") or values.get("source")} if isinstance(values, dict) else values
        )

    @model_validator(mode="after")
    def _extras_are_storable(self) -> Self:
        _storable_json(self.__pydantic_extra__)
        return self


class ProcessedChunk(_Record):
    """One row of ``knowledge_base``.

    Attributes:
        chunk_hash: lowercase hex, unique; its first characters choose the partition.
        chunk_text: the text; never blank.
        context_header: the headings above the text; embedded in front of it.
        metadata: the document's.
        chunk_index: position in the document, from 0.
        total_chunks: chunks of the document.
        token_count: tokens of header and text in the model's own counting; 0 if not counted.
        embedding: the vector, 1 to 2,000 finite numbers, or None until embedded. Validated with
            ``context={"dimensions": n}`` it must have exactly ``n``.
    """

    chunk_hash: str = Field(pattern=r"^[0-9a-f]{2,128}$")
    chunk_text: Annotated[StorableText, AfterValidator(_not_blank)]
    context_header: StorableText = ""
    metadata: DocumentMetadata
    chunk_index: int = Field(0, ge=0)
    total_chunks: int = Field(1, ge=1)
    token_count: int = Field(0, ge=0)
    embedding: Vector | None = None

    @model_validator(mode="after")
    def _index_lies_in_document(self) -> Self:
        if self.chunk_index >= self.total_chunks:
            raise ValueError(f"chunk_index {self.chunk_index} is not below total_chunks {self.total_chunks}")
        return self

    @classmethod
    def create_from_chunk(
        cls,
        chunk_text: str,
        metadata: DocumentMetadata,
        *,
        context_header: str = "",
        chunk_index: int = 0,
        total_chunks: int = 1,
        token_count: int = 0,
        occurrence: int = 0,
        distinction: str = "",
        chunk_hash: str | None = None,
    ) -> Self:
        """Make a chunk, deriving ``chunk_hash`` from what it says and where it stands.

        The hash covers origin, source, header, text and ``occurrence`` (how many equal chunks precede this one in its
        document), not the position: a chunk that only moved keeps its hash, and with it its vector. ``distinction`` is
        what else tells apart chunks that are equal in all of this, such as rows of one file.

        Raises:
            pydantic.ValidationError: blank text, NUL, lone surrogates, a hash that is not lowercase hex.
        """
        if chunk_hash is None:
            parts = [metadata.origin, metadata.source, context_header, chunk_text, str(occurrence)]
            if distinction:
                parts.append(distinction)
            # "surrogatepass" only so that validation below, not hashing, is what reports a lone surrogate.
            chunk_hash = hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
        return cls(
            chunk_hash=chunk_hash,
            chunk_text=chunk_text,
            context_header=context_header,
            metadata=metadata,
            chunk_index=chunk_index,
            total_chunks=total_chunks,
            token_count=token_count,
        )


class PrefixStats(_Record):
    """Statistics of a run in one partition."""

    embedded: int = 0
    failed: int = 0
    skipped: int = 0
    truncated: int = 0
    tokens: int = 0


class EmbeddingStats(_Record):
    """Statistics of a run.

    Attributes:
        space: name of the vector space written to.
        embedded: chunks whose vector was committed.
        failed: chunks recorded in ``embedding_failures``.
        skipped: chunks edited or deleted while they were being embedded; the edited ones are pending again.
        truncated: chunks longer than the model reads.
        tokens: tokens read, after truncation, special tokens included.
        usd: what the provider bills for it; 0 on one's own machine.
        seconds: wall-clock time from the first fetch to the last commit, without loading the model.
        model_load_seconds: 0 when the model was already in memory.
        peak_memory_bytes: highest resident memory of the process so far.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: number format of the model's layers, e.g. ``bfloat16``; rounding alone depends on it.
        threads: of the CPU that computed, those of all workers of a cluster together; 0 elsewhere.
        streams: batches that were computed side by side; 0 where that is not known.
        busy_prefixes: partitions left to another run that holds them.
        prefixes: the counts by partition key.
        fallback: what was embedded in the fallback's space once the provider was found to be down; None if it was not.
    """

    space: str
    embedded: int = 0
    failed: int = 0
    skipped: int = 0
    truncated: int = 0
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    model_load_seconds: float = 0.0
    peak_memory_bytes: int = 0
    device: str = ""
    precision: str = ""
    threads: int = 0
    streams: int = 0
    busy_prefixes: list[str] = Field(default_factory=list)
    prefixes: dict[str, PrefixStats] = Field(default_factory=dict)
    fallback: EmbeddingStats | None = None

    @property
    def processed(self) -> int:
        """Chunks that were taken up, whatever came of them."""
        return self.embedded + self.failed + self.skipped

    @property
    def chunks_per_second(self) -> float:
        """Embedded chunks per second of ``seconds``; 0 when nothing was embedded."""
        return self.embedded / self.seconds if self.seconds > 0 else 0.0

    @property
    def summary(self) -> str:
        """For a log."""
        counts = f"{self.embedded} embedded, {self.failed} failed, {self.skipped} skipped"
        return f"{counts}, {self.chunks_per_second:.1f} chunks/s"


class EmbeddingCost(_Record):
    """Costs of a service's calls so far.

    Attributes:
        texts: texts whose vectors were returned.
        tokens: tokens read, those of attempts and calls that failed included.
        usd: what was billed for them, or likely was; 0 on one's own machine. Of what was in flight when a call was
            cancelled, or ended with its first error, only the ledger knows.
    """

    texts: int = 0
    tokens: int = 0
    usd: float = 0.0
