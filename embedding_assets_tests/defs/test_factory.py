"""The definitions of a table: what may be said, and that they leave the rest of a project as it is."""

import inspect
import logging
import warnings
from datetime import datetime

import dagster as dg
import pytest

from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.defs.row_source import RowSource
from embedding_assets.errors import ConfigurationError


def names(defs: dg.Definitions) -> set[str]:
    """All that a code location calls by name, but the assets."""
    repository = defs.get_repository_def()
    return {
        *(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        *(one.name for one in (*repository.sensor_defs, *repository.schedule_defs)),
        *repository.get_top_level_resources(),
        *(node.name for one in defs.assets or () if isinstance(one, dg.AssetsDefinition) for node in [one.op]),
        *(one.op.name for one in defs.asset_checks or () if isinstance(one, dg.AssetChecksDefinition)),
    }


@pytest.mark.parametrize(
    ("prefix", "keys", "job"),
    [
        ("shop", "shop/chunk_embeddings", "shop__embed_chunks"),
        ("shop/articles", "shop/articles/chunk_embeddings", "shop__articles__embed_chunks"),
        (["shop", "articles"], "shop/articles/chunk_embeddings", "shop__articles__embed_chunks"),
        ("", "chunk_embeddings", "embed_chunks"),
    ],
)
def test_prefixes(prefix: str | list[str], keys: str, job: str):
    defs = build_embedding_definitions("articles", key_prefix=prefix)
    dg.Definitions.validate_loadable(defs)
    assert dg.AssetKey.from_user_string(keys) in defs.resolve_asset_graph().get_all_asset_keys()
    assert defs.resolve_job_def(job).name == job


def test_assets_refer_to_the_line_that_makes_them():
    line = inspect.currentframe().f_lineno + 1
    defs = build_embedding_definitions("articles", key_prefix="shop")
    specs = [spec for one in defs.assets if isinstance(one, dg.AssetsDefinition) for spec in one.specs]
    assert len(specs) >= 3
    for spec in specs:
        [reference] = spec.metadata["dagster/code_references"].code_references
        assert (reference.file_path, reference.line_number) == (__file__, line)


def test_two_tables_share_no_name():
    tables = [build_embedding_definitions("articles", key_prefix=one, keep_runs_days=9) for one in ("a", "b", "")]
    dg.Definitions.validate_loadable(dg.Definitions.merge(*tables))
    first, second, third = map(names, tables)
    assert len(first) == len(second) == len(third) > 10
    assert not first & second
    assert not first & third


def test_two_tables_under_one_prefix_are_refused_by_the_names_they_share():
    with pytest.raises(dg.DagsterInvariantViolationError, match="same key 'shop__embedding_database'"):
        dg.Definitions.merge(
            build_embedding_definitions("articles", key_prefix="shop"),
            build_embedding_definitions("notes", key_prefix="shop"),
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key_prefix": "my-shop"}, ConfigurationError, "key_prefix: 'my-shop' may have letters, digits and _ alone"),
        ({"key_prefix": ["a", ""]}, ConfigurationError, "key_prefix: ''"),
        ({"partitions": 17}, ConfigurationError, "partitions: there may be 16 or 256, not 17"),
        (
            {"deps": ["shop.articles"]},
            ConfigurationError,
            "deps: 'shop.articles' is called as a table; .*'shop/articles'",
        ),
        ({"model": "small"}, ConfigurationError, "model: say whose it is, too, by provider"),
        ({"provider": "magic"}, ConfigurationError, "EMBEDDING_PROVIDER: Input should be 'local' or 'openai'"),
        ({"settings": {"EMBEDDING_INDEX_N": 3}}, ConfigurationError, "did you mean EMBEDDING_INDEX_M"),
        ({"settings": {"EMBEDDING_INDEX_M": "x"}}, ConfigurationError, "EMBEDDING_INDEX_M: .*integer"),
        ({"settings": {"EMBEDDING_LOG_LEVEL": "INFO"}}, ConfigurationError, "holds for the whole process"),
        ({"settings": {"EMBEDDING_TABLE": "b"}}, ConfigurationError, "EMBEDDING_TABLE: given twice"),
        (
            {"settings": {"EMBEDDING_PREFIX_LENGTH": dg.EnvVar("UNSET")}},
            ConfigurationError,
            "EMBEDDING_PREFIX_LENGTH is to come from UNSET, which is not set; set it",
        ),
        ({"owners": "search team"}, dg.DagsterInvalidDefinitionError, "Invalid owner 'search team'"),
        ({"schedule": "nightly"}, dg.DagsterInvalidDefinitionError, "invalid cron schedule 'nightly'"),
        ({"group_name": "my group"}, dg.DagsterInvalidDefinitionError, '"my group" is not a valid asset group name'),
        ({"tags": {"a b!": "c"}}, dg.DagsterInvalidDefinitionError, "invalid tag keys: .'a b!'"),
    ],
)
def test_what_is_not_acceptable_is_named(arguments: dict[str, object], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        build_embedding_definitions("articles", **arguments)


@pytest.mark.parametrize(
    "deps",
    [
        "shop/articles",
        ["shop/articles"],
        dg.AssetKey(["shop", "articles"]),
        [dg.AssetKey(["shop", "articles"])],
        dg.AssetSpec(["shop", "articles"]),
        (dg.AssetDep(dg.AssetKey(["shop", "articles"])),),
        dg.asset(key=["shop", "articles"])(lambda: None),
    ],
    ids=["text", "texts", "key", "keys", "spec", "dep", "definition"],
)
def test_what_is_upstream_is_said_in_any_way(deps: object):
    defs = build_embedding_definitions("articles", key_prefix="found", deps=deps)
    pending = defs.resolve_asset_graph().get(dg.AssetKey(["found", "chunks_pending"]))
    assert pending.parent_keys == {dg.AssetKey(["shop", "articles"])}


@pytest.mark.parametrize("key", ["s3.bucket/x", "raw-2024.orders"])
def test_a_key_with_a_dot_that_is_no_table_may_be_upstream(key: str):
    defs = build_embedding_definitions("articles", key_prefix="found", deps=key)
    pending = defs.resolve_asset_graph().get(dg.AssetKey(["found", "chunks_pending"]))
    assert pending.parent_keys == {dg.AssetKey.from_user_string(key)}


def test_what_is_said_of_assets_is_on_all_of_them():
    defs = build_embedding_definitions("a", owners="team:search", tags={"tier": "1"}, group_name="search/articles")
    graph = defs.resolve_asset_graph()
    assert len(graph.materializable_asset_keys) == 3
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert (node.owners, node.tags["tier"], node.group_name) == (["team:search"], "1", "search/articles")


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ({}, {"pytorch", "postgres"}),
        ({"provider": "openai", "model": "text-embedding-3-small"}, {"openai", "postgres"}),
        ({"provider": "openai", "fallback": "local"}, {"openai", "pytorch", "postgres"}),
    ],
)
def test_kinds_are_those_of_the_provider(arguments: dict[str, str], kinds: set[str]):
    graph = build_embedding_definitions("articles", **arguments).resolve_asset_graph()
    assert graph.get(dg.AssetKey("chunk_embeddings")).kinds == kinds


