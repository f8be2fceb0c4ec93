"""Vectors from OpenAI, or from a server that speaks its embeddings API."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
import math
import os
import ssl
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.errors import ConfigurationError, DatabaseError, DatabasePermissionError
from embedding_assets.logs import correlate, current_run_id, unlogged_client
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.access import may_write_ledger
from embedding_assets.postgres.usage.learned import read_learned, save_learned
from embedding_assets.providers.base import EmbeddedBatch, StillWanted
from embedding_assets.providers.openai.account import ApiAccount
from embedding_assets.providers.openai.address import check_address, is_openai, server_name
from embedding_assets.providers.openai.answers import MalformedAnswerError, parse_answer
from embedding_assets.providers.openai.background import Background, Emit
from embedding_assets.providers.openai.call import ApiCall
from embedding_assets.providers.openai.gate import ApiGate
from embedding_assets.providers.openai.outcomes import (
    Outcome,
    classify_failure,
    classify_refusal,
    classify_success,
    read_rates,
)
from embedding_assets.providers.openai.prices import price_of
from embedding_assets.providers.openai.texts import prepare_texts
from embedding_assets.providers.prompts import warn_of_missing_prompts
from embedding_assets.spaces import VectorSpace

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

_MOST_WINDOW_TEXTS: Final = 16_384

_RECALL_SECONDS: Final = 86_400.0
"""As long as the database keeps what was learned."""

_KEPT_SECONDS: Final = 30.0
"""For which a connection is kept without use; most servers close it after a minute at the earliest."""


def openai_space(config: OpenAIConfig, *, prompt: str = "") -> VectorSpace:
    """The vector space of the configured model with a prompt before every document; sends no request."""
    return VectorSpace(
        provider="openai",
        model=config.model,
        # The API gives no version of its weights, but the same name on another server may be another model.
        # What else a request says may change the vectors as well.
        revision=(config.server or server_name(config.base_url)) + _extra(config),
        dimensions=config.dimensions,
        normalized=True,
        prompt=prompt,
        max_tokens=config.max_input_tokens,
    )


def endpoint_of(config: OpenAIConfig) -> str:
    """A digest of all that decides which rate limits hold and what an outage stops; sends no request."""
    # What is not set here, the client looks for there.
    organization = config.organization or os.environ.get("OPENAI_ORG_ID")
    project = config.project or os.environ.get("OPENAI_PROJECT_ID")
    given = (*config.headers.items(), *config.query_parameters.items())
    secrets = [f"{name}={value.get_secret_value()}" for name, value in given]
    parts = (config.base_url, _secret(config), organization, project, config.model, *secrets)
    return hashlib.sha256("\x1f".join(part or "" for part in parts).encode("utf-8", "replace")).hexdigest()[:16]


def _secret(config: OpenAIConfig) -> str:
    """The key that is sent; empty: none.

    ``OPENAI_API_KEY``, which many machines have set for all programs, goes to OpenAI alone, and to the server that
    ``OPENAI_BASE_URL`` names for all of them as well.
    """
    key = config.api_key.get_secret_value() if config.api_key else ""
    environment = os.environ
    general = not environment.get("EMBEDDING_OPENAI_API_KEY") and key == environment.get("OPENAI_API_KEY")
    meant_for = environment.get("OPENAI_BASE_URL", "").strip().rstrip("/")
    if general and not is_openai(config.base_url) and config.base_url != meant_for:
        return ""
    return key.strip()


def _extra(config: OpenAIConfig) -> str:
    fields = {**config.extra_body, **config.extra_body_document}
    return f"?{hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]}" if fields else ""


class OpenAIProvider:
    """Embeds by an API, with many requests in flight.

    Rate limits, dollars and outages are kept in the database, for all processes together.
    """

    def __init__(
        self,
        config: OpenAIConfig,
        budget: BudgetConfig,
        database: Database,
        *,
        document_prompt: str = "",
        query_prompt: str = "",
    ) -> None:
        self.space = openai_space(config, prompt=document_prompt)
        self._query_prompt = query_prompt
        self._config = config
        self._database = database
        self._account = ApiAccount(self.space, config, budget)
        self._loaded = False
        self._recalled_at = -math.inf
        self._recalling = threading.Lock()
        self._counted: bool | None = None  # not known yet
        self._background: Background[AsyncOpenAI] = Background(functools.partial(_open_client, config))
        # Outside of a run, the limit in dollars for one holds for all that this provider does.
        self._run_id = uuid.uuid4().hex[:12]

    @property
    def device(self) -> str:
        """Not ours to choose."""
        return "api"

    @property
    def precision(self) -> str:
        """Unknown."""
        return ""

    @property
    def window_texts(self) -> int:
        """Enough for as many full requests as may be in flight, but no more than fit well into memory."""
        return min(_MOST_WINDOW_TEXTS, self._config.max_inputs * self._config.concurrency)

    def load(self) -> float:
        """Check what can be checked without asking the server; takes next to no time.

        Raises:
            ConfigurationError: the key is missing or cannot be one, the address is plain HTTP to another machine, or a
                limit in dollars needs a price.
        """
        if not self._loaded:
            check_address(self._config)
            _key(self._config)
            self._account.usd_per_million = price_of(self._config, self._account.budget)
            warn_of_missing_prompts(self.space.model, self.space.prompt, self._query_prompt)
            self._loaded = True
        return 0.0

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Iterator[EmbeddedBatch]:
        """Embed texts, in the order in which answers arrive; identical ones are sent once.

        Raises:
            BudgetExceededError: the next request could pass a limit in dollars.
            QuotaExceededError: the account has no credit left.
            ProviderUnavailableError: an outage did not pass within ``EMBEDDING_OPENAI_RETRY_SECONDS``.
            ProviderError: the server accepts no request under these settings.
            DatabasePermissionError: there is a limit in dollars, and the database that keeps it cannot be written.
            DatabaseError: the database that keeps the limits failed.
        """
        return self._embed(texts, query=query)

    def embed_wanted(self, texts: Sequence[str], still_wanted: StillWanted) -> Iterator[EmbeddedBatch]:
        """As ``embed``; before each request goes out ``still_wanted`` is asked, in another thread, what of it is to."""
        return self._embed(texts, still_wanted=still_wanted)

    def _embed(
        self, texts: Sequence[str], *, query: bool = False, still_wanted: StillWanted | None = None
    ) -> Iterator[EmbeddedBatch]:
        self.load()
        prepared, errors = prepare_texts(
            texts,
            max_tokens=self._config.max_request_tokens,
            too_long=self._config.too_long,
            prompt=self._query_prompt if query else self.space.prompt,
        )
        if errors:
            yield EmbeddedBatch([], np.empty((0, self.space.dimensions), dtype=np.float32), [], [], errors)
        if not prepared:
            return
        counted = self._is_counted()
        if counted:
            self._recall()

        async def produce(client: AsyncOpenAI, emit: Emit[EmbeddedBatch]) -> None:
            with correlate(current_run_id() or self._run_id) as run_id:
                endpoint = endpoint_of(self._config)
                question = len(prepared) == 1
                async with ApiGate(
                    self._account,
                    self._database,
                    endpoint=endpoint,
                    run_id=run_id,
                    question=question,
                    counted=counted,
                ) as gate:
                    sender = _Sender(client, self._account, query=query)
                    await ApiCall(self._account, gate, sender, emit, still_wanted).run(prepared)

        try:
            yield from self._background.iterate(produce, most_waiting=self._config.concurrency)
        except DatabaseError:
            raise  # which could not keep it either
        except BaseException:
            self._keep_learned()
            raise
        self._keep_learned()

    def close(self) -> None:
        """Cancel what is under way and close the connections; a later call opens them again."""
        self._background.close()

    def _is_counted(self) -> bool:
        """True if the database can be written; where it cannot, that is logged once, or refused for a limit's sake."""
        with self._recalling:
            if self._counted is not None:
                return self._counted
            counted = may_write_ledger(self._database)
            if not counted and self._account.budget.is_limited and self._account.usd_per_million:
                raise DatabasePermissionError(
                    f"{self._database.address}: EMBEDDING_BUDGET_… limits what is spent, but this role cannot write "
                    "the table that counts it: use the primary server and a role with rights on embedding_usage, "
                    "embedding_spending and embedding_endpoints, or unset the limits"
                )
            if not counted:
                logger.warning(
                    "this role or replica cannot write the table of costs: requests of this process are not counted, "
                    "and keep to no limits that others share"
                )
            self._counted = counted
            return counted

    def _recall(self) -> None:
        """Start with what was learned of the server; what this process knows for a day is forgotten too."""
        with self._recalling:
            if time.monotonic() - self._recalled_at > _RECALL_SECONDS:
                self._account.recall(read_learned(self._database, endpoint_of(self._config)))
                self._recalled_at = time.monotonic()

    def _keep_learned(self) -> None:
        with self._recalling:
            learned = self._account.newly_learned()
            if learned is None or not self._counted:
                return
            try:
                save_learned(self._database, endpoint_of(self._config), learned)
            except DatabaseError as error:
                logger.warning("what was learned of the server is not kept for the next process: %s", error)
            else:
                self._account.note_kept()


