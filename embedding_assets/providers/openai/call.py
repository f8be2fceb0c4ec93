"""One call of an API provider: texts go out in requests, and each comes back as a vector or as an error of its own."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np
import tenacity

from embedding_assets.errors import BudgetExceededError, DatabaseError
from embedding_assets.planning import halve, plan_requests
from embedding_assets.postgres.usage.ledger import usd_of
from embedding_assets.providers.base import EmbeddedBatch, StillWanted
from embedding_assets.providers.openai.account import ApiAccount
from embedding_assets.providers.openai.answers import Answer
from embedding_assets.providers.openai.background import Emit
from embedding_assets.providers.openai.gate import PROBE, ApiGate, tokens_of
from embedding_assets.providers.openai.outcomes import Outcome
from embedding_assets.providers.openai.pace import Slots
from embedding_assets.providers.openai.remarks import find_cut_texts, log_request, note_other_lengths
from embedding_assets.providers.openai.retries import AgainError, log_retry, pause
from embedding_assets.providers.openai.texts import ApiText, cut_text, next_size, share_tokens

logger = logging.getLogger(__name__)

Send = Callable[[Sequence[str]], Awaitable[Outcome]]

_MOST_OUTAGES: Final = 6
"""Failures of one request by the server's fault, before the request itself is suspected."""

_MOST_TIMEOUTS: Final = 2
"""The same where the server did not answer in time, since that takes long, and it has answered a probe meanwhile."""

_MOST_MALFORMED: Final = 3
"""Answers to one request that cannot be used, before it is."""

_MOST_MALFORMED_PROVEN: Final = 6
"""The same of a probe, where the server has answered rightly before."""

_MOST_CUTS: Final = 8
"""Attempts to make a text short enough."""

_PERHAPS_A_TEXT: Final = (403, 406, 451)
"""Statuses with which a firewall before the server refuses a text, and the server a key."""

_OVERSIZE: Final = Outcome("too_large", "more than the limits allow at once")
_ABANDONED: Final = Outcome("abandoned", "cancelled")
_UNWANTED: Final = Outcome("abandoned", "no longer wanted")


@dataclass(slots=True)
class _Request:
    """Texts that are sent together.

    Attributes:
        texts: in the order in which they are sent.
        failing_since: when it, or a larger one of which it is a part, was first not answered; by ``time.monotonic``.
        down_since: when the server first failed on it, and not on a larger one: an outage may have begun since.
        outages, malformed, cuts: how often the server failed, answered uselessly, or found its text too long.
    """

    texts: list[ApiText]
    failing_since: float = math.inf
    down_since: float = math.inf
    outages: int = 0
    malformed: int = 0
    cuts: int = 0


