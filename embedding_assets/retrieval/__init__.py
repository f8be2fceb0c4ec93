"""Questions to a table, and their answers."""

from embedding_assets.retrieval.answer import Answer, SearchResult
from embedding_assets.retrieval.question import Question, SearchMode
from embedding_assets.retrieval.searcher import Searcher, search

__all__ = ["Answer", "Question", "SearchMode", "SearchResult", "Searcher", "search"]
