"""Documents → chunks, cut by their structure, then at sentences, and sized in the model's own tokens."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from tokenizers import Tokenizer

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.packing import Packer, Piece
from embedding_assets.documents.sections import Section, sections_of
from embedding_assets.documents.token_counting import TokenCounter
from embedding_assets.models import HEADINGS, DocumentMetadata, ProcessedChunk, embedded_text

if TYPE_CHECKING:
    from embedding_assets.config import HeaderChoice

SPLITTER_VERSION = 5
"""Part of every digest: raise it when the same document would be split, or the same file read, differently."""

CHARACTERS_PER_TOKEN = 16
"""A chunk has at most this many characters for each of its ``chunk_tokens``.

Writing has 3 to 5 characters a token. What has far more is one the tokenizer does not read: WordPiece turns a word of
over 100 characters into a single unknown token, so that megabytes would pass for one.
"""

# A section this short usually fits, which counting it once shows; only others are measured for cutting.
_USUAL_CHARACTERS_PER_TOKEN = 4
_COUNTED_TOGETHER = 256
# Less of a chunk than one in so many is too little to stand alone.
_SMALL_PART = 6


class _Sized(NamedTuple):
    """A piece of a section with the header it is embedded under, room in tokens, and whether it was measured yet."""

    header: str
    section: Section
    piece: Piece
    capacity: int
    uncut: bool = False


class Splitter:
    """Splits documents with one tokenizer; may be shared by threads.

    Args:
        tokenizer: the model's; it is copied, its truncation and padding are not used.
        chunk_tokens: most tokens of what is embedded for a chunk: header, text and special tokens.
        chunk_overlap: tokens that neighbouring chunks of a section share.
        header: what of title and headings is embedded in front of a chunk; all of it is in its metadata otherwise.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, chunk_tokens: int, chunk_overlap: int, header: HeaderChoice = "all"
    ) -> None:
        self._tokenizer: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap = chunk_overlap
        self._header = header
        self._room = max(2, chunk_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=False))
        self._max_characters = CHARACTERS_PER_TOKEN * chunk_tokens
        self._tokens = TokenCounter(self._tokenizer)
        fingerprint = hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()
        self._manner: list[int | str] = [SPLITTER_VERSION, chunk_tokens, chunk_overlap, fingerprint]
        if header != "all":
            self._manner.append(header)

    def digest(self, document: Document) -> str:
        """Fingerprint of all that the chunks of a document depend on; equal to the one before: nothing to split.

        For a row it is that of its whole file, whose rows are loaded together.
        """
        if document.file_digest:
            return hashlib.sha256(json.dumps([*self._manner, document.file_digest]).encode()).hexdigest()
        metadata = document.metadata.model_dump(mode="json")
        parts: list[object] = [document.text, document.context_header, document.markdown, document.chunk_hash, metadata]
        if document.places is not None:
            parts.append([document.places.unit, document.places.first, document.places.starts])
        parts += [[part.start, part.end, *part.names] for part in document.parts]
        return hashlib.sha256(json.dumps([*self._manner, *parts], sort_keys=True).encode()).hexdigest()

    def __reduce__(self) -> tuple[object, ...]:
        """Another process makes its own of the same settings."""
        return _restored, (self._tokenizer.to_str(), self._chunk_tokens, self._chunk_overlap, self._header)

    @property
    def manner(self) -> str:
        """Digest of how this splits: settings and tokenizer; 12 characters."""
        return hashlib.sha256(json.dumps(self._manner).encode()).hexdigest()[:12]

    def split(self, document: Document) -> list[ProcessedChunk]:
        """The chunks of a document, in order; a document that already is a chunk gives exactly that one.

        Raises:
            pydantic.ValidationError: the document is a chunk that cannot be stored.
        """
        return list(self.chunks(document))

    def chunks(self, document: Document) -> Iterator[ProcessedChunk]:
        """As ``split``, one by one: those of a long text take far more memory than the text."""
        if document.chunk_hash is None:
            total, made = self._texts(_with_newlines(document))
        else:
            (count,) = self._tokens.exact([embedded_text(document.context_header, document.text)])
            total, made = 1, iter([(document.context_header, document.text, count, document.metadata)])
        seen: dict[bytes, int] = {}
        distinction = _distinction(document)
        for index, (header, text, token_count, metadata) in enumerate(made):
            key = hashlib.sha256(f"{header}\x00{text}".encode("utf-8", "surrogatepass")).digest()
            occurrence = seen.get(key, 0)
            seen[key] = occurrence + 1
            yield ProcessedChunk.create_from_chunk(
                text,
                metadata,
                context_header=header,
                chunk_index=index,
                total_chunks=total,
                token_count=token_count,
                occurrence=occurrence,
                distinction=distinction,
                chunk_hash=document.chunk_hash,
            )

    def _texts(self, document: Document) -> tuple[int, Iterator[tuple[str, str, int, DocumentMetadata]]]:
        """How many chunks there are; header, text, tokens and metadata of each."""
        text = document.text
        sections = sections_of(document)
        if document.is_code:
            sections = self._joined(text, sections)
        pieces = self._fitting(text, [one for section in sections for one in self._section(text, section)])
        finder = _PlaceFinder(text, document.places) if document.places is not None else None
        return len(pieces), (
            (one.header, one.piece.of(text), count, self._metadata(document, one, finder)) for one, count in pieces
        )

    def _metadata(self, document: Document, one: _Sized, finder: _PlaceFinder | None) -> DocumentMetadata:
        """The document's, with where the piece stands, and its headings where the header does not have them all."""
        position = finder.position(one.piece) if finder is not None else {}
        if self._header != "all" and (headings := self._shortened(one.section.header("all"))) != one.header:
            position[HEADINGS] = headings
        return document.metadata.model_copy(update={"position": position}) if position else document.metadata

    def _joined(self, text: str, sections: Sequence[Section]) -> list[Section]:
        """Sections of code, small ones together with those beside them in the same class or module."""
        groups: list[Section] = []
        sizes: list[int] = []
        for section in sections:
            size = self._size(text[section.start : section.end])
            if groups and groups[-1].end == section.start and sizes[-1] + size <= self._room * 3 // 4:
                last = groups[-1]
                names = _shared(last.names, section.names)
                is_inside = names in (last.names, section.names)
                if is_inside or min(sizes[-1], size) < self._room // _SMALL_PART:
                    groups[-1] = replace(last, names=names, end=section.end, blocks=[*last.blocks, *section.blocks])
                    sizes[-1] += size
                    continue
            groups.append(section)
            sizes.append(size)
        return groups

    def _section(self, text: str, section: Section) -> list[_Sized]:
        header = self._shortened(section.header(self._header))
        capacity = max(1, self._room - self._tokens.plain(f"{header}\n")) if header else self._room
        whole = _Sized(header, section, Piece(section.start, section.end), capacity, uncut=True)
        most = _USUAL_CHARACTERS_PER_TOKEN * capacity
        usual = section.end - section.start <= most or len(whole.piece.of(text)) <= most
        return [whole] if usual else self._cut(text, whole, capacity)

    def _shortened(self, header: str) -> str:
        """The header, cut off where it would take more than half of a chunk."""
        most = self._room // 2
        header = header[: most * CHARACTERS_PER_TOKEN]
        if self._tokens.plain(header) <= most:
            return header
        encoding = self._tokenizer.encode(header, add_special_tokens=False)
        return header[: encoding.offsets[most - 1][1]].rstrip()

    def _cut(self, text: str, one: _Sized, capacity: int) -> list[_Sized]:
        packer = Packer(
            text,
            self._size,
            capacity=capacity,
            max_characters=self._max_characters,
            overlap=min(self._chunk_overlap, capacity // 2),
            markdown=one.section.markdown,
        )
        pieces = packer.pieces(one.section.blocks, one.piece)
        return [one._replace(piece=piece, capacity=capacity, uncut=False) for piece in pieces]

    def _fitting(self, text: str, pieces: Sequence[_Sized]) -> list[tuple[_Sized, int]]:
        """The pieces with their tokens; one that turns out too long is cut, again if need be, for less."""
        fitting: list[tuple[_Sized, int]] = []
        for one, count in self._counted(text, pieces):
            if count <= self._chunk_tokens or (one.capacity == 1 and not one.uncut):
                fitting.append((one, count))
            elif one.uncut:
                fitting += self._fitting(text, self._cut(text, one, one.capacity))
            else:
                less = max(1, min(one.capacity - 1, one.capacity * self._chunk_tokens // count))
                fitting += self._fitting(text, self._cut(text, one, less))
        return fitting

    def _counted(self, text: str, pieces: Sequence[_Sized]) -> Iterator[tuple[_Sized, int]]:
        # What tokenizers return takes some hundred bytes a token.
        for start in range(0, len(pieces), _COUNTED_TOGETHER):
            some = pieces[start : start + _COUNTED_TOGETHER]
            counts = self._tokens.exact([embedded_text(one.header, one.piece.of(text)) for one in some])
            yield from zip(some, counts, strict=True)

    def _size(self, text: str) -> int:
        """About the tokens of a text, which the packer measures some ten times; ``_fitting`` checks the outcome."""
        return self._chunk_tokens + 1 if len(text) > self._max_characters else self._tokens.about(text)


def _restored(tokenizer: str, chunk_tokens: int, chunk_overlap: int, header: HeaderChoice) -> Splitter:
    return Splitter(
        Tokenizer.from_str(tokenizer), chunk_tokens=chunk_tokens, chunk_overlap=chunk_overlap, header=header
    )


class _PlaceFinder:
    """Tells where pieces of a text stand that come in order."""

    def __init__(self, text: str, places: Places) -> None:
        self._text = text
        self._places = places
        self._at = 0
        self._number = places.first

    def position(self, piece: Piece) -> dict[str, int | str]:
        """The piece's first and last line, page, …"""
        start, end = piece.inside(self._text)
        first, last = self._unit(start), self._unit(max(start, end - 1))
        unit = self._places.unit
        return {unit: first} if unit != "line" and first == last else {unit: first, f"last_{unit}": last}

    def _unit(self, offset: int) -> int:
        starts = self._places.starts
        if starts is not None:
            return self._places.first + bisect_right(starts, offset)
        if offset < self._at:
            self._at, self._number = 0, self._places.first
        self._number += self._text.count("\n", self._at, offset)
        self._at = offset
        return self._number


def _with_newlines(document: Document) -> Document:
    text = normalized_newlines(document.text)
    return document if text is document.text else replace(document, text=text)


def _shared(left: Sequence[str], right: Sequence[str]) -> tuple[str, ...]:
    """The headings that two sections have in common."""
    names = zip(left, right, strict=False)
    return tuple(name for name, _ in takewhile(lambda pair: pair[0] == pair[1], names))


def _distinction(document: Document) -> str:
    """What tells a row from one with the same text: its other fields. Empty for a document that is a file by itself."""
    if not document.file_digest:
        return ""
    fields = document.metadata.model_dump(mode="json", exclude={"source", "origin", "position"})
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
