"""Who may ask: keys, names, and pages of other sites."""

import httpx2
from pydantic import SecretStr

from embedding_assets.config import Settings
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.serving import KEY, served, with_limits


def test_a_key(settings: Settings, provider: FakeProvider):
    with served(with_limits(settings, key=SecretStr(KEY))) as client:
        for headers in ({}, {"authorization": KEY}, {"authorization": "Bearer"}, {"authorization": f"Bearer {KEY}x"},
                        {"authorization": f"Basic {KEY}"}, {"authorization": "Bearer ü"}):  # fmt: skip
            encoded = {name: value.encode() for name, value in headers.items()}
            for path in ("/search?q=a", "/metrics", "/nothing"):
                refused = client.get(path, headers=encoded)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert client.post("/mcp", json={}, headers=encoded).status_code == 401
        right = {"authorization": f"Bearer {KEY}"}
        assert client.get("/search?q=a", headers=right).status_code == 200
        assert client.get("/metrics", headers=right).status_code == 200
        twice = [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer no")]
        assert client.get("/search?q=a", headers=twice).status_code == 401
        # What tells nothing of the table needs none.
        assert [client.get(path).status_code for path in ("/", "/openapi.json", "/healthz", "/healthz/live")] == [
            200
        ] * 4
        assert KEY not in client.get("/").text


def test_names_of_others_and_pages_of_others(client: httpx2.Client):
    port = client.base_url.port
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "LOCALHOST"):
        assert client.get("/search?q=a", headers={"host": host}).status_code == 200
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example:80"):
        assert client.get("/search?q=a", headers={"host": host}).status_code == 421
        assert client.get("/healthz", headers={"host": host}).status_code == 421
    for origin in ("http://evil.example", "null", f"http://localhost:{port}", "http://127.0.0.1"):
        answer = client.post("/search", json={"query": "a"}, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    own = {"origin": str(client.base_url).rstrip("/")}
    assert client.post("/search", json={"query": "a"}, headers=own).status_code == 200
    assert client.get("/search?q=a", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/search?q=a", headers={"sec-fetch-site": "same-origin"}).status_code == 200
    assert client.options("/search", headers={"origin": "http://evil.example"}).status_code == 403


def test_further_names(settings: Settings, provider: FakeProvider):
    with served(with_limits(settings, hosts=("search.example.org",))) as client:
        assert client.get("/search?q=a", headers={"host": "Search.example.org"}).status_code == 200
        assert client.get("/search?q=a", headers={"host": "other.example.org"}).status_code == 421