def test_partitions():
    defs = build_embedding_definitions("articles", partitions=256)
    keys = defs.resolve_assets_def("chunk_embeddings").partitions_def.get_partition_keys()
    assert (len(keys), keys[-1]) == (256, "ff")


def test_settings_may_be_text_as_variables_hold_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAGS_OF_SHOP", '{"dagster/priority": "3"}')
    defs = build_embedding_definitions("articles", settings={"EMBEDDING_RUN_TAGS": dg.EnvVar("TAGS_OF_SHOP")})
    assert defs.resolve_job_def("embed_chunks").tags["dagster/priority"] == "3"


@pytest.mark.parametrize(
    ("switched_off", "left"),
    [
        ({"sensors": False}, {"nightly_schedule", "failed_runs_sensor", "failed_checks_sensor"}),
        ({"alerts": False}, {"nightly_schedule", "new_chunks_sensor", "index_health_sensor", "upstream_sensor"}),
        ({"sensors": False, "alerts": False, "schedule": None}, set()),
        ({"sensors": False, "alerts": False, "schedule": None, "keep_runs_days": 7}, {"purge_schedule"}),
    ],
)
def test_what_is_switched_off(switched_off: dict[str, object], left: set[str]):
    defs = build_embedding_definitions("articles", deps="shop/articles", **switched_off)
    repository = defs.get_repository_def()
    assert {one.name for one in (*repository.sensor_defs, *repository.schedule_defs)} == left


