"""What is reported of a failed run, what never is, and a webhook that is well, slow, moved or down."""

import json
import logging
import re
import socket
import threading
import time

import pytest
from pydantic import SecretStr

from embedding_assets.config import AlertConfig, get_settings
from embedding_assets.defs.webhook import ATTEMPTS, Alert, ErrorLine, StepFailure, describe_error, post_alert
from embedding_assets.errors import ConfigurationError
from embedding_assets_tests.support.webhook import SECRET, Webhook

ALERT = Alert("run_failed", run_id="0123456789abcdef", job="embed_chunks", partitions="0-7")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return pauses


def failed_post(url, alert, **options):
    """Why it was not delivered."""
    failure = post_alert(url, alert, **options)
    assert failure is not None
    lasting = ("refuses", "redirects", "cannot be", "may have taken the alert")
    assert failure.may_pass is not any(words in failure.reason for words in lasting)
    return failure.reason


TAKEN = "; it may have taken the alert, which is not posted again"
STEP = StepFailure("chunk_embeddings", "QuotaExceededError", "no credit is left")
TEXTS = [
    ({}, "embed_chunks (partitions 0-7) failed, run 01234567"),
    ({"steps": [STEP]}, "embed_chunks (partitions 0-7) failed, run 01234567: "
     "chunk_embeddings: QuotaExceededError: no credit is left"),
    ({"steps": [StepFailure("a", "OSError"), StepFailure("b", "KeyError")]},
     "embed_chunks (partitions 0-7) failed, run 01234567: a: OSError; b: KeyError"),
    ({"steps": [StepFailure(name, "E") for name in "abcd"]},
     "embed_chunks (partitions 0-7) failed, run 01234567: a: E; b: E; c: E"),
    ({"reason": "UNEXPECTED_TERMINATION", "will_retry": True},
     "embed_chunks (partitions 0-7) failed, run 01234567 (Dagster starts it again): unexpected termination"),
    ({"assets": ["pgvector_index_health"], "partitions": None, "job": "__ASSET_JOB", "event": "checks_failed",
      "checks": ["pgvector_index_health:index_valid"]},
     "pgvector_index_health succeeded, but checks failed, run 01234567: check pgvector_index_health:index_valid"),
    ({"event": "checks_failed", "checks": ["a:b"], "warnings": ["a:c", "a:d"]},
     "embed_chunks (partitions 0-7) succeeded, but checks failed, run 01234567: check a:b; warning a:c; warning a:d"),
    ({"event": "checks_failed", "warnings": ["a:c"]},
     "embed_chunks (partitions 0-7) succeeded, but checks warn, run 01234567: warning a:c"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), TEXTS)
def test_the_line_for_people(fields, text):
    given = {"event": "run_failed", "run_id": ALERT.run_id, "job": ALERT.job, "partitions": "0-7"}
    assert Alert(**(given | fields)).text == text


def test_the_payload():
    alert = Alert("run_failed", "0123456789abcdef", "embed_chunks", steps=[STEP], reason="STEP_FAILURE")

    assert json.loads(json.dumps(alert.payload())) == {
        "text": alert.text,
        "event": "run_failed",
        "run_id": "0123456789abcdef",
        "job": "embed_chunks",
        "assets": [],
        "partitions": None,
        "steps": [{"step": "chunk_embeddings", "error": "QuotaExceededError", "message": "no credit is left"}],
        "checks": [],
        "warnings": [],
        "reason": "STEP_FAILURE",
        "will_retry": False,
    }


