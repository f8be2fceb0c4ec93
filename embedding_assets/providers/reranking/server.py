"""A reranker behind a server: Text Embeddings Inference, Cohere, Jina, vLLM and others with their fields."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import tenacity

from embedding_assets.errors import ConfigurationError, ProviderError, ProviderUnavailableError
from embedding_assets.logs import unlogged_client
from embedding_assets.providers.encryption import check_encrypted

if TYPE_CHECKING:
    import httpx2

    from embedding_assets.config import RerankConfig

_MOST_TEXTS: Final = {"tei": 32, "cohere": 1000}
"""Texts of a request: what TEI takes unless its --max-client-batch-size says otherwise, and the limit of Cohere."""

_WAIT_SECONDS: Final = 0.2

_TRANSIENT: Final = frozenset({408, 425, 429})

_URL: Final = "EMBEDDING_RERANK_URL"


class _NoAnswerError(Exception):
    """There was none this time; the message says why, without an address or a text."""


class RerankServer:
    """Asks a server with ``/rerank``. May be called from several threads; connections are kept until ``close``.

    Raises:
        ConfigurationError: texts would be sent unencrypted, or the key cannot be one.
    """

    def __init__(self, config: RerankConfig) -> None:
        assert config.url is not None
        if not config.allow_http:
            check_encrypted(config.url, _URL, permission="EMBEDDING_RERANK_ALLOW_HTTP")
        self._config = config
        self._url = config.url if config.url.endswith("/rerank") else f"{config.url}/rerank"
        self._api = config.api or ("cohere" if config.model else "tei")
        key = config.api_key.get_secret_value().strip() if config.api_key else ""
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigurationError("the key in EMBEDDING_RERANK_API_KEY has characters no key has")
        self._headers = {"User-Agent": "embedding-assets", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question; higher is better.

        Raises:
            ConfigurationError: the server refuses such requests.
            ProviderUnavailableError: it does not answer in time, or fails.
            ProviderError: its answer is none.
        """
        deadline = time.monotonic() + self._config.timeout_seconds
        most = _MOST_TEXTS[self._api]
        scores: list[float] = []
        for start in range(0, len(texts), most):
            scores += self._ask(question, texts[start : start + most], deadline)
        return scores

    def close(self) -> None:
        """Close the connections; a later call opens them again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ask(self, question: str, texts: Sequence[str], deadline: float) -> list[float]:
        body = self._body(question, texts)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_NoAnswerError),
            stop=lambda _: time.monotonic() + _WAIT_SECONDS > deadline,
            wait=tenacity.wait_random_exponential(multiplier=_WAIT_SECONDS, max=2)
            + tenacity.wait_fixed(_WAIT_SECONDS / 2),
            sleep=lambda seconds: time.sleep(max(0.0, min(seconds, deadline - time.monotonic()))),
            reraise=True,
        )
        try:
            answer = retrying(self._post, body, deadline)
        except _NoAnswerError as error:
            raise ProviderUnavailableError(
                f"the reranker of {_URL} {error}; check that its server is up, or search without --rerank"
            ) from None
        return _read(answer, len(texts))

    def _body(self, question: str, texts: Sequence[str]) -> dict[str, Any]:
        if self._api == "tei":
            return {"query": question, "texts": list(texts), "truncate": True}
        named = {"model": self._config.model} if self._config.model else {}
        return {**named, "query": question, "documents": list(texts)}

    def _post(self, body: Mapping[str, Any], deadline: float) -> bytes:
        """One attempt."""
        import httpx2

        client = self._open_client()
        left = max(0.05, deadline - time.monotonic())
        # Errors are named by their class alone: some quote the address.
        try:
            with (
                unlogged_client(),
                client.stream("POST", self._url, json=body, headers=self._headers, timeout=left) as response,
            ):
                status = response.status_code
                answer = _content(response, deadline) if status == 200 else b""
        except httpx2.TimeoutException:
            raise _NoAnswerError(f"did not answer within {self._config.timeout_seconds:g} s") from None
        except (httpx2.HTTPError, OSError) as error:
            raise _NoAnswerError(f"could not be reached ({type(error).__name__})") from None
        except (httpx2.InvalidURL, ValueError) as error:
            raise ConfigurationError(f"{_URL} cannot be asked ({type(error).__name__}); check it") from None
        if status == 200:
            return answer
        if status >= 500 or status in _TRANSIENT:
            raise _NoAnswerError(f"failed with HTTP {status}")
        raise ConfigurationError(f"the reranker of {_URL} refused with HTTP {status}; {self._advice(status)}")

    def _advice(self, status: int) -> str:
        if status in (401, 403):
            return "check EMBEDDING_RERANK_API_KEY"
        if 300 <= status < 400:
            return f"set {_URL} to the address it leads to"
        if status in (404, 405):
            return f"check {_URL}: requests go to its /rerank"
        if status == 413:
            return "lower EMBEDDING_RERANK_CANDIDATES"
        return f"check EMBEDDING_RERANK_MODEL and EMBEDDING_RERANK_API: requests have the fields of {self._api}"

    def _open_client(self) -> httpx2.Client:
        import httpx2

        with self._lock:
            if self._client is None:
                try:
                    # Texts go where the settings say and nowhere else.
                    self._client = httpx2.Client(follow_redirects=False)
                except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
                    raise ConfigurationError(
                        f"{_URL} cannot be asked ({type(error).__name__}); check HTTPS_PROXY, ALL_PROXY, NO_PROXY and "
                        "SSL_CERT_FILE"
                    ) from None
            return self._client


def _content(response: httpx2.Response, deadline: float) -> bytes:
    """The whole answer; the client's own time-out starts again with every byte that arrives."""
    parts: list[bytes] = []
    for part in response.iter_bytes():
        if time.monotonic() > deadline:
            raise _NoAnswerError("was too slow to answer")
        parts.append(part)
    return b"".join(parts)


def _read(body: bytes, count: int) -> list[float]:
    """The scores of an answer in the order of the texts.

    TEI answers a list of ``index`` and ``score``; the others an object whose ``results``, or ``data``, have ``index``
    and ``relevance_score``.
    """
    try:
        answer = json.loads(body)
        rows = answer if isinstance(answer, list) else answer["results"] if "results" in answer else answer["data"]
        scores = {int(row["index"]): float(row["score" if "score" in row else "relevance_score"]) for row in rows}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProviderError(
            f"the reranker of {_URL} answered what is no list of scores ({type(error).__name__}); check {_URL} and "
            "EMBEDDING_RERANK_API"
        ) from None
    if len(rows) != count or set(scores) != set(range(count)) or not all(map(math.isfinite, scores.values())):
        raise ProviderError(f"the reranker of {_URL} did not answer with one finite score for each text")
    return [scores[index] for index in range(count)]