def _key(config: OpenAIConfig) -> str:
    key = _secret(config)
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError("the key in EMBEDDING_OPENAI_API_KEY or OPENAI_API_KEY has characters no key has")
    if not key and is_openai(config.base_url):
        raise ConfigurationError("OpenAI needs a key; set OPENAI_API_KEY or EMBEDDING_OPENAI_API_KEY")
    return key or "none"  # many other servers need none, but the client does


@asynccontextmanager
async def _open_client(config: OpenAIConfig) -> AsyncIterator[AsyncOpenAI]:
    # Imported late: it takes most of a second.
    from httpx2 import Limits
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

    limits = Limits(keepalive_expiry=_KEPT_SECONDS)
    timeout = Timeout(config.timeout_seconds, connect=config.connect_timeout_seconds)
    client = AsyncOpenAI(
        api_key=_key(config),
        base_url=config.base_url,
        organization=config.organization,
        project=config.project,
        timeout=timeout,
        default_headers={name: value.get_secret_value() for name, value in config.headers.items()},
        default_query={name: value.get_secret_value() for name, value in config.query_parameters.items()},
        # One loop of retries is enough, and this one knows about limits.
        max_retries=0,
        # Texts go where the settings say and nowhere else.
        http_client=DefaultAsyncHttpxClient(
            timeout=timeout, limits=limits, follow_redirects=False, verify=_tls_context()
        ),
    )
    with unlogged_client():
        async with client:
            yield client


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """The client's own default, but made once: reading the certificates takes far longer than a small call's rest."""
    from httpx2 import create_ssl_context

    return create_ssl_context()