WRAPPER = ErrorLine("DagsterExecutionStepExecutionError", "dagster._core.errors.DagsterExecutionStepExecutionError: x")
DESCRIBED = [
    ([WRAPPER, ErrorLine("QuotaExceededError", "embedding_assets.errors.QuotaExceededError: pay\nthen wait\n")],
     ("QuotaExceededError", "pay")),
    ([WRAPPER, ErrorLine("DatabaseError", "embedding_assets.errors.DatabaseError: at postgresql://u:hunter2@h/d")],
     ("DatabaseError", "at postgresql://u:***@h/d")),
    ([WRAPPER, ErrorLine("DatabaseError", "embedding_assets.errors.DatabaseError\n")], ("DatabaseError", None)),
    ([WRAPPER, ErrorLine("ValueError", "ValueError: the text of a chunk")], ("ValueError", None)),
    ([WRAPPER, ErrorLine("ConfigurationError", "other.errors.ConfigurationError: its text")],
     ("ConfigurationError", None)),
    ([WRAPPER, ErrorLine("KeyError", "KeyError: 'x'"), ErrorLine("OSError", "OSError: y")], ("KeyError", None)),
    ([WRAPPER, ErrorLine("KeyError", "KeyError: 'x'"),
      ErrorLine("ProviderError", "embedding_assets.errors.ProviderError: down")], ("ProviderError", "down")),
    ([WRAPPER], ("DagsterExecutionStepExecutionError", None)),
    ([], ("unknown", None)),
]  # fmt: skip


@pytest.mark.parametrize(("chain", "described"), DESCRIBED)
def test_only_this_package_s_messages_are_reported(chain, described):
    assert describe_error(chain) == described


def test_a_message_has_its_length():
    line = ErrorLine("DatabaseError", "embedding_assets.errors.DatabaseError: " + 5000 * "x")
    assert describe_error([line]) == ("DatabaseError", 500 * "x")


def test_it_is_posted_as_json():
    with Webhook() as webhook:
        assert post_alert(SecretStr(webhook.url), ALERT) is None

    assert webhook.received == [json.loads(json.dumps(ALERT.payload()))]
    [(method, path, headers)] = webhook.requests
    assert (method, path) == ("POST", f"/services/{SECRET}")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("fault", [500, 503, 429, 0, -1])
def test_a_fault_that_passes_is_waited_out(fault, no_pause):
    with Webhook([fault, fault]) as webhook:
        assert post_alert(SecretStr(webhook.url), ALERT, timeout_seconds=0.2) is None

    assert len(webhook.received) == 3
    assert no_pause == [0.5, 1.0]


@pytest.mark.parametrize(
    ("fault", "posts", "reason"),
    [
        (503, ATTEMPTS, "fails (HTTP 503, 3 attempts)"),
        (404, 1, "refuses alerts (HTTP 404)"),
        (401, 1, "refuses alerts (HTTP 401)"),
        (302, 1, "redirects (HTTP 302); set it to the address"),
        (0, ATTEMPTS, "could not be reached (RemoteProtocolError, 3 attempts)"),
    ],
)
def test_what_does_not_pass_is_said_without_the_url(fault, posts, reason):
    with Webhook([fault] * 5) as webhook:
        failure = failed_post(SecretStr(webhook.url), ALERT)

    assert failure.startswith(f"the webhook of EMBEDDING_ALERT_WEBHOOK_URL {reason}")
    assert SECRET not in failure
    assert [method for method, _, _ in webhook.requests] == ["POST"] * posts, "no redirect is followed"


def test_an_answer_that_never_ends_is_left_at_the_deadline(no_pause):
    """Each byte comes in time."""
    with Webhook([503, -2]) as webhook:
        started = time.monotonic()
        failure = failed_post(SecretStr(webhook.url), ALERT, timeout_seconds=1, deadline_seconds=0.5)
        seconds = time.monotonic() - started
        assert webhook.left.wait(180), "the connection is closed, so nothing of the post stays behind"

    assert "_URL did not answer within 0.5 s; check that its server is well" in failure
    assert failure.endswith(TAKEN)
    assert 0.4 < seconds < 30
    assert len(webhook.received) == 2


