"""Structured logs: they parse, they are tied together by a run id, and no password gets out."""

import json
import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.config import LoggingConfig
from embedding_assets.logs import configure_logging, correlate, current_run_id, redact

logger = logging.getLogger("embedding_assets.test")


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root, package = logging.getLogger(), logging.getLogger("embedding_assets")
    before = root.handlers[:], root.level, package.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    package.setLevel(before[2])


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_the_database_driver_adds_no_line_to_ours_on_what_ended_a_connection(capsys: pytest.CaptureFixture[str]):
    configure_logging(LoggingConfig(level="DEBUG", format="json"))
    for name in ("psycopg", "psycopg.pool"):
        logging.getLogger(name).warning("error ignored in rollback on <psycopg.Connection [BAD]>")
    assert logged(capsys) == []


def test_json_lines(capsys: pytest.CaptureFixture[str]):
    configure_logging(LoggingConfig(level="INFO", format="json"))
    logger.info("embedded %d", 3, extra={"embedded": 3, "chunk_hash": "ab"})
    logger.debug("hidden")
    logging.getLogger("other").info("hidden")
    logging.getLogger("other").warning("shown\nin one line")
    first, second = logged(capsys)
    assert first["level"] == "INFO"
    assert first["logger"] == "embedding_assets.test"
    assert first["message"] == "embedded 3"
    assert (first["embedded"], first["chunk_hash"], first["run_id"]) == (3, "ab", "")
    assert str(first["time"]).startswith("20")
    assert second["message"] == "shown\nin one line"


def test_run_ids(capsys: pytest.CaptureFixture[str]):
    configure_logging(LoggingConfig(level="INFO", format="json"))
    assert current_run_id() == ""
    with correlate() as outer:
        assert current_run_id() == outer
        logger.info("a")
        with correlate() as inner:
            logger.info("b")
        with correlate("given") as given_id:
            logger.info("c")
        thread = threading.Thread(target=lambda: logger.info("d"))
        thread.start()
        thread.join()
        logger.info("e")
    logger.info("f")
    with correlate() as another:
        pass
    assert current_run_id() == ""
    assert outer == inner != another
    assert given_id == "given"
    assert [line["run_id"] for line in logged(capsys)] == [outer, outer, "given", "", outer, ""]


SECRETS = [
    "postgresql://u:{}@host/db",
    "postgresql+psycopg://u:{}@host:5432/db?x=1",
    "at postgresql://:{}@host, then postgresql://v:{}@other/db",
    "host=h password={} user=u",
    "host=h PASSWORD = '{}' user=u",
    "sslpassword={}",
    "postgresql://host/db?user=u&password={}&x=1",
]


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("password", ["s3cret", "s3%40cret", "s3@cret", "s3%20cret", "s3:cret", "s3/cret?#", "s3'cret"])
def test_redact(text: str, password: str):
    if "'{}'" in text:
        password = password.replace("'", r"\'")
    assert "cret" not in redact(text.format(password, password))


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/a@b",
        "https://example.org:8080/path",
        "user@host:5432/db did not answer",
        "mail me@example.org: now",
        "no passwords here",
    ],
)
def test_redact_leaves_other_text_alone(text: str):
    assert redact(text) == text


def test_what_surrounds_a_password_stays():
    assert redact("x postgresql://u:p@h:1/d y") == "x postgresql://u:***@h:1/d y"
    assert redact("host=h password=p user=u") == "host=h password=*** user=u"


@given(st.text(min_size=1).filter(lambda text: not set(text) & set(" /\"'") and not any(map(str.isspace, text))))
def test_any_password_without_blanks_is_redacted(password: str):
    assert redact(f"postgresql://u:{password}@h/d").endswith("postgresql://u:***@h/d")


@pytest.mark.parametrize("form", ["json", "text"])
def test_passwords_in_messages_extras_and_tracebacks(form: str, capsys: pytest.CaptureFixture[str]):
    configure_logging(LoggingConfig(level="INFO", format=form))
    url = "postgresql://u:s3@cret@h/d"
    try:
        try:
            raise ValueError(url)
        except ValueError as error:
            raise RuntimeError(f"password='s3cret', {url}") from error
    except RuntimeError:
        logger.exception("cannot open %s", url, extra={"url": url, "nested": {"urls": [url]}}, stack_info=True)
    shown = capsys.readouterr().err
    assert "cret" not in shown
    assert "cannot open postgresql://u:***@h/d" in shown
    assert "RuntimeError" in shown
    if form == "json":
        [line] = shown.splitlines()
        assert json.loads(line)["nested"] == {"urls": ["postgresql://u:***@h/d"]}


def test_other_handlers_get_the_record_as_it_was(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]):
    configure_logging(LoggingConfig(level="INFO"))
    logging.getLogger().addHandler(caplog.handler)
    with caplog.at_level("INFO"):
        logger.info("embedded %d", 3)
    [column] = caplog.records
    assert (column.msg, column.args) == ("embedded %d", (3,))


def test_text_lines(capsys: pytest.CaptureFixture[str]):
    configure_logging(LoggingConfig(level="INFO", format="text"))
    with correlate("run-1"):
        logger.info("embedded %d", 3)
    assert capsys.readouterr().err.endswith("INFO run-1 embedding_assets.test: embedded 3\n")
