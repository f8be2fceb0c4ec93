"""When the table is looked at, and what is said of it."""

import asyncio
import threading

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.reporting.gather import gather_overview
from embedding_assets.reporting.overview import Overview
from embedding_assets.serving.metrics import Metrics
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks


def values(text: bytes) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


async def test_what_waits_and_what_failed(settings: Settings, database: Database, provider: FakeProvider, beside):
    insert_chunks(database, ["new"])
    [column] = list_spaces(database)
    beside.execute(
        "INSERT INTO embedding_failures (chunk_hash, space, attempts, error_code, retry_at, quarantined) "
        "SELECT chunk_hash, %s, 3, 'too_long', now(), true FROM knowledge_base WHERE chunk_text = 'new'",
        [column.space.name],
    )
    insert_chunks(database, ["newer"])
    beside.execute("UPDATE knowledge_base SET pending_since = now() - interval '2 hours' WHERE chunk_text = 'newer'")
    beside.execute("UPDATE embedding_spaces SET created_at = now() - interval '3 hours'")
    metrics = Metrics(lambda: gather_overview(database, settings), 60)
    found = values((await metrics.scrape())[0])
    label = f'{{space="{column.space.name}"}}'
    assert (found[f"embedding_assets_pending{label}"], found[f"embedding_assets_quarantined{label}"]) == (1, 1)
    assert 7100 < found[f"embedding_assets_oldest_pending_seconds{label}"] < 7300
    assert found[f'embedding_assets_failed{{code="too_long",space="{column.space.name}"}}'] == 1
    assert found[f'embedding_assets_index_state{{space="{column.space.name}",state="missing"}}'] == 1
    assert found[f'embedding_assets_index_state{{space="{column.space.name}",state="valid"}}'] == 0
    assert not any(name.startswith("embedding_assets_recall") for name in found)  # it was never measured


async def test_the_table_is_not_looked_at_for_each_scrape(settings: Settings, database: Database):
    looks: list[int] = []

    def gather() -> Overview:
        looks.append(1)
        return gather_overview(database, settings)

    metrics = Metrics(gather, 1000)
    scrapes = await asyncio.gather(*(metrics.scrape() for _ in range(10)))
    assert len(looks) == 1
    assert all(values(body)["embedding_assets_up"] == 1 for body, _ in scrapes)


async def test_only_the_first_look_is_waited_for(settings: Settings, database: Database):
    may = threading.Event()
    looks: list[int] = []

    def gather() -> Overview:
        looks.append(1)
        if len(looks) == 2:
            assert may.wait(180)
            insert_chunks(database, ["new"])
        return gather_overview(database, settings)

    metrics = Metrics(gather, 0)
    metrics._table._least_seconds = 0
    assert values((await metrics.scrape())[0])["embedding_assets_chunks"] == 0
    metrics._table._seconds = 0.0  # as if it had taken no time
    assert values((await metrics.scrape())[0])["embedding_assets_chunks"] == 0
    assert metrics._table._refreshing is not None
    may.set()
    await metrics._table._refreshing
    assert values((await metrics.scrape())[0])["embedding_assets_chunks"] == 1


async def test_a_look_that_takes_long_is_taken_seldom(settings: Settings, database: Database):
    looks: list[int] = []

    def gather() -> Overview:
        looks.append(1)
        return gather_overview(database, settings)

    metrics = Metrics(gather, 0)
    await metrics.scrape()
    metrics._table._seconds = 3600.0
    await metrics.scrape()
    assert len(looks) == 1


async def test_before_there_is_a_database():
    assert values((await Metrics(lambda: None, 60).scrape())[0])["embedding_assets_up"] == 0