class TestWhatTheEnvironmentNames:
    """Documents go into knowledge_base, and questions are about one table."""

    @pytest.fixture(autouse=True)
    def named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EMBEDDING_DOCUMENTS", "/srv/handbook")
        monkeypatch.setenv("EMBEDDING_EVALUATION_QUERIES", "/srv/questions.jsonl")

    def test_is_not_for_a_table_of_yours(self):
        defs = build_embedding_definitions("notes", key_prefix="shop")
        graph = defs.resolve_asset_graph()
        assert {key.path[-1] for key in graph.materializable_asset_keys} == {
            "chunks_pending",
            "chunk_embeddings",
            "pgvector_index_health",
        }
        assert not defs.get_repository_def().has_sensor_def("shop__documents_sensor")
        assert len(defs.resolve_job_def("shop__embed_chunks").asset_layer.selected_asset_keys) == 3

    @pytest.mark.parametrize("table", [None, "knowledge_base", "public.knowledge_base"])
    def test_is_for_the_table_without_a_prefix(self, table: str | None):
        keys = build_embedding_definitions(table).resolve_asset_graph().materializable_asset_keys
        assert {dg.AssetKey("documents"), dg.AssetKey("retrieval_quality")} <= keys

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, True),
            ({"database_url": dg.EnvVar("EMBEDDING_DATABASE_URL")}, True),
            ({"database_url": dg.EnvVar("SHOP_URL")}, False),
            ({"database_url": "postgresql://db.example.com/shop"}, False),
            ({"rows": RowSource(name="reviews", query="SELECT 1")}, False),
            ({"database_url": dg.EnvVar("SHOP_URL"), "settings": {"EMBEDDING_DOCUMENTS": "/srv/shop"}}, True),
        ],
    )
    def test_is_for_the_database_of_the_environment(self, arguments: dict[str, object], expected: bool):
        """Of several tables in one code location each with a database of its own, none gets the documents of all."""
        defs = build_embedding_definitions(key_prefix="shop", **arguments)
        keys = defs.resolve_asset_graph().materializable_asset_keys
        assert (dg.AssetKey(["shop", "documents"]) in keys) is expected
        assert defs.get_repository_def().has_sensor_def("shop__documents_sensor") is expected

    def test_several_are_not_measured_by_the_same_questions(self):
        defs = dg.Definitions.merge(
            build_embedding_definitions("notes", key_prefix="a"),
            build_embedding_definitions(
                "pages", key_prefix="b", settings={"EMBEDDING_EVALUATION_QUERIES": "/srv/pages.jsonl"}
            ),
        )
        keys = defs.resolve_asset_graph().materializable_asset_keys
        assert [key.to_user_string() for key in keys if key.path[-1] == "retrieval_quality"] == ["b/retrieval_quality"]

    def test_documents_said_for_a_table_of_yours_are_refused(self):
        with pytest.raises(ConfigurationError, match="EMBEDDING_DOCUMENTS: documents go into knowledge_base") as raised:
            build_embedding_definitions("notes", key_prefix="shop", settings={"EMBEDDING_DOCUMENTS": "/srv/notes"})
        assert "in the definitions of shop" in str(raised.value)


class TestMerging:
    """A project that has an executor, loggers, resources and assets of its own."""

    @pytest.fixture
    def own(self) -> dg.Definitions:
        @dg.asset
        def plain() -> None: ...

        @dg.asset(partitions_def=dg.DailyPartitionsDefinition(datetime(2026, 1, 1)))
        def by_day() -> None: ...

        @dg.asset(required_resource_keys={"postgres", "model", "provider"})
        def with_resources(context: dg.AssetExecutionContext) -> str:
            return context.resources.postgres

        @dg.logger
        def own_logger(_: dg.InitLoggerContext) -> logging.Logger:
            return logging.getLogger("own")

        return dg.Definitions(
            assets=[plain, by_day, with_resources],
            resources={"postgres": "own postgres", "model": "own model", "provider": "own provider"},
            executor=dg.multiprocess_executor,
            loggers={"own": own_logger},
            jobs=[dg.define_asset_job("own_job", selection=[plain, by_day])],
        )

    @pytest.fixture
    def merged(self, own: dg.Definitions) -> dg.Definitions:
        defs = dg.Definitions.merge(own, build_embedding_definitions("articles"))
        dg.Definitions.validate_loadable(defs)
        return defs

    def test_what_is_theirs_stays_as_it_was(self, own: dg.Definitions, merged: dg.Definitions):
        assert merged.executor is own.executor
        assert merged.loggers == own.loggers
        assert {name: merged.resources[name] for name in own.resources} == own.resources
        assert merged.resolve_job_def("own_job").executor_def.name == "multiprocess"
        assert merged.resolve_job_def("embed_chunks").executor_def.name == "in_process"
        for key in own.resolve_asset_graph().get_all_asset_keys():
            before, after = (defs.resolve_asset_graph().get(key) for defs in (own, merged))
            assert (after.backfill_policy, after.partitions_def) == (before.backfill_policy, before.partitions_def)
            assert after.automation_condition is None

    def test_their_assets_run_as_before(self, merged: dg.Definitions):
        with dg.DagsterInstance.ephemeral() as instance:
            for name in ("plain", "with_resources"):
                job = merged.resolve_implicit_global_asset_job_def()
                result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(name)])
                assert result.success
            assert result.output_for_node("with_resources") == "own postgres"

    def test_their_job_of_one_partition_runs(self, merged: dg.Definitions):
        job = merged.resolve_job_def("own_job")
        with dg.DagsterInstance.ephemeral() as instance:
            assert job.execute_in_process(instance=instance, partition_key="2026-01-02").success


def test_beta_warnings_of_the_project_are_still_heard():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", dg.BetaWarning)
        build_embedding_definitions("articles")
        assert not heard
        dg.asset(name="own", backfill_policy=dg.BackfillPolicy.single_run())(lambda: None)
    assert "backfill_policy" in str(heard[0].message)


def test_runs_that_conditions_ask_for_have_the_tags_too():
    tags = {"dagster/priority": "3", "dagster-k8s/config": {"container_config": {}}}
    settings = {"EMBEDDING_RUN_TAGS": tags}
    defs = build_embedding_definitions("articles", key_prefix="shop", deps="articles", settings=settings)
    for name in ("shop__upstream_sensor", "shop__index_health_sensor"):
        assert defs.get_repository_def().get_sensor_def(name).run_tags["dagster/priority"] == "3"
