"""Until when a run that was cancelled is held."""

import json

from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.sensor_ticks import add_run, insert, tick


def test_edits_are_embedded_once_what_a_cancelled_run_left_was_embedded_without_a_run(table, instance):
    """As the command line does it."""
    insert(table, ["3", "4"])
    instance.report_run_canceled(add_run(instance, "0", "f"))
    cursor = []
    assert "cancelled" in tick(instance, cursor=cursor)
    [space] = list_spaces(table)
    vector = str([0.5] * space.space.dimensions)
    table.run(lambda c: c.execute(f"UPDATE knowledge_base SET {space.name} = %s::vector", [vector]))
    assert tick(instance, cursor=cursor) == "no chunk is due"
    table.run(lambda c: c.execute("UPDATE knowledge_base SET chunk_text = 'y' WHERE chunk_hash LIKE '3%'"))
    assert tick(instance, cursor=cursor) == ["3-3"]


def test_it_is_held_until_rows_come_also_where_the_server_begins_to_count_again(table, instance):
    insert(table, ["3"])
    instance.report_run_canceled(add_run(instance, "0", "f"))
    cursor = []
    tick(instance, cursor=cursor)
    kept = json.loads(cursor[-1])
    kept["cancelled"] |= {"inserts": 1_000_000}
    cursor.append(json.dumps(kept))
    assert "cancelled" in tick(instance, cursor=cursor)
    assert json.loads(cursor[-1])["cancelled"]["inserts"] <= 1
