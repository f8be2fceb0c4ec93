"""An HTTP server on loopback that speaks OpenAI's embeddings API, holds its limits, keeps a bill, and fails on request.

    with ApiServer(requests_per_minute=600) as server:
        ...  # EMBEDDING_OPENAI_BASE_URL = server.url, EMBEDDING_OPENAI_API_KEY = server.api_key
        server.faults.script.append(Fault.HANG)
        assert server.bill_usd == ...

Processes of their own use it by its URL. It runs in a thread; read its counters when nothing is in flight.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Self

from fake_api.answers import Answer, api_vector_of, api_vectors_of, error, failure, success
from fake_api.dialects import Dialect
from fake_api.faults import UNREADABLE, Fault, Faults
from fake_api.limits import (
    MAX_INPUT_TOKENS,
    MAX_INPUTS,
    MAX_REQUEST_TOKENS,
    Bucket,
    RateLimits,
    count_tokens,
    estimate_tokens,
)

__all__ = ["ApiServer", "Fault", "Served", "api_vector_of"]

MODELS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


@dataclass(frozen=True, slots=True)
class Served:
    """A request for embeddings, and what became of it.

    Attributes:
        started: when it had arrived, by ``time.monotonic``.
        inputs: its texts; 0 where it was refused before they were looked at.
        estimate: its tokens at a quarter a byte, rounded up for each text.
        tokens: what was billed; 0: nothing.
        status: of the answer; 0: there was none, or only a part.
        readable: whether the client could learn from the answer what was billed.
        headers: of the request, lower case, without the key.
        query: what follows the address behind a question mark.
        fields: of the request, without its texts.
    """

    started: float
    inputs: int
    estimate: int
    tokens: int
    status: int
    fault: Fault | None
    readable: bool
    headers: Mapping[str, str]
    query: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


class ApiServer:
    """The server; see the module.

    Args:
        api_key: the only key it accepts.
        usd_per_million_tokens: its price.
        requests_per_minute, tokens_per_minute: limits; None: none, and no headers about it.
        burst_seconds: how much of a limit can be used at once, in seconds of its rate.
        counted: how tokens a minute are counted.
        retry_after: how a refusal for rate says when to come back.
        headers_as_of: when the limits in the headers are read: as the request is let in, or as it is answered.
        latency_seconds, latency_seconds_per_input: time an answer takes.
        one_at_a_time: whether requests are computed one after the other, also those whose client has gone.
        models: the models it has, with the length of their vectors.
        dialect: in what the server differs from OpenAI.
        shortens: whether ``dimensions`` is understood; ``text-embedding-ada-002`` never does.

    Attributes:
        faults: what goes wrong.
        outage: while true, every request is answered with 503.
        served: all requests for embeddings.
        seen: how often each text was billed.
        most_in_flight: highest number of requests at once.
        connections: how many were made.
    """

    def __init__(
        self,
        *,
        api_key: str = "test-key",
        usd_per_million_tokens: Decimal = Decimal("0.02"),
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        burst_seconds: float = 60.0,
        counted: Literal["estimate", "tokens"] = "estimate",
        retry_after: Literal["seconds", "milliseconds"] | None = "seconds",
        headers_as_of: Literal["arrival", "answer"] = "arrival",
        latency_seconds: float = 0.0,
        latency_seconds_per_input: float = 0.0,
        one_at_a_time: bool = False,
        models: Mapping[str, int] = MODELS,
        shortens: bool = True,
        dialect: Dialect | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.api_key = api_key
        self.usd_per_million_tokens = usd_per_million_tokens
        requests, tokens = (
            None if limit is None else Bucket(limit, limit * burst_seconds / 60)
            for limit in (requests_per_minute, tokens_per_minute)
        )
        self.limits = RateLimits(requests, tokens, counted)
        self.retry_after = retry_after
        self.headers_as_of = headers_as_of
        self.latency_seconds = latency_seconds
        self.latency_seconds_per_input = latency_seconds_per_input
        self._places = asyncio.Semaphore(1 if one_at_a_time else sys.maxsize)
        self.models = dict(models)
        self.shortens = shortens
        self.dialect = dialect or Dialect()
        self.faults = faults or Faults()
        self.outage = False
        self.served: list[Served] = []
        self.seen: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.connections = 0
        self._address = ("127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api-server", daemon=True)
        self._listener: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *exception: object) -> None:
        self.hang_up()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The base URL for a client, before and after the server hangs up."""
        return f"http://{self._address[0]}:{self._address[1]}/v1"

    @property
    def requests(self) -> int:
        """Requests for embeddings so far."""
        return len(self.served)

    @property
    def violations(self) -> int:
        """Requests refused because of the limits a minute; faults are not among them."""
        return self.limits.violations

    @property
    def billed_tokens(self) -> int:
        """Tokens that were computed, whether or not the answer arrived."""
        return sum(one.tokens for one in self.served)

    @property
    def bill_usd(self) -> Decimal:
        """What the account owes, not rounded."""
        return self.usd(self.billed_tokens)

    def usd(self, tokens: int) -> Decimal:
        """The price of tokens."""
        return tokens * self.usd_per_million_tokens / 1_000_000

    def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        self._wait(self._listen())

    def hang_up(self) -> None:
        """Close every connection and refuse new ones, as a machine that is down does."""
        self._wait(self._hang_up())

    def _wait(self, action: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._connect, *self._address, limit=2**20, backlog=512)
        self._address = self._listener.sockets[0].getsockname()[:2]

    async def _hang_up(self) -> None:
        if self._listener:
            self._listener.close()
            self._listener = None
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections[task] = writer
        self.connections += 1
        # Without this, small writes wait for each other's acknowledgement.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            del self._connections[task]
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read a request and answer it; returns whether the connection lives on."""
        method, path, headers, body = await _read_request(reader)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer, fault = await self._route(method, path, headers, body)
            if fault is Fault.HANG:
                await reader.read()  # until the client gives up
        finally:
            self.in_flight -= 1
        if answer is None:
            return False
        fields = {"content-type": "application/json", "content-length": str(len(answer.body)), **answer.headers}
        head = f"HTTP/1.1 {answer.status} \r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(head.encode() + b"\r\n")
        writer.write(answer.body[: len(answer.body) // 2] if fault is Fault.TRUNCATED else answer.body)
        await writer.drain()
        return fault is not Fault.TRUNCATED and headers.get("connection") != "close"

    async def _route(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[Answer | None, Fault | None]:
        path, _, query = path.partition("?")
        key = headers.pop("authorization", "")
        if self.outage:
            answer: Answer | None = failure(Fault.UNAVAILABLE)
        elif key != f"Bearer {self.api_key}":
            answer = error(401, "Incorrect API key provided.", code="invalid_api_key")
        elif (method, path) == ("POST", "/v1/embeddings"):
            return await self._embed(headers, body, query)
        elif (method, path) == ("GET", "/v1/models"):
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.models]
            return Answer(200, json.dumps({"object": "list", "data": models}).encode()), None
        else:
            answer = error(404, f"Invalid URL ({method} {path})")
        if path == "/v1/embeddings":
            assert answer
            self.served.append(Served(time.monotonic(), 0, 0, 0, answer.status, None, True, headers))
        return answer, None

    async def _embed(self, headers: dict[str, str], body: bytes, query: str) -> tuple[Answer | None, Fault | None]:
        started = time.monotonic()
        request = _parse(body)
        texts: list[str] = []
        fault, position, tokens = None, 0, 0
        answer = self._refuse(request) if isinstance(request, dict) else request
        if answer is None:
            assert isinstance(request, dict)
            texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
            answer = self.dialect.refuse(request, texts) or self._limit(texts)
        limit_headers = self.limits.headers()
        if answer is None:
            fault, position = self.faults.choose(texts)
            answer = failure(fault) if fault else None
        if answer is None and fault is not Fault.DROP_BEFORE and fault is not Fault.HANG:
            assert isinstance(request, dict)
            dimensions = request.get("dimensions") or self.models[request["model"]]
            tokens = sum(min(count_tokens(text), self.dialect.reads_tokens) for text in texts)
            answer = success(
                self.dialect.length * api_vectors_of(texts, dimensions),
                model=request["model"],
                tokens=tokens,
                as_base64=request.get("encoding_format") == "base64",
                fault=fault,
                position=position,
            )
            self.seen.update(texts)
        sent = self.dialect.rewrite(answer) if answer and fault is not Fault.DROP_AFTER else None
        self.served.append(
            Served(
                started,
                len(texts),
                sum(estimate_tokens([text]) for text in texts),
                tokens,
                sent.status if sent and fault is not Fault.TRUNCATED else 0,
                fault,
                sent is not None and fault not in UNREADABLE and fault is not Fault.NO_USAGE,
                headers,
                query,
                {**request, "input": None} if isinstance(request, dict) else {},
            )
        )
        if tokens:
            async with self._places:
                await asyncio.sleep(self.latency_seconds + self.latency_seconds_per_input * len(texts))
        if sent and fault is not Fault.NO_HEADERS:
            sent.headers.update(limit_headers if self.headers_as_of == "arrival" else self.limits.headers())
        return sent, fault

    def _refuse(self, request: dict[str, Any]) -> Answer | None:
        """The error of a request that the API cannot serve whatever its state."""
        model, texts, dimensions = request.get("model"), request.get("input"), request.get("dimensions")
        if model not in self.models:
            return error(404, f"The model `{model}` does not exist.", code="model_not_found")
        if isinstance(texts, str):
            texts = [texts]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            return error(400, "'$.input' is invalid. Please check the API reference.", param="input")
        if not 1 <= len(texts) <= MAX_INPUTS or not all(texts):
            return error(400, f"'$.input' is invalid: 1 to {MAX_INPUTS} inputs, none empty.", param="input")
        if request.get("encoding_format", "float") not in ("float", "base64"):
            return error(400, "encoding_format is float or base64.", param="encoding_format")
        if dimensions is not None:
            if not self.shortens or model == "text-embedding-ada-002":
                return error(400, "This model does not support specifying dimensions.", param="dimensions")
            if not isinstance(dimensions, int) or not 1 <= dimensions <= self.models[model]:
                return error(400, f"dimensions is 1 to {self.models[model]}.", param="dimensions")
        return _refuse_size(texts)

    def _limit(self, texts: Sequence[str]) -> Answer | None:
        """The error of a request that is too early."""
        wait = self.limits.admit(texts)
        if not wait:
            return None
        answer = error(429, f"Rate limit reached; try again in {wait:.3f}s.", kind="tokens", code="rate_limit_exceeded")
        if self.retry_after == "seconds":
            answer.headers["retry-after"] = str(math.ceil(wait))
        if self.retry_after == "milliseconds":
            answer.headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        return answer


def _parse(body: bytes) -> dict[str, Any] | Answer:
    try:
        request = json.loads(body)
    except ValueError:
        return error(400, "We could not parse the JSON body of your request.")
    return request if isinstance(request, dict) else error(400, "The body is no JSON object.")


def _refuse_size(texts: Sequence[str]) -> Answer | None:
    estimate = estimate_tokens(texts)
    if estimate > MAX_REQUEST_TOKENS:
        return error(
            400,
            f"Requested {estimate} tokens, max {MAX_REQUEST_TOKENS} tokens per request",
            kind="max_tokens_per_request",
            code="max_tokens_per_request",
        )
    longest = max(map(count_tokens, texts))
    if longest > MAX_INPUT_TOKENS:
        return error(
            400,
            f"This model's maximum context length is {MAX_INPUT_TOKENS} tokens, however you requested {longest} tokens "
            f"({longest} in your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
        )
    return None


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))
