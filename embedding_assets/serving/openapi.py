"""The interface as OpenAPI describes it, and a page for people, which fetches nothing."""

from __future__ import annotations

import html
import json
from functools import cache
from importlib.metadata import version
from typing import Any, Final, get_args

from pydantic import TypeAdapter

from embedding_assets.retrieval import RandomScores, SearchMode, SearchResult
from embedding_assets.serving.asked import Asked
from embedding_assets.serving.problems import MEDIA_TYPE

_SCHEMAS: Final = "#/components/schemas/"

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}

_HIGH: Final = "Mean and three times the spread; what scores less is hardly nearer than any chunk."
_RANDOM_SCORES: Final = "Of chunks picked at random; null for mode text, and in a table of few chunks."

_REFUSALS: Final = {
    "400": "The question is not one",
    "401": "The key is missing, or another",
    "403": "A page of another site asks",
    "413": "The body is too large",
    "415": "The body is not said to be JSON",
    "421": "The service is not known by the name in `Host`",
    "500": "The search failed",
    "502": "The question cannot be embedded",
    "503": "Too many searches, not ready yet, or something is down; see `Retry-After`",
    "504": "The search took too long",
}


@cache
def document(*, needs_key: bool) -> dict[str, Any]:
    """The OpenAPI document."""
    asked, asked_parts = _schema(TypeAdapter(Asked))
    result, result_parts = _schema(TypeAdapter(SearchResult), mode="serialization")
    scores, _ = _schema(TypeAdapter(RandomScores), mode="serialization")
    scores["properties"]["high"] = {"type": "number", "description": _HIGH}
    scores["required"].append("high")
    answer = {
        "type": "object",
        "required": ["results", "notes", "mode", "random_scores"],
        "properties": {
            "mode": {"enum": list(get_args(SearchMode)), "description": "By what the chunks are ranked."},
            "random_scores": {"anyOf": [scores, {"type": "null"}], "description": _RANDOM_SCORES},
            "results": {"type": "array", "items": {"$ref": f"{_SCHEMAS}SearchResult"}, "description": "Best first."},
            "notes": {"type": "array", "items": {"type": "string"}, "description": "What a reader should know."},
        },
    }
    found = {"200": _json_response("What was found", {"$ref": f"{_SCHEMAS}Answer"})}
    refused = {status: _json_response(words, {"$ref": f"{_SCHEMAS}Problem"}, MEDIA_TYPE)
               for status, words in _REFUSALS.items()}  # fmt: skip
    search = {"responses": found | refused, "tags": ["search"]}
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Question"}}}}
    health = _json_response("It is", {"type": "object"})
    schemas = {"Question": asked, "SearchResult": result, "Answer": answer, "Problem": _PROBLEM}
    return {
        "openapi": "3.1.0",
        "info": {"title": "embedding-assets", "version": version("embedding-assets")},
        "paths": {
            "/search": {
                "post": {"operationId": "search", "summary": "Find the chunks that answer a question",
                         "requestBody": body, **search},
                "get": {"operationId": "searchByAddress", "summary": "The same by address alone",
                        "parameters": _parameters(asked), **search},
            },
            "/healthz": {"get": {"operationId": "health", "summary": "Whether questions are answered",
                                 "security": [], "responses": {"200": health, "503": {"description": "Not yet"}}}},
            "/healthz/live": {"get": {"operationId": "live", "summary": "Whether the process lives",
                                      "security": [], "responses": {"200": health}}},
            "/metrics": {"get": {"operationId": "metrics", "summary": "Measurements for Prometheus",
                                 "responses": {"200": {"description": "Text", "content": {"text/plain": {}}}}}},
        },
        "components": {
            "schemas": {**asked_parts, **result_parts, **schemas},
            **({"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if needs_key else {}),
        },
        **({"security": [{"key": []}]} if needs_key else {}),
    }  # fmt: skip


def page(address: str, *, needs_key: bool) -> str:
    """What is served, and how to ask.

    Args:
        address: of the service, as the reader reached it.
        needs_key: whether requests bring a key.
    """
    described = document(needs_key=needs_key)
    key = ' -H "Authorization: Bearer $EMBEDDING_SERVE_KEY"' if needs_key else ""
    question = json.dumps({"query": "How do I take a lock without blocking?", "k": 3})
    curl = f"curl {address}/search{key} -H 'Content-Type: application/json' -d '{question}'"
    agent = json.dumps({"mcpServers": {"documents": {"type": "http", "url": f"{address}/mcp"}}}, indent=2)
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td>{html.escape(path)}</td><td>{html.escape(one['summary'])}</td></tr>"
        for path, methods in described["paths"].items()
        for method, one in methods.items()
    )
    fields = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(one.get('description', ''))}</td></tr>"
        for name, one in described["components"]["schemas"]["Question"]["properties"].items()
    )
    form = "" if needs_key else _FORM
    return _PAGE.format(version=html.escape(described["info"]["version"]), form=form, curl=html.escape(curl),
                        agent=html.escape(agent), rows=rows, fields=fields)  # fmt: skip


def _schema(adapter: TypeAdapter[Any], mode: Any = "validation") -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema, and those that it refers to."""
    schema = adapter.json_schema(ref_template=f"{_SCHEMAS}{{model}}", mode=mode)
    return schema, schema.pop("$defs", {})


def _parameters(asked: dict[str, Any]) -> list[dict[str, Any]]:
    parameters = []
    for name, schema in asked["properties"].items():
        shown = {key: value for key, value in schema.items() if key not in ("description", "examples")}
        if name == "where":
            shown = {"type": "array", "items": {"type": "string"}}
        parameters.append({
            "name": "q" if name == "query" else name,
            "in": "query",
            "required": name in asked["required"],
            "description": schema.get("description", ""),
            "schema": shown,
        })  # fmt: skip
    return parameters


def _json_response(words: str, schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {"description": words, "content": {media_type: {"schema": schema}}}


_FORM: Final = (
    '<form action="search"><label>Ask: <input name="q" size="50" required maxlength="1000"></label> '
    "<button>Search</button></form>"
)

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>embedding-assets</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ background: #8881; padding: .7rem; overflow-x: auto }}
td {{ padding: .15rem 1rem .15rem 0; vertical-align: top }}
</style>
</head>
<body>
<h1>embedding-assets {version}</h1>
{form}
<pre>{curl}</pre>
<table>{rows}</table>
<h2>A question</h2>
<table>{fields}</table>
<p><a href="openapi.json">openapi.json</a> has the rest.</p>
<h2>Agents</h2>
<p>By the Model Context Protocol, streamable HTTP:</p>
<pre>{agent}</pre>
</body>
</html>
"""