@pytest.mark.parametrize(
    ("script", "may_pass"),
    [
        ([-1, -1, -1], False),  # it takes each, and stalls
        ([503, 503, -1], False),
        ([-1, 503, 503], False),
        ([0, 0, 0], False),
        ([500, 500, 500], False),
        ([429, 503, 503], True),
        ([504, 504, 504], False),
    ],
)
def test_what_the_server_may_have_taken_is_not_posted_by_a_later_tick(script, may_pass):
    with Webhook(script) as webhook:
        failure = post_alert(SecretStr(webhook.url), ALERT, timeout_seconds=0.2 if -1 in script else 60)

    assert failure is not None
    assert (failure.may_pass, failure.reason.endswith(TAKEN)) == (may_pass, not may_pass)
    assert len(webhook.received) == ATTEMPTS


def test_a_proxy_that_does_not_let_it_through_has_not_taken_it(monkeypatch: pytest.MonkeyPatch):
    """It takes the request to be connected, which is not the alert."""
    with Webhook() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix(f"/services/{SECRET}"))
        failure = failed_post(SecretStr(f"https://192.0.2.1/{SECRET}"), ALERT, timeout_seconds=5)

    assert "could not be reached (ProxyError, 3 attempts)" in failure
    assert not failure.endswith(TAKEN)


def test_no_try_begins_after_the_deadline():
    with Webhook([503] * 3) as webhook:
        failure = failed_post(SecretStr(webhook.url), ALERT, deadline_seconds=0)

    assert "did not answer within 0 s" in failure
    assert webhook.received == []


def test_a_server_that_is_down():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    failure = failed_post(SecretStr(f"http://127.0.0.1:{port}/{SECRET}"), ALERT)

    assert "could not be reached (ConnectError, 3 attempts); check that its server is up" in failure
    assert SECRET not in failure


def test_the_url_stays_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_ALERT_WEBHOOK_URL", f" https://hooks.example.com/{SECRET} ")
    settings = get_settings()

    assert settings.alert.webhook_url == SecretStr(f"https://hooks.example.com/{SECRET}")
    for shown in (repr(settings), str(settings.alert), settings.model_dump_json()):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x", "file:///etc/passwd", "hooks.example.com/x", "https://", "https://u:p@h/x", "https://h:0/x",
        "https://h:99999/x", "https://h/a b", "https://h/ü", "https://[h/x",
    ],
)  # fmt: skip
def test_what_is_no_webhook_is_refused_and_not_repeated(url, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_ALERT_WEBHOOK_URL", url)

    with pytest.raises(ConfigurationError) as caught:
        get_settings()

    message = "EMBEDDING_ALERT_WEBHOOK_URL: is not a URL such as https://hooks.slack.com/services/…, without user and"
    assert str(caught.value) == f"{message} password"


def test_by_default_no_alert_is_sent(monkeypatch: pytest.MonkeyPatch):
    assert AlertConfig().webhook_url is None
    monkeypatch.setenv("EMBEDDING_ALERT_WEBHOOK_URL", "")
    assert get_settings().alert.webhook_url is None


def test_the_url_is_in_no_line_of_the_client(caplog: pytest.LogCaptureFixture):
    filters = list(logging.getLogger("httpx2").filters)
    with Webhook() as webhook, caplog.at_level(logging.DEBUG):
        assert post_alert(SecretStr(webhook.url), ALERT) is None
    assert SECRET not in caplog.text
    assert logging.getLogger("httpx2").filters == filters


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_a_reason(proxy: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALL_PROXY", proxy)
    failure = failed_post(SecretStr(f"http://192.0.2.1/{SECRET}"), ALERT, deadline_seconds=5)
    assert re.search(r"cannot be asked \((ImportError|ValueError)\); check HTTPS_PROXY, ALL_PROXY", failure)
    assert SECRET not in failure


def test_a_look_up_that_hangs_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(180) and [])
    started = time.monotonic()
    failure = failed_post(SecretStr(f"http://alerts.invalid/{SECRET}"), ALERT, deadline_seconds=0.5)
    assert time.monotonic() - started < 10
    released.set()
    assert "did not answer within 0.5 s" in failure
