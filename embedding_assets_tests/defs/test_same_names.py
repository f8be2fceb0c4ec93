"""Rows of one name in one database, from two sides."""

import textwrap
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from embedding_assets import RowSource, build_embedding_definitions
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_records import summarize_sources
from embedding_assets_tests.support.code_server import code_servers
from embedding_assets_tests.support.components import WARNINGS, first_error
from embedding_assets_tests.support.syncing import texts

pytestmark = WARNINGS

QUERY = "SELECT n AS key, 'Text ' || n AS text FROM generate_series({}) n"

PROJECT = f"""
from embedding_assets import RowSource, build_embedding_definitions

rows = RowSource(name="numbers", query="{QUERY.format("{}")}")
defs = build_embedding_definitions(key_prefix="shop", rows=rows)
"""


def component(prefix: str, query: str = QUERY.format("1, 2"), url: str = "", name: str = "numbers") -> str:
    text = f"""
        type: embedding_assets.EmbeddedQuery
        attributes:
          key_prefix: {prefix}
          name: {name}
          query: "{query}"
    """
    return textwrap.dedent(text) + (f'  database_url: "{url}"\n' if url else "")


def table(name: str, *said: str) -> str:
    lines = [f"  {line}" for line in ("key_prefix: first", f"table: {name}", *said)]
    return "\n".join(["type: embedding_assets.EmbeddedQuery", "attributes:", *lines])


def load(*components: str) -> dg.Definitions:
    """All definitions of a project with these components."""
    with create_defs_folder_sandbox() as sandbox:
        for number, text in enumerate(components):
            folder = sandbox.defs_folder_path / f"part{number}"
            folder.mkdir()
            (folder / "defs.yaml").write_text(text)
        with sandbox.build_all_defs() as defs:
            return defs


class TestTwoComponents:
    @pytest.mark.parametrize("url", ["", "{{ env.SHOP_URL }}"])
    def test_of_one_name_are_refused(self, url: str):
        with pytest.raises(Exception, match="part1") as raised:
            load(component("first", url=url), component("second", QUERY.format("5, 6"), url=url))
        error = str(raised.value.__cause__)
        assert "key_prefix first and second both call rows numbers in one database" in error
        assert "give one of the queries another name" in error

    @pytest.mark.parametrize(
        "second",
        [
            component("second", QUERY.format("5, 6"), name="others"),
            component("second", QUERY.format("5, 6"), url="{{ env.SHOP_URL }}"),
            component("second"),
            component("second", f"{QUERY.format('1, 2')} ;"),
        ],
        ids=["another name", "another database", "the same rows", "the same rows, otherwise written"],
    )
    def test_that_do_not_replace_each_other_are_fine(self, second: str):
        keys = load(component("first"), second).resolve_asset_graph().get_all_asset_keys()
        assert {dg.AssetKey([prefix, "synced_rows"]) for prefix in ("first", "second")} <= keys

    @pytest.mark.parametrize(
        "second",
        [
            table("shop.notes", "key: [id, part]", "metadata: [lang]", 'text: "{body}"'),
            table('SHOP."notes"', 'key: "id,part"', 'metadata: "lang, "', "text: body"),
            table("'\"shop.notes\"'", "key: id", "text: title"),
        ],
        ids=["lists", "texts", "another table"],
    )
    def test_are_compared_by_what_they_mean(self, second: str):
        first = table("shop.notes", 'key: "id, part"', "metadata: lang", "text: body")
        assert load(first, second.replace("first", "second")).resolve_asset_graph().get_all_asset_keys()

    @pytest.mark.parametrize("said", ["key: part", 'key: "{{ env.KEY }}"', "key: [part, id]"])
    def test_with_other_keys_are_refused(self, said: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("KEY", "id")
        second = table("shop.notes", said, "text: body").replace("first", "second")
        with pytest.raises(Exception, match="part1") as raised:
            load(table("shop.notes", "key: [id, part]", "text: body"), second)
        assert "both call rows shop.notes in one database" in str(raised.value.__cause__)


@pytest.mark.usefixtures("settings")
class TestOneDatabase:
    """Where definitions cannot see each other."""

    def synced(self, instance: dg.DagsterInstance, prefix: str, numbers: str) -> str:
        """Sync these numbers by the assets of a prefix; the error, if it fails."""
        rows = RowSource(name="numbers", query=QUERY.format(numbers))
        defs = build_embedding_definitions(key_prefix=prefix, rows=rows)
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey([prefix, "synced_rows"])], raise_on_error=False
        )
        return "" if result.success else first_error(result)

    def test_keeps_the_rows_of_the_first(self, database: Database, instance: dg.DagsterInstance):
        assert self.synced(instance, "first", "1, 2") == ""
        error = self.synced(instance, "second", "5, 6")
        assert "the asset first/synced_rows keeps the rows of numbers in this database" in error
        assert "give the query of one of them another name, or let both say the same" in error
        assert "if first/synced_rows is no more, run `embedding-assets sync --release numbers`" in error
        assert sorted(texts(database)) == ["numbers/1", "numbers/2"]
        assert self.synced(instance, "first", "1, 3") == "", "its own definition may change"
        assert sorted(texts(database)) == ["numbers/1", "numbers/2", "numbers/3"]

    def test_gives_them_to_an_asset_that_was_renamed(self, database: Database, instance: dg.DagsterInstance):
        assert self.synced(instance, "first", "1, 2") == ""
        assert self.synced(instance, "second", "1, 2") == "", "it says the same"
        assert self.synced(instance, "second", "5, 6") == ""
        assert sorted(texts(database)) == ["numbers/5", "numbers/6"]

    def test_lets_those_who_say_the_same_change_together(self, database: Database, instance: dg.DagsterInstance):
        """As for two models side by side, in whatever order they come after an edit of both."""
        for numbers in ("1, 2", "1, 3", "1, 4"):
            for prefix in ("first", "second"):
                assert self.synced(instance, prefix, numbers) == ""
        error = self.synced(instance, "third", "5, 6")
        assert "the assets first/synced_rows and second/synced_rows keep the rows of numbers" in error
        assert "or let both say the same; if first/synced_rows and second/synced_rows are no more" in error
        assert sorted(texts(database)) == ["numbers/1", "numbers/2", "numbers/3", "numbers/4"]

    def test_keeps_the_rows_of_one_code_location_from_another(self, database: Database, tmp_path: Path):
        """Of another instance, and with the same keys; runs without a code location are of the first."""
        here, there = (
            code_servers(tmp_path / name, {name: PROJECT.replace("{}", numbers)})
            for name, numbers in (("here", "1, 2"), ("there", "5, 6"))
        )
        with here as first, there as second:
            assert self.synced(first.instance, "shop", "1, 3") == ""
            for project, location, status in ((first, "here", "SUCCESS"), (second, "there", "FAILURE")):
                run = project.launch(assets=["synced_rows"], location=location)
                assert project.end_of(run).value == status
                assert sorted(texts(database)) == ["numbers/1", "numbers/2"]
            assert self.synced(first.instance, "shop", "1, 4") == ""
        [source] = summarize_sources(database)
        assert source.owners == ["shop/synced_rows in __repository__@here"]
