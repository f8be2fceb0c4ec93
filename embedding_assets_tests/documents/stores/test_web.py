"""Files of web servers: one URL, one file."""

from __future__ import annotations

import gzip
import time
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

import pytest

from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.stores import web
from embedding_assets.errors import DocumentError
from embedding_assets_tests.support.stores import Handler, as_usual, cut, serving, slow, status


class Files:
    """The files of a server: contents and headers, by path."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}

    def put(self, path: str, content: bytes, **headers: str) -> None:
        self.contents[path] = content
        self.headers[path] = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self, handler: Handler) -> None:
        path = unquote(urlsplit(handler.path).path)
        if path in self.contents:
            handler.send(200, self.contents[path], self.headers[path])
        else:
            handler.send(404)


@pytest.fixture
def files():
    return Files()


@pytest.fixture
def server(files):
    with serving(files.answer) as server:
        yield server


def refused(load, *urls, **options):
    with pytest.raises(DocumentError) as error:
        load(*urls, **options)
    assert "canary" not in str(error.value)
    return str(error.value)


def test_a_file_is_loaded_and_fetched_again_only_where_its_etag_is_another(load, server, files):
    files.put("/docs/the guide.md", b"# Guide\n\none", ETag='"1"')
    url = f"{server.url}/docs/the%20guide.md"
    assert (load(url).new, load.origins()) == (1, ["docs/the guide.md"])
    assert load(url).unchanged == 1
    assert server.count("GET", ".md") == 1
    files.put("/docs/the guide.md", b"# Guide\n\ntwo", ETag='W/"2"')
    assert (load(url).changed, load.rows()) == (1, ["two"])
    assert load(url).unchanged == 1
    assert server.count("GET", ".md") == 2


def test_the_time_of_its_last_change_is_a_mark_where_it_is_no_longer_now(load, server, files):
    url = f"{server.url}/guide.md"
    for age, requests in ((3600, 1), (0, 3)):
        files.put("/guide.md", b"one", Last_Modified=formatdate(time.time() - age, usegmt=True))
        server.asked.clear()
        for _ in range(2 if age else 3):
            load(url)
        assert server.count("GET", ".md") == requests
    assert load.origins() == [f"127.0.0.1:{server.server_port}/guide.md"]


def test_without_any_mark_it_is_fetched_and_not_split(load, server, files):
    files.put("/guide.md", b"one")
    assert [load(f"{server.url}/guide.md").unchanged for _ in range(2)] == [0, 1]


def test_an_answer_of_unknown_length_and_a_server_without_head(load, server, files):
    def in_pieces(handler: Handler) -> bool:
        if handler.command == "HEAD":
            handler.send(405)
            return True
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (b"one ", b"two", b""):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        return True

    server.faults["/page.md"] = [in_pieces]
    assert (load(f"{server.url}/page.md").new, load.rows()) == (1, ["one two"])


def test_a_query_is_asked_with_and_shown_nowhere(load, server, files, database):
    files.put("/docs/guide.md", b"one", ETag='"1"')
    url = f"{server.url}/docs/guide.md?signature=canary"
    load(url)
    assert load.origins() == ["docs/guide.md"]
    assert database.run(lambda c: c.execute("SELECT root FROM loaded_collections").fetchall()) == [
        (f"{server.url}/docs",)
    ]
    message = refused(load, url, f"{server.url}/docs/guide.md?signature=canary2")
    assert "two of the URLs would both be the document docs/guide.md" in message


def test_a_name_that_says_nothing_needs_a_format(load, server, files):
    files.put("/page", b"<p>one</p>", ETag='"1"')
    assert "--format says which of them it is" in refused(load, f"{server.url}/page")
    assert load(f"{server.url}/page", read=ReadOptions(format="html")).new == 1


def test_a_packed_file_stays_packed_whatever_the_server_calls_that(load, server, files):
    packed = gzip.compress(b'{"text": "one"}\n')
    files.put("/d/a.jsonl.gz", packed, Content_Type="application/gzip")
    files.put("/d/b.jsonl.gz", packed, Content_Encoding="gzip")
    files.put("/d/c.jsonl", packed, Content_Encoding="gzip")
    load(*(f"{server.url}/d/{name}" for name in ("a.jsonl.gz", "b.jsonl.gz", "c.jsonl")))
    assert (load.rows(), load.rejections) == (["one", "one", "one"], [])


def test_redirections_are_followed_but_not_to_plain_http(load, server, files):
    files.put("/new/guide.md", b"one", ETag='"1"')

    def elsewhere(handler: Handler) -> bool:
        handler.send(302, headers={"Location": "/new/guide.md"})
        return True

    def in_a_circle(handler: Handler) -> bool:
        handler.send(302, headers={"Location": "/circle.md"})
        return True

    server.faults["/guide.md"] = [elsewhere]
    server.faults["/circle.md"] = [in_a_circle]
    assert load(f"{server.url}/guide.md").new == 1
    assert "redirects again and again" in refused(load, f"{server.url}/circle.md")


def test_faults(load, server, files, monkeypatch):
    monkeypatch.setattr(web, "_SILENT_SECONDS", 0.5)
    monkeypatch.setattr(web, "_RETRY_SECONDS", 1.0)
    for name in "abcdefg":
        files.put(f"/d/{name}.md", f"text {name}".encode(), ETag=f'"{name}"')
    server.faults["/d/a.md"] = [as_usual, status(500), status(503), as_usual]
    server.faults["/d/b.md"] = [as_usual, cut]
    server.faults["/d/c.md"] = [as_usual, slow(3)]
    server.faults["/d/d.md"] = [as_usual, status(404)]
    server.faults["/d/e.md"] = [as_usual, status(403)]
    server.faults["/d/f.md"] = [as_usual, cut, as_usual]
    report = load(*(f"{server.url}/d/{name}.md" for name in "abcdefg"))
    assert load.rows() == ["text a", "text f", "text g"]
    assert report.rejected_files == 0
    assert sorted(load.rejections) == [
        "d/b.md: cannot be read: the server's answer was cut off",
        "d/c.md: cannot be read: the server does not answer in time",
        "d/d.md: cannot be read: there is no such file",
        "d/e.md: cannot be read: access is denied (HTTP 403)",
    ]
    assert refused(load, f"{server.url}/d/none.md") == (f"{server.url}/d/none.md cannot be read: there is no such file")


def test_plain_http_is_for_this_machine_alone(load):
    assert "https:// alone" in refused(load, "http://192.0.2.1/guide.md?token=canary")


def test_a_server_that_speaks_no_tls(load, server):
    assert "TLS" in refused(load, f"https://127.0.0.1:{server.server_port}/guide.md")
