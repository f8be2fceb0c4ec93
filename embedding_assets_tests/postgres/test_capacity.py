"""Room for connections."""

from contextlib import ExitStack

from embedding_assets.postgres.capacity import room_for_connections


def test_what_the_server_leaves(database, execute):
    most = int(execute("SHOW max_connections")[0][0])
    room = room_for_connections(database)
    assert (room.limit, room.most, room.reserved) == ("max_connections", most, 3)
    assert 0 < room.used <= most - 3
    assert room.left == most - 3 - room.used


def test_a_limit_of_the_database_counts_what_is_open_in_it(database, execute):
    execute("SELECT 1")
    name = execute("SELECT current_database()")[0][0]
    execute(f"ALTER DATABASE {name} CONNECTION LIMIT 7")
    alone = room_for_connections(database)
    assert (alone.limit, alone.most, alone.reserved) == ("the CONNECTION LIMIT of the database", 7, 0)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(database.session())
        beside = room_for_connections(database)
    assert (beside.used, beside.left) == (alone.used + 3, alone.left - 3)
