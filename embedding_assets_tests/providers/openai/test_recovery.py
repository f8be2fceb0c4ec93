"""The way back after an outage: found at once, by a text that is known to be good, whatever else waits."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from embedding_assets.errors import ProviderUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai.gate import PROBE
from embedding_assets_tests.support.calls import Result, assert_embedded, embed, make_provider
from fake_api.server import ApiServer, Fault

TEXTS = [f"text {number}" for number in range(100)]


@pytest.fixture
def outage(server: ApiServer, database: Database, beside: psycopg.Connection, impatient: None) -> None:
    """An outage that others have waited out in vain, and that is over."""
    server.outage = True
    with pytest.raises(ProviderUnavailableError):
        embed(make_provider(server, database, max_inputs=8, retry_seconds=0.5), TEXTS)
    beside.execute("UPDATE embedding_endpoints SET failing_since = now() - interval '10 minutes', open_until = now()")
    server.outage = False
    server.served.clear()


@pytest.mark.usefixtures("outage")
def test_a_run_after_a_long_outage_embeds_everything(server: ApiServer, database: Database):
    result = embed(make_provider(server, database, max_inputs=8, retry_seconds=5), TEXTS)
    assert_embedded(result, TEXTS)
    assert server.served[0].inputs == 1, "first a probe"
    assert server.seen[PROBE.text] == 1


@pytest.mark.usefixtures("outage")
def test_patience_counts_from_the_start_of_the_run(server: ApiServer, database: Database, beside: psycopg.Connection):
    beside.execute("UPDATE embedding_endpoints SET failed_at = now(), open_until = now() + interval '2 seconds'")
    assert_embedded(embed(make_provider(server, database, max_inputs=8, retry_seconds=30), TEXTS), TEXTS)


@pytest.mark.usefixtures("outage")
def test_a_text_that_brings_the_server_down_stops_nothing_after_an_outage(server: ApiServer, database: Database):
    texts = [*TEXTS[:4], f"bad {Fault.SERVER_ERROR.marker}", *TEXTS[4:7]]
    result = embed(make_provider(server, database, max_inputs=8, retry_seconds=20), texts)
    assert result.errors == {4: "server_error"}
    assert_embedded(result, texts, but=[4])


@pytest.mark.usefixtures("outage")
def test_a_probe_that_fails_is_no_reason_to_send_the_backlog(server: ApiServer, database: Database):
    server.faults.script.append(Fault.SERVER_ERROR)
    assert_embedded(embed(make_provider(server, database, max_inputs=8, retry_seconds=30), TEXTS), TEXTS)
    assert [one.inputs for one in server.served[:3]] == [1, 1, 8]


@pytest.mark.usefixtures("outage")
def test_a_process_that_has_waited_once_does_not_wait_again(server: ApiServer, database: Database):
    server.outage = True
    provider = make_provider(server, database, retry_seconds=1)
    with pytest.raises(ProviderUnavailableError):
        embed(provider, TEXTS[:1])
    asked = server.requests
    with pytest.raises(ProviderUnavailableError):
        embed(provider, TEXTS[:1])
    assert server.requests <= asked + 1


def test_a_question_does_not_wait_while_the_first_request_to_a_server_hangs(server: ApiServer, database: Database):
    server.faults.script.append(Fault.HANG)
    batch = make_provider(server, database, max_inputs=50, timeout_seconds=20)
    found = Result()
    run = threading.Thread(target=lambda: embed(batch, TEXTS, into=found))
    run.start()
    while not server.in_flight:
        time.sleep(0.01)
    question = make_provider(server, database, wait_seconds=3, retry_seconds=3, timeout_seconds=3)
    assert_embedded(embed(question, ["question"]), ["question"])
    assert server.in_flight == 1, "and that one still hangs"
    server.hang_up()
    server.listen()
    run.join()
    assert_embedded(found, TEXTS)
