"""Questions to a table, and their answers."""

from embedding_assets.config import SearchMode
from embedding_assets.retrieval.answer import Answer, Neighbour, Place, RandomScores, SearchResult
from embedding_assets.retrieval.kept import close_searchers, search, search_async
from embedding_assets.retrieval.question import Question
from embedding_assets.retrieval.searcher import Searcher
from embedding_assets.retrieval.snippet import Snippet

__all__ = [
    "Answer",
    "Neighbour",
    "Place",
    "Question",
    "RandomScores",
    "SearchMode",
    "SearchResult",
    "Searcher",
    "Snippet",
    "close_searchers",
    "search",
    "search_async",
]
