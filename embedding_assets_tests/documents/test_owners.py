"""Owners of a source, and what is written of them."""

import psycopg
import pytest

from embedding_assets.documents.owners import owner_of, owns, with_owner
from embedding_assets.documents.syncing import add_source
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_lookup import define_table
from embedding_assets.postgres.source_records import find_source

BARE, HERE, THERE = (owner_of("shop/synced_rows", location) for location in (None, "defs@here", "defs@there"))
OTHER = owner_of("synced_rows", "defs@here")


@pytest.mark.parametrize(
    ("owner", "owners", "is_one", "then"),
    [
        (HERE, (), False, (HERE,)),
        (HERE, (HERE, OTHER), True, (HERE, OTHER)),
        (HERE, (THERE,), False, (HERE, THERE)),
        (HERE, (OTHER,), False, (HERE, OTHER)),
        (HERE, (BARE,), True, (HERE,)),
        (HERE, (BARE, HERE), True, (HERE,)),
        (BARE, (HERE,), True, (HERE,)),
        (BARE, (HERE, THERE), True, (HERE, THERE)),
        (BARE, (BARE,), True, (BARE,)),
        (BARE, (OTHER,), False, (BARE, OTHER)),
    ],
)
def test_an_asset_is_one_owner_with_and_without_its_code_location(
    owner: str, owners: tuple[str, ...], is_one: bool, then: tuple[str, ...]
):
    assert owns(owner, owners) == is_one
    assert with_owner(owner, owners) == then
    assert with_owner(None, owners) == owners


def test_two_code_locations_do_not_replace_each_others_rows(articles: psycopg.Connection, database: Database):
    with database.session() as connection:
        one, other = (define_table(connection, "shop.articles", text=text) for text in ("body", "title"))
        add_source(database, one, owner=BARE)
        add_source(database, one, owner=HERE)
        with pytest.raises(ConfigurationError, match=f"the asset {HERE} keeps the rows .* otherwise than {THERE}"):
            add_source(database, other, owner=THERE)
        assert find_source(connection, one.name).definition == one
        # Of a run by `dg launch`, after which the other way goes on.
        add_source(database, other, owner=BARE)
        assert find_source(connection, one.name).owners == (HERE,)
        add_source(database, one, owner=HERE)
        assert find_source(connection, one.name).owners == (HERE,)


def test_one_that_shared_a_source_does_not_undo_what_another_has_made_of_it(
    articles: psycopg.Connection, database: Database
):
    with database.session() as connection:
        one, other = (define_table(connection, "shop.articles", text=text) for text in ("body", "title"))
        for owner in (HERE, OTHER):
            add_source(database, one, owner=owner)
        add_source(database, other, owner=HERE)
        with pytest.raises(ConfigurationError, match=f"the asset {HERE} keeps"):
            add_source(database, one, owner=OTHER)
        add_source(database, other, owner=OTHER)
        assert find_source(connection, one.name).owners == tuple(sorted((HERE, OTHER)))


def test_nothing_is_written_where_nothing_changes(articles: psycopg.Connection, database: Database):
    written = "SELECT xmin FROM synced_sources"
    with database.session() as connection:
        definition = define_table(connection, "shop.articles", text="body")
    for owner in (HERE, OTHER):
        add_source(database, definition, owner=owner)
    before = articles.execute(written).fetchone()
    for owner in (HERE, OTHER, BARE, None):
        add_source(database, definition, owner=owner)
    assert articles.execute(written).fetchone() == before
