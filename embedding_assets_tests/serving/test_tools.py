"""Agents, by the client of the protocol's own SDK: over HTTP and over standard input and output."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.space_selection import Selection
from embedding_assets.retrieval import Answer, SearchResult
from embedding_assets.serving.answers import as_text
from embedding_assets_tests.serving.conftest import TEXTS
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import FakeProvider, hash_of, insert_chunks
from embedding_assets_tests.support.fallbacks import run
from embedding_assets_tests.support.rerank_server import RerankingServer
from embedding_assets_tests.support.serving import COMMAND, KEY, served

ANSWERS = {
    "The office closes at half past five on Fridays.": "When does the office shut before the weekend?",
    "Invoices are paid within thirty days of receipt.": "How long may bills stay open?",
    "The pump of type QX-7731-B needs a new seal each spring.": "QX-7731-B",
}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_over_http(client: httpx2.Client, mode: str):
    async with Client(f"{str(client.base_url).rstrip('/')}/mcp", mode=mode) as agent:
        assert "documents" in (agent.instructions or "")
        tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
        assert tools["search"].input_schema["required"] == ["query"]
        assert tools["neighbours"].input_schema["required"] == ["chunk"]
        for tool in tools.values():
            assert all(one.get("description") for one in tool.input_schema["properties"].values())
            assert tool.annotations.read_only_hint
        result = await agent.call_tool("search", {"query": "text 7", "k": 2, "mode": "vector", "where": ["lang=en"]})
        assert not result.is_error
        [first, _] = result.structured_content["results"]
        assert (first["text"], first["source"]) == ("text 7", "a.md")
        [content] = result.content
        lines = content.text.splitlines()
        assert lines[0] == "2 passages, best first."
        for line in ("[1] score 1.000", "source: a.md", "heading: A", f"chunk: {hash_of('text 7')}", "text 7"):
            assert line in lines
        assert "metadata: lang=en, tags=[red, blue], year=2024" in lines
        high = result.structured_content["random_scores"]["high"]
        assert re.search(rf"Note: passages picked at random score .*; below {high:.2f} a score is low", content.text)
        result = await agent.call_tool("search", {"query": "of something else", "mode": "vector"})
        assert re.search("none of these scores clearly higher", result.content[0].text)


def test_an_agent_reads_where_a_passage_stands():
    position = {"position": {"page": 7, "last_page": 8}}
    result = SearchResult("h", 0.5, "a.pdf", "A", "", "text", position, "space")
    assert as_text(Answer((result,))).splitlines()[3:5] == ["source: a.pdf", "position: pages 7-8"]


async def test_an_agent_reads_what_it_got_wrong(client: httpx2.Client):
    async with Client(f"{str(client.base_url).rstrip('/')}/mcp") as agent:
        for arguments, words in [
            ({}, "search was not called: query is missing"),
            ({"question": "a", "k": "x"}, "search was not called: query is missing; k should be a valid integer"),
            ({"query": " "}, "the query is empty"),
            ({"query": "a", "k": 0}, "k"),
            ({"query": "a", "k": 101}, "search was not called: k should be less than or equal to 100"),
            ({"query": "a", "where": ["lang"]}, "'lang' is not a condition"),
            ({"query": "a", "mode": "magic"}, "mode"),
            ({"query": "\x00"}, "no character that is text"),
            ({"query": "a", "min_score": "high"}, "min_score"),
            ({"query": "a", "where": 7}, "search was not called: where should be a valid list"),
            ({"query": "a", "where": {"lang": []}}, "'lang' is compared with list"),
            ({"query": "a", "rerank": True}, "there is no reranker"),
            ({"query": "a", "where": ["lang=en"] * 51}, "where: "),
            ({"query": "a" * 10_001}, "query"),
        ]:
            result = await agent.call_tool("search", arguments)
            assert result.is_error
            assert words in result.content[0].text
            assert not re.search("Traceback|pydantic|input_|validation|\n", result.content[0].text)
        assert not (await agent.call_tool("search", {"query": "text 7"})).is_error


@pytest.mark.parametrize(
    "where", ["tags=red", ["tags=red"], {"tags": "red"}, {"metadata": {"tags": "red"}}, '["tags=red"]', None, []]
)
async def test_conditions_in_any_form(client: httpx2.Client, where: object):
    async with Client(f"{str(client.base_url).rstrip('/')}/mcp") as agent:
        found = await agent.call_tool("search", {"query": "text 7", "k": 30, "mode": "vector", "where": where})
        assert len(found.structured_content["results"]) == (20 if where else 30)


async def test_an_agent_has_passages_reranked(
    settings: Settings, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    from embedding_assets.config import get_settings

    with RerankingServer() as server:
        monkeypatch.setenv("EMBEDDING_RERANK_URL", server.url)
        with served(get_settings()) as client:
            async with Client(f"{str(client.base_url).rstrip('/')}/mcp") as agent:
                found = await agent.call_tool("search", {"query": "text 7", "k": 2, "rerank": True})
                assert all(one["rerank_score"] is not None for one in found.structured_content["results"])


def test_fields_are_shown_as_conditions_name_them():
    metadata = {
        "source": "s", "title": "t", "position": {"line": 3}, "draft": True, "tags": ["a", 2], "page": {"number": 3},
        "long": "x" * 101, "many": list(range(21)), "deep": [{"a": 1}], "none": None, "price": 2.5, "empty": [],
    }  # fmt: skip
    [line] = [line for line in as_text(Answer((shown_result(metadata),))).splitlines() if line.startswith("metadata: ")]
    assert line == "metadata: draft=true, tags=[a, 2], page.number=3, price=2.5"


def shown_result(metadata: dict[str, object]) -> SearchResult:
    return SearchResult("h", 0.5, "s", "t", "", "text", metadata, "space")


async def test_an_agent_with_a_key(settings: Settings, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_SERVE_KEY", KEY)
    from embedding_assets.config import get_settings

    with served(get_settings()) as client:
        address = f"{str(client.base_url).rstrip('/')}/mcp"
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http,
            Client(streamable_http_client(address, http_client=http)) as agent,
        ):
            result = await agent.call_tool("search", {"query": "text 7", "k": 1})
            assert result.structured_content["results"][0]["text"] == "text 7"
        with pytest.raises(Exception):  # noqa: B017, PT011 (of whatever kind: it is the SDK's)
            async with Client(address) as agent:
                await agent.list_tools()


async def test_an_agent_reads_on(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    fake = FakeProvider()
    texts = [f"Part {number} of the manual." for number in range(6)]
    for number, text in enumerate(texts):
        insert_chunks(
            database,
            [text],
            chunk_index=number,
            total_chunks=len(texts),
            document_metadata='{"origin": "here", "source": "manual.md"}',
        )
    run(settings.with_embedding(new_space=True), database, fake)
    monkeypatch.setattr(Selection, "open_provider", lambda _: fake)
    with served(settings) as client:
        async with Client(f"{str(client.base_url).rstrip('/')}/mcp") as agent:
            found = await agent.call_tool("search", {"query": texts[3], "k": 1})
            [first] = found.structured_content["results"]
            beside = await agent.call_tool("neighbours", {"chunk": first["chunk_hash"], "most": 2})
            shown = [(one["distance"], one["text"]) for one in beside.structured_content["neighbours"]]
            assert shown == [(-2, texts[1]), (-1, texts[2]), (1, texts[4]), (2, texts[5])]
            assert f"[-1]\nchunk: {hash_of(texts[2])}\n{texts[2]}" in beside.content[0].text
            nothing = await agent.call_tool("neighbours", {"chunk": "of nothing"})
            assert not nothing.is_error
            assert "no such chunk" in nothing.content[0].text


async def test_agents_side_by_side(client: httpx2.Client):
    async def one(number: int) -> str:
        async with Client(f"{str(client.base_url).rstrip('/')}/mcp") as agent:
            result = await agent.call_tool("search", {"query": TEXTS[number], "k": 1})
            return result.structured_content["results"][0]["text"]

    assert await asyncio.gather(*map(one, range(10))) == TEXTS[:10]


async def test_an_agent_over_standard_input_and_output(settings: Settings, database: Database, tmp_path: Path):
    """With a model: questions in other words than the answers, and an identifier."""
    insert_chunks(database, [*ANSWERS, *TEXTS])
    run(settings, database)
    log = tmp_path / "log"
    server = StdioServerParameters(
        command=sys.executable, args=[*COMMAND[1:], "--stdio"], env={**os.environ, "EMBEDDING_LOG_LEVEL": "INFO"}
    )
    with log.open("w") as stream:
        from mcp import stdio_client

        async with Client(stdio_client(server, errlog=stream)) as agent:
            await ready(agent)
            for answer, question in ANSWERS.items():
                result = await agent.call_tool("search", {"query": question, "k": 1})
                assert result.structured_content["results"][0]["text"] == answer
    text = log.read_text("utf-8")
    assert not any(words in text for words in [*ANSWERS, *ANSWERS.values(), "Traceback"])


async def ready(agent: Client) -> None:
    for _ in range(600):
        result = await agent.call_tool("search", {"query": "ready?", "k": 1})
        if not result.is_error:
            return
        assert "not ready" in result.content[0].text
        await asyncio.sleep(0.1)
    raise AssertionError("the service is not ready")


@pytest.mark.covered_processes
@pytest.mark.parametrize(("how", "status"), [("end of input", 0), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_ends(settings: Settings, provider: FakeProvider, how: signal.Signals | str, status: int, tmp_path: Path):
    log = (tmp_path / "log").open("w+")
    with log:
        process = processes.start(
            [*COMMAND, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        parameters = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "a test", "version": "1"},
        }
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": parameters}
        process.stdin.write(json.dumps(hello) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "embedding-assets"
        if isinstance(how, str):
            process.stdin.close()
        else:
            process.send_signal(how)
        assert process.wait(180) == status
        log.seek(0)
        assert "Traceback" not in log.read()
