"""How servers that speak OpenAI's embeddings API differ from OpenAI, as their documentation and their users say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from fake_api.answers import Answer, error
from fake_api.limits import MAX_INPUT_TOKENS


class Dialect:
    """OpenAI's own: nothing differs.

    Attributes:
        reads_tokens: of a text; the rest is cut off.
        length: of the vectors.
    """

    reads_tokens: int = MAX_INPUT_TOKENS
    length: float = 1.0

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        """The error of a request that this server does not take."""
        return None

    def rewrite(self, answer: Answer) -> Answer:
        """What the server sends where OpenAI sends ``answer``."""
        return answer


class Wording2026(Dialect):
    """OpenAI's words for a text that is too long, as of 2026."""

    def rewrite(self, answer: Answer) -> Answer:
        if b"maximum context length" not in answer.body:
            return answer
        return error(400, "Invalid 'input[0]': maximum input length is 8192 tokens.")


class Gemini(Dialect):
    """At most 100 texts; errors in a list; an index of 0 is left out."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if len(texts) <= 100:
            return None
        message = "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n"
        return _json(400, [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}])

    def rewrite(self, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        content = json.loads(answer.body)
        for item in content["data"]:
            if item["index"] == 0:
                del item["index"]
        return _json(200, content, answer)


class Unnumbered(Dialect):
    """No item has an index."""

    def rewrite(self, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        content = json.loads(answer.body)
        return _json(200, {**content, "data": [{"embedding": item["embedding"]} for item in content["data"]]}, answer)


class TextEmbeddingsInference(Dialect):
    """At most 32 texts; errors are not wrapped."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if len(texts) <= 32:
            return None
        message = f"batch size {len(texts)} > maximum allowed batch size 32"
        return _json(422, {"message": message, "code": 422, "type": "Validation"})


class Cohere(Dialect):
    """At most 96 texts, said in other words."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if len(texts) <= 96:
            return None
        message = f"invalid request: total number of texts must be at most 96 - received {len(texts)}"
        return _json(400, {"message": message})


class Voyage(Dialect):
    """At most 1,000 texts; errors are under ``detail``."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if len(texts) <= 1000:
            return None
        return _json(400, {"detail": f"The batch size limit is 1000. Your batch size is {len(texts)}."})


class Cutting(Dialect):
    """Reads 512 tokens of a text and says so only in what it bills, as Ollama and TEI do."""

    reads_tokens = 512


class Unnormalized(Dialect):
    """Sends vectors as the model makes them."""

    length = 0.8


class Silent(Dialect):
    """At most 50 texts, and does not say so."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        return _json(400, {"message": "Too many inputs in request."}) if len(texts) > 50 else None


class Gateway(Dialect):
    """Passes on no ``encoding_format`` but ``float``."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if request.get("encoding_format", "float") == "float":
            return None
        return error(400, "encoding_format: base64 is not supported for this model.", param="encoding_format")


class Asymmetric(Dialect):
    """Wants to know what a text is, as NVIDIA's NIM does."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if request.get("input_type") in ("passage", "query"):
            return None
        return error(400, "'input_type' parameter is required")


class Firewall(Dialect):
    """Refuses every request in which a text looks like an attack, with a page for people."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if not any(re.search("<script", text) for text in texts):
            return None
        return Answer(403, b"<html><h1>Attention Required!</h1></html>", {"content-type": "text/html"})


class Disguised(Dialect):
    """The first two refusals for rate come with status 200."""

    def __init__(self) -> None:
        self._left = 2

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        if not self._left:
            return None
        self._left -= 1
        return _json(200, {"error": {"message": "Rate limit exceeded", "code": 429}})


class Refusing(Dialect):
    """Refuses everything, with status 200."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        return _json(200, {"error": "model not found"})


class LoginPage(Dialect):
    """A proxy that wants its users to log in first."""

    def refuse(self, request: dict[str, Any], texts: Sequence[str]) -> Answer | None:  # noqa: ARG002
        return Answer(200, b"\n<!DOCTYPE html><title>Log in</title>", {"content-type": "text/html"})


def _json(status: int, content: object, answer: Answer | None = None) -> Answer:
    return Answer(status, json.dumps(content).encode(), answer.headers if answer else {})
