"""Searching the table: by vectors, by words, or by both; and what is to be said of the chunks found, or not found."""

from embedding_assets.postgres.search.coverage import count_missing, holds_vectors
from embedding_assets.postgres.search.finding import find_chunks
from embedding_assets.postgres.search.found import Found, FoundChunk
from embedding_assets.postgres.search.missing import Missing, count_without_vectors
from embedding_assets.postgres.search.neighbours import NeighbouringChunk, find_neighbours, has_positions
from embedding_assets.postgres.search.random_scores import random_vectors

__all__ = [
    "Found",
    "FoundChunk",
    "Missing",
    "NeighbouringChunk",
    "count_missing",
    "count_without_vectors",
    "find_chunks",
    "find_neighbours",
    "has_positions",
    "holds_vectors",
    "random_vectors",
]