class _Sender:
    """Sends requests with the official client; whatever becomes of one is an outcome, and no exception."""

    def __init__(self, client: AsyncOpenAI, account: ApiAccount, *, query: bool) -> None:
        self._client = client
        config = account.config
        self._body = {**config.extra_body, **(config.extra_body_query if query else config.extra_body_document)}
        self._account = account
        self._config = config
        # The client's own time-out starts again with every byte that arrives.
        self._longest_seconds = config.connect_timeout_seconds + config.timeout_seconds

    async def __call__(self, texts: Sequence[str]) -> Outcome:
        """Ask for the vectors of texts."""
        from openai import APIConnectionError, APIStatusError, omit

        config = self._config
        try:
            async with asyncio.timeout(self._longest_seconds):
                # Raw: the headers are needed, and the client would look at no vector it was asked for by format.
                response = await self._client.embeddings.with_raw_response.create(
                    input=list(texts),
                    model=config.model,
                    dimensions=config.dimensions if config.sends_dimensions else omit,
                    encoding_format="float" if self._account.floats else "base64",
                    extra_body=self._body or None,
                )
        except TimeoutError:
            return Outcome("timed_out", "no answer in time")
        except APIStatusError as error:
            return classify_refusal(error.status_code, error.body, error.response.headers)
        except APIConnectionError as error:
            return classify_failure(error.__cause__)
        return _read(response.status_code, response.content, response.headers, len(texts), config.dimensions)


def _read(status: int, body: bytes, headers: Mapping[str, str], count: int, dimensions: int) -> Outcome:
    rates = read_rates(headers)
    try:
        answer = parse_answer(body, count=count, dimensions=dimensions)
    except MalformedAnswerError as malformed:
        disguised = classify_success(status, body, headers)
        if disguised is not None:
            return disguised
        return Outcome(
            "garbled" if malformed.code == "not_json" else "malformed",
            f"status {status}, {malformed.code}",
            status,
            malformed.code,
            rates=rates,
            tokens=malformed.tokens,
            dimensions=malformed.dimensions,
        )
    return Outcome("answered", f"status {status}", status, rates=rates, answer=answer, tokens=answer.tokens)
