"""Bodies of the fake API server: its vectors, its errors, and both spoiled."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fake_api.faults import Fault

QUOTA_ERRORS = {
    Fault.QUOTA_TYPE: ("insufficient_quota", "insufficient_quota"),
    Fault.QUOTA_CREDIT: ("billing_error", "credit_balance_exhausted"),
    Fault.QUOTA_SPEND: ("billing_error", "project_spend_limit_exceeded"),
    Fault.QUOTA_USAGE: ("billing_error", "organization_usage_limit_exceeded"),
}


@dataclass
class Answer:
    """What is sent back."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def api_vectors_of(texts: Sequence[str], dimensions: int) -> NDArray[np.float32]:
    """Unit vectors, each its text's own; shape (texts, dimensions)."""
    # Cheaper than random numbers, so that the server is never what a test waits for.
    digests = b"".join(hashlib.blake2b(text.encode()).digest() for text in texts)
    blocks = np.frombuffer(digests, dtype=np.int8).reshape(len(texts), 64).astype(np.float32) + 0.5
    vectors = np.tile(blocks, -(-dimensions // 64))[:, :dimensions]
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def api_vector_of(text: str, dimensions: int = 768) -> NDArray[np.float32]:
    """The unit vector with which the server answers for a text."""
    vector: NDArray[np.float32] = api_vectors_of([text], dimensions)[0]
    return vector


def error(
    status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> Answer:
    """An error as the API words it."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Answer(status, json.dumps(body).encode())


def failure(fault: Fault) -> Answer | None:
    """The answer of a fault for which nothing is computed; None: there is one."""
    if fault in QUOTA_ERRORS:
        kind, code = QUOTA_ERRORS[fault]
        return error(429, "You exceeded your current quota, please check your plan.", kind=kind, code=code)
    match fault:
        case Fault.RATE_LIMIT | Fault.RATE_LIMIT_SECONDS | Fault.RATE_LIMIT_MILLISECONDS:
            answer = error(429, "Rate limit reached.", kind="requests", code="rate_limit_exceeded")
            if fault is Fault.RATE_LIMIT_SECONDS:
                answer.headers["retry-after"] = "1"
            if fault is Fault.RATE_LIMIT_MILLISECONDS:
                answer.headers["retry-after-ms"] = "100"
            return answer
        case Fault.SERVER_ERROR:
            return error(500, "The server had an error while processing your request.", kind="server_error")
        case Fault.BAD_GATEWAY:
            return Answer(502, b"<html><h1>502 Bad Gateway</h1></html>", {"content-type": "text/html"})
        case Fault.UNAVAILABLE:
            return error(503, "Service unavailable.", kind="server_error")
        case Fault.OVERLOADED:
            return error(503, "The server is overloaded.", kind="server_error", code="server_is_overloaded")
        case Fault.REFUSED:
            return error(400, "'$.input' is invalid.")
    return None


def success(
    vectors: NDArray[np.float32], *, model: str, tokens: int, as_base64: bool, fault: Fault | None, position: int
) -> Answer:
    """The vectors as the API sends them, or spoiled by a fault, at ``position`` where it spoils one."""
    if fault in (Fault.NAN, Fault.ZERO):
        vectors[position] = np.nan if fault is Fault.NAN else 0
    if fault is Fault.WRONG_LENGTH:
        vectors = vectors[:, :-1]
    indexes = list(range(len(vectors)))
    if fault is Fault.SHUFFLED:
        indexes.reverse()
    rows = list(indexes)
    if fault is Fault.SHORT:
        # The rest keeps its numbers from 0, as if it had been the whole: nothing but the count shows it.
        rows.pop(position)
        indexes.pop()
    if fault is Fault.LONG:
        rows.append(position)
        indexes.append(len(indexes))
    if fault is Fault.DUPLICATE_INDEX:
        # Of a request of one text the number is wrong instead.
        indexes[position] = (position + 1) % len(vectors) if len(vectors) > 1 else 1
    encode = _as_base64 if as_base64 and fault is not Fault.FLOATS else _as_floats
    data = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{encode(vectors[row])}}}'
        for index, row in zip(indexes, rows, strict=True)
    )
    usage = f',"usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}' if fault is not Fault.NO_USAGE else ""
    body = f'{{"object":"list","data":[{data}],"model":{json.dumps(model)}{usage}}}'.encode()
    return Answer(200, b"{" + body[: len(body) // 2] if fault is Fault.INVALID_JSON else body)


def _as_base64(vector: NDArray[np.float32]) -> str:
    return f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"'


def _as_floats(vector: NDArray[np.float32]) -> str:
    return json.dumps(vector.tolist())