class ApiCall:
    """Sends texts with as many requests in flight as the gate lets through.

    What the server refuses or fails on is halved until the one text at fault is alone. It is at fault only if the
    server has answered something else meanwhile, at least a text that is known to be good: a server that is down, or a
    setting it does not accept, is raised and never recorded against texts.

    Args:
        account: whose requests these are.
        gate: what they have to pass.
        send: sends a request; raises nothing of the network.
        emit: takes the results.
        still_wanted: asked, once a request may be sent, which of its texts are to be; default: all.
    """

    def __init__(
        self,
        account: ApiAccount,
        gate: ApiGate,
        send: Send,
        emit: Emit[EmbeddedBatch],
        still_wanted: StillWanted | None = None,
    ) -> None:
        self._account = account
        self._config = account.config
        self._gate = gate
        self._send = send
        self._emit = emit
        self._still_wanted = still_wanted
        self._tasks = asyncio.TaskGroup()
        self._slots = Slots(account.pace)
        self._probing = asyncio.Lock()
        self._answered_at = -math.inf
        self._owed_usd = Decimal(0)
        self._owed_tokens = 0
        self._stopped: BudgetExceededError | DatabaseError | None = None

    async def run(self, texts: Sequence[ApiText]) -> None:
        """Embed and emit all of them.

        Raises:
            BudgetExceededError: the next request could pass a limit in dollars.
            DatabaseError: requests cannot be counted now.
            ProviderError: nothing more can be embedded now. What is in flight is cancelled, but emitted before where
                one of the others is raised.
        """
        failure: BaseException | None = None
        try:
            async with self._tasks:
                self._start(texts)
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
        # Outside of the handler, so that it has no context: that of a client may hold texts.
        failure = failure or self._stopped or self._gate.failure
        if failure is not None:
            if self._owed_usd or self._owed_tokens:
                # Failed attempts cost as well, and no further batch carries that.
                await self._emit(self._batch({}))
            raise failure

    def _start(self, texts: Sequence[ApiText], failing_since: float = math.inf, outages: int = 0) -> None:
        # A text that may be too long goes alone: refused, it would take a whole request with it.
        likely_fit = [text for text in texts if text.likely_tokens <= self._config.max_input_tokens]
        perhaps_not = [[text] for text in texts if text.likely_tokens > self._config.max_input_tokens]
        filled = plan_requests(
            [text.likely_tokens for text in likely_fit],
            max_tokens=self._gate.request_tokens,
            max_inputs=self._account.pace.most_inputs,
        )
        for group in [*([likely_fit[index] for index in one] for one in filled), *perhaps_not]:
            self._tasks.create_task(self._embed(_Request(group, failing_since, outages=outages)))

    def _halve(self, request: _Request) -> None:
        # What made the whole suspect makes the halves so; they need not fail as often again.
        outages = max(0, request.outages - 2)
        for half in halve(list(range(len(request.texts)))):
            self._start([request.texts[index] for index in half], request.failing_since, outages)

    async def _embed(self, request: _Request) -> None:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(AgainError), wait=pause, before_sleep=log_retry
        )
        try:
            await retrying(self._try, request)
        except (BudgetExceededError, DatabaseError) as stop:
            # What is in flight has been paid for, so it is waited for; the gate lets nothing else through.
            self._stopped = self._stopped or stop

    async def _try(self, request: _Request) -> None:
        async with self._slots:
            self._cut(request)
            outcome, ended, outage_seconds = await self._request(request)
            if outcome.answer is not None or not request.texts:
                return
        if outcome is _OVERSIZE:
            self._start(request.texts, request.failing_since, request.outages)
            return
        if outcome.kind == "rate_limited":
            raise AgainError  # nothing is let through before it is time
        request.failing_since = min(request.failing_since, time.monotonic())
        match outcome.kind:
            case "outage" | "lost" | "timed_out":
                if outcome.kind == "timed_out":
                    self._account.pace.timed_out(len(request.texts))
                await self._wait_out(request, outcome, ended, outage_seconds)
            case "malformed" | "garbled":
                request.malformed += 1
                if outcome.dimensions is not None and request.malformed == 1:
                    # Most likely a wrong setting: a short text finds out for less than this request again.
                    await self._works_otherwise(request.failing_since)
                if request.malformed < _MOST_MALFORMED:
                    raise AgainError(outcome)
                await self._find_fault(request, outcome)
            case "refused":
                await self._find_fault(request, outcome)
            case "too_large" | "too_long":
                await self._shorten(request, outcome)
            case "denied" if outcome.status in _PERHAPS_A_TEXT:
                await self._find_fault(request, outcome)
            case _:
                raise self._account.denied(outcome)

    def _cut(self, request: _Request) -> None:
        """Leave for later what is more than the pace allows by now."""
        most = self._account.pace.inputs
        rest = request.texts[most:]
        if rest:
            request.texts = request.texts[:most]
            later = _Request(rest, request.failing_since, outages=request.outages)
            self._tasks.create_task(self._embed(later))

    async def _request(self, request: _Request) -> tuple[Outcome, float, float]:
        """Send a request when it may be sent, without what is no longer wanted by then, and emit its vectors.

        Returns:
            Its outcome, when it came by ``time.monotonic``, and for how long the server had failed by then.
        """
        reservation = await self._gate.enter(request.texts, self._probe)
        if reservation is None:
            return _OVERSIZE, math.inf, 0.0
        try:
            unwanted = await self._leave_out_unwanted(request)
        except BaseException:
            await self._gate.withdraw(reservation)
            raise
        if unwanted:
            await self._emit(replace(self._batch({}), unwanted=unwanted))
        if not request.texts:
            await self._gate.withdraw(reservation)
            return _UNWANTED, math.inf, 0.0
        return await self._exchange(reservation, request.texts)

    async def _leave_out_unwanted(self, request: _Request) -> list[int]:
        positions = [position for text in request.texts for position in text.positions]
        if self._still_wanted is None or not positions:  # a probe has none
            return []
        wanted = set(await asyncio.to_thread(self._still_wanted, positions))
        kept = [(text, tuple(position for position in text.positions if position in wanted)) for text in request.texts]
        request.texts = [replace(text, positions=left) for text, left in kept if left]
        return [position for position in positions if position not in wanted]

    async def _probe(self, reservation: int) -> None:
        await self._exchange(reservation, [PROBE])

    async def _exchange(self, reservation: int, texts: Sequence[ApiText]) -> tuple[Outcome, float, float]:
        likely = sum(text.likely_tokens for text in texts)
        started = time.monotonic()
        try:
            outcome = await self._send([text.text for text in texts])
        except BaseException:
            # Cancelled: the server may compute and bill it all the same.
            self._owed_tokens += likely
            self._owed_usd += usd_of(likely, self._account.usd_per_million)
            await self._gate.leave(reservation, _ABANDONED, likely_tokens=likely)
            raise
        ended = time.monotonic()
        milliseconds = round(1000 * (ended - started))
        tokens = tokens_of(outcome, likely)
        usd = usd_of(tokens, self._account.usd_per_million)
        self._owed_usd += usd
        # No task of the group, which would be cancelled with it: money is concerned.
        recording = asyncio.ensure_future(self._gate.leave(reservation, outcome, likely_tokens=likely))
        try:
            if outcome.answer is None or not texts[0].positions:  # a probe has none
                self._owed_tokens += tokens
            else:
                # What is paid for is handed over while it is recorded, which may fail.
                await self._deliver(texts, outcome.answer)
                for row in outcome.answer.odd:
                    # Alone, so that the others are not paid for again.
                    self._tasks.create_task(self._embed(_Request([texts[row]], malformed=1)))
            _, outage_seconds = await asyncio.shield(recording)
        except asyncio.CancelledError:
            await asyncio.wait([recording])
            raise
        if outcome.kind == "answered":
            self._answered_at = time.monotonic()
            self._account.pace.answered(len(texts), ended - started, busy=self._slots.busy)
        log_request(outcome, len(texts), outcome.tokens or likely, float(usd), milliseconds)
        return outcome, ended, outage_seconds

    async def _wait_out(self, request: _Request, outcome: Outcome, ended: float, outage_seconds: float) -> None:
        """Wait for the end of an outage, unless it is this request alone that fails."""
        request.outages += 1
        request.down_since = min(request.down_since, time.monotonic())
        down_since = ended - outage_seconds  # if anything too early: the answer's recording took time as well
        too_long = outage_seconds >= self._config.retry_seconds
        most_outages = _MOST_TIMEOUTS if outcome.kind == "timed_out" else _MOST_OUTAGES
        suspect = request.outages >= most_outages or (too_long and request.outages > 1)
        # The database knows what other processes were answered.
        if suspect and (down_since > request.down_since or await self._works_otherwise(request.down_since)):
            await self._isolate(request, "server_error")
            return
        if too_long:
            raise self._account.unavailable(outage_seconds, outcome.reason)
        raise AgainError(outcome)

    async def _find_fault(self, request: _Request, outcome: Outcome) -> None:
        """Look for the text at fault, if the server works at all."""
        floats = self._account.floats
        if not await self._works_otherwise(request.failing_since):
            raise AgainError(outcome)
        if self._account.floats != floats:
            raise AgainError  # the format was at fault
        await self._isolate(request, outcome.code or ("refused" if outcome.kind == "denied" else outcome.kind))

    async def _isolate(self, request: _Request, code: str) -> None:
        if len(request.texts) > 1:
            logger.warning("halving a request of %d texts (%s)", len(request.texts), code)
            self._halve(request)
        else:
            await self._emit(self._batch(dict.fromkeys(request.texts[0].positions, code)))

    async def _shorten(self, request: _Request, outcome: Outcome) -> None:
        """Make a request smaller, and its text shorter once that is alone."""
        text = request.texts[0]
        if len(request.texts) > 1:
            if outcome.too_many_inputs:
                self._account.pace.refused(len(request.texts), outcome.allowed_inputs)
            # By size, so that long texts come together, and are no longer in the way of the others.
            request.texts.sort(key=lambda text: text.size)
            await self._isolate(request, outcome.kind)
            return
        request.cuts += 1
        if self._config.too_long == "truncate" and request.cuts <= _MOST_CUTS:
            allowed = min(self._config.max_input_tokens, outcome.allowed_tokens or self._config.max_input_tokens)
            size = next_size(text.size, requested_tokens=outcome.requested_tokens, allowed_tokens=allowed)
            shorter = cut_text(text, size)
            if shorter is not None:
                request.texts = [shorter]
                raise AgainError
        await self._find_fault(request, Outcome("too_long", outcome.reason))

    async def _works_otherwise(self, since: float) -> bool:
        """True if the server has answered something since then, if only a probe.

        Raises:
            ProviderError: it does not accept, or not usefully answer, a text that is known to be good.
        """
        malformed = 0
        async with self._probing:
            while self._answered_at <= since:
                # What has answered rightly is set rightly: vectors of another length are an accident there.
                proven = self._answered_at > -math.inf
                most = _MOST_MALFORMED_PROVEN if proven else _MOST_MALFORMED
                async with self._slots:
                    outcome, *_ = await self._request(_Request([PROBE]))
                match outcome.kind:
                    case "answered" | "rate_limited":
                        pass
                    case "outage" | "lost" | "timed_out":
                        return False
                    case "malformed" | "garbled" if malformed + 1 < most and (proven or outcome.dimensions is None):
                        malformed += 1
                    case "quota" | "denied":
                        raise self._account.denied(outcome)
                    case "refused" if not self._account.floats:
                        # Some gateways refuse base64, whatever the server behind them can do.
                        self._account.floats = True
                    case _:
                        self._account.floats = False
                        raise self._account.misconfigured(outcome)
        return True

    async def _deliver(self, texts: Sequence[ApiText], answer: Answer) -> None:
        tokens = sum(text.likely_tokens for text in texts) if answer.tokens is None else answer.tokens
        space = self._account.space
        if not answer.unit:
            note_other_lengths(space.revision, space.model)
        cut = find_cut_texts(space.revision, space.model, texts, tokens)
        shares = share_tokens(tokens, [text.size for text in texts])
        batch = self._batch({})
        rows: list[int] = []
        for row, (text, share) in enumerate(zip(texts, shares, strict=True)):
            if row in answer.odd:
                self._owed_tokens += share
                continue
            repeated = len(text.positions) - 1
            rows += [row] * (1 + repeated)
            batch.indices.extend(text.positions)
            batch.token_counts.extend([share] + [0] * repeated)  # sent and billed once
            batch.truncated.extend([text.truncated or row in cut] * (1 + repeated))
        await self._emit(replace(batch, vectors=answer.vectors[rows]))

    def _batch(self, errors: dict[int, str]) -> EmbeddedBatch:
        """A batch without vectors, with what has been billed since the last one."""
        usd, self._owed_usd = self._owed_usd, Decimal(0)
        tokens, self._owed_tokens = self._owed_tokens, 0
        nothing = np.empty((0, self._account.space.dimensions), dtype=np.float32)
        return EmbeddedBatch([], nothing, [], [], errors, float(usd), overhead_tokens=tokens)
