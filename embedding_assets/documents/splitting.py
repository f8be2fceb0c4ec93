"""Documents → chunks, cut at headings, paragraphs and sentences and sized in the model's own tokens."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Encoding, Tokenizer

from embedding_assets.documents.document import Document
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.markdown import Heading, markdown_headings
from embedding_assets.models import ProcessedChunk, embedded_text

SPLITTER_VERSION = 1
"""Part of every digest: raise it when the same document would be split differently."""

CHARACTERS_PER_TOKEN = 16
"""A chunk has at most this many characters for each of its ``chunk_tokens``.

Writing has 3 to 5 characters a token. What has far more is one the tokenizer does not read: WordPiece turns a word of
over 100 characters into a single unknown token, so that megabytes would pass for one.
"""

# The splitter reads ahead within what it is given, which takes quadratic time in a long text without paragraphs.
_BLOCK_CHARACTERS = 32_768
# A section this short usually fits, which counting it once shows; only others are measured for cutting.
_USUAL_CHARACTERS_PER_TOKEN = 4
_REMEMBERED_WORDS = 200_000
_WORD = re.compile(r"\s?\S{1,100}|\s+")


@dataclass(frozen=True, slots=True)
class _Piece:
    header: str
    text: str
    capacity: int
    markdown: bool
    uncut: bool = False


class Splitter:
    """Splits documents with one tokenizer; may be shared by threads.

    Args:
        tokenizer: the model's; it is copied, its truncation and padding are not used.
        chunk_tokens: most tokens of what is embedded for a chunk: header, text and special tokens.
        chunk_overlap: tokens that neighbouring chunks of a section share.
    """

    def __init__(self, tokenizer: Tokenizer, *, chunk_tokens: int, chunk_overlap: int) -> None:
        self._tokenizer: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap = chunk_overlap
        self._room = max(2, chunk_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=False))
        self._max_characters = CHARACTERS_PER_TOKEN * chunk_tokens
        self._word_tokens: dict[str, int] = {}
        fingerprint = hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()
        self._manner = [SPLITTER_VERSION, chunk_tokens, chunk_overlap, fingerprint]

    def digest(self, document: Document) -> str:
        """Fingerprint of all that the chunks of a document depend on; equal to the one before: nothing to split.

        For a row it is that of its whole file, whose rows are loaded together.
        """
        if document.file_digest:
            return hashlib.sha256(json.dumps([*self._manner, document.file_digest]).encode()).hexdigest()
        metadata = document.metadata.model_dump(mode="json")
        parts = [document.text, document.context_header, document.markdown, document.chunk_hash, metadata]
        return hashlib.sha256(json.dumps([*self._manner, *parts], sort_keys=True).encode()).hexdigest()

    @property
    def manner(self) -> str:
        """Digest of how this splits: settings and tokenizer; 12 characters."""
        return hashlib.sha256(json.dumps(self._manner).encode()).hexdigest()[:12]

    def split(self, document: Document) -> list[ProcessedChunk]:
        """The chunks of a document, in order; a document that already is a chunk gives exactly that one.

        Raises:
            pydantic.ValidationError: the document is a chunk that cannot be stored.
        """
        if document.chunk_hash is None:
            pieces = self._fitting([piece for section in _sections(document) for piece in self._section(*section)])
        else:
            pieces = self._counted([_Piece(document.context_header, document.text, self._room, False)])
        seen: Counter[tuple[str, str]] = Counter()
        distinction = _distinction(document)
        chunks = []
        for index, (piece, token_count) in enumerate(pieces):
            key = (piece.header, piece.text)
            chunks.append(
                ProcessedChunk.create_from_chunk(
                    piece.text,
                    document.metadata,
                    context_header=piece.header,
                    chunk_index=index,
                    total_chunks=len(pieces),
                    token_count=token_count,
                    occurrence=seen[key],
                    distinction=distinction,
                    chunk_hash=document.chunk_hash,
                )
            )
            seen[key] += 1
        return chunks

    def _section(self, header: str, body: str, markdown: bool) -> list[_Piece]:
        text = _trimmed(body)
        if not text:
            return []
        header = self._shortened(header)
        capacity = max(1, self._room - len(self._encoded(f"{header}\n"))) if header else self._room
        piece = _Piece(header, text, capacity, markdown, uncut=True)
        return [piece] if len(text) <= _USUAL_CHARACTERS_PER_TOKEN * capacity else self._cut(piece)

    def _shortened(self, header: str) -> str:
        """The header, cut off where it would take more than half of a chunk."""
        most = self._room // 2
        header = header[: most * CHARACTERS_PER_TOKEN]
        encoding = self._encoded(header)
        return header[: encoding.offsets[most - 1][1]].rstrip() if len(encoding) > most else header

    def _encoded(self, text: str) -> Encoding:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _cut(self, piece: _Piece) -> list[_Piece]:
        kind: Any = MarkdownSplitter if piece.markdown else TextSplitter
        overlap = min(self._chunk_overlap, piece.capacity // 2)
        splitter = kind.from_callback(self._size, piece.capacity, overlap)
        texts = (chunk for block in _blocks(piece.text) for chunk in splitter.chunks(block) if chunk.strip())
        return [_Piece(piece.header, text, piece.capacity, piece.markdown) for text in texts]

    def _fitting(self, pieces: Sequence[_Piece]) -> list[tuple[_Piece, int]]:
        """The pieces with their tokens; one that turns out too long is cut, again if need be, for less."""
        fitting: list[tuple[_Piece, int]] = []
        for piece, count in self._counted(pieces):
            if count <= self._chunk_tokens or (piece.capacity == 1 and not piece.uncut):
                fitting.append((piece, count))
            elif piece.uncut:
                fitting += self._fitting(self._cut(piece))
            else:
                less = max(1, min(piece.capacity - 1, piece.capacity * self._chunk_tokens // count))
                fitting += self._fitting(self._cut(replace(piece, capacity=less)))
        return fitting

    def _counted(self, pieces: Sequence[_Piece]) -> list[tuple[_Piece, int]]:
        texts = [embedded_text(piece.header, piece.text) for piece in pieces]
        encodings = self._tokenizer.encode_batch_fast(texts)
        return [(piece, len(encoding)) for piece, encoding in zip(pieces, encodings, strict=True)]

    def _size(self, text: str) -> int:
        """About the tokens of a text, as the sum of its words'.

        The splitter measures every text some ten times; words are looked up ten times as quickly as they are
        tokenized, and most tokenizers never join two. ``_fitting`` checks the outcome.
        """
        if len(text) > self._max_characters:
            return self._chunk_tokens + 1
        known = self._word_tokens
        if len(known) > _REMEMBERED_WORDS:
            # Replaced, not cleared: another thread may be summing over it.
            known = self._word_tokens = {}
        words = _WORD.findall(text)
        unknown = [word for word in dict.fromkeys(words) if word not in known]
        if unknown:
            encodings = self._tokenizer.encode_batch_fast(unknown, add_special_tokens=False)
            known.update(zip(unknown, map(len, encodings), strict=True))
        return sum(map(known.__getitem__, words))


def _sections(document: Document) -> list[tuple[str, str, bool]]:
    """Header, body and whether it is Markdown, of each section that has a body."""
    text = normalized_newlines(document.text)
    whole = [(document.context_header, text, document.markdown)]
    if not document.markdown:
        return whole
    root = document.context_header or document.metadata.title
    lines = text.split("\n")
    sections: list[tuple[str, str, bool]] = []
    above: list[Heading] = []
    start = 0
    for heading in [*markdown_headings(text), Heading(1, "", len(lines), len(lines))]:
        body = "\n".join(lines[start : heading.start])
        if body.strip():
            sections.append((_joined(root, above), body, True))
        above = [*(one for one in above if one.level < heading.level), heading]
        start = heading.end
    return sections or whole


def _distinction(document: Document) -> str:
    """What tells a row from one with the same text: its other fields. Empty for a document that is a file by itself."""
    if not document.file_digest:
        return ""
    fields = document.metadata.model_dump(mode="json", exclude={"source", "origin"})
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _joined(root: str, headings: Sequence[Heading]) -> str:
    names = [heading.text for heading in headings if heading.text]
    if root and names[:1] != [root]:
        names.insert(0, root)
    return " > ".join(names)


def _trimmed(text: str) -> str:
    """Without blank lines around; the first line's indentation stays, for it may be code."""
    text = text.rstrip()
    return text[text.rfind("\n", 0, len(text) - len(text.lstrip())) + 1 :]


def _blocks(text: str) -> Iterator[str]:
    """A long text in portions, parted at the last paragraph, line or word that is within reach."""
    start = 0
    while len(text) - start > _BLOCK_CHARACTERS:
        stop = start + _BLOCK_CHARACTERS
        ends = (text.rfind(mark, start + 1, stop) for mark in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > start), stop)
        yield text[start:end]
        start = end
    yield text[start:]
