from datetime import UTC, datetime, timedelta

import pytest
from dagster import (
    AssetCheckResult,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    asset,
    asset_check,
    define_asset_job,
    job,
    op,
)
from dagster._core.test_utils import create_run_for_test, freeze_time

from embedding_assets.definitions import defs as shipped
from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.defs.jobs import range_tags
from embedding_assets.defs.purging import purge_runs
from embedding_assets.defs.resources import PostgresResource
from embedding_assets.errors import ConfigurationError
from embedding_assets.health.checks import CHECKS
from embedding_assets.planning import PrefixRange
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

pytestmark = pytest.mark.uncovered

LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)
INDEX_CHECK = next(check.name for check in CHECKS if check.subject == "pgvector_index_health")
KEYS = [AssetKey(name) for name in ("chunks_pending", "chunk_embeddings", "pgvector_index_health")]


@pytest.fixture
def home(tmp_path):
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def test_runs_go_and_what_the_catalog_shows_stays(settings, database, home, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(save_tiny_model(tmp_path / "tiny")))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))
    insert_chunks(database, texts(40))
    embed_chunks = shipped.resolve_job_def("embed_chunks")
    ranges = [range_tags(PrefixRange(first, last)) for first, last in ("00", "00", "0f", "00", "12")]
    runs = [embed_chunks.execute_in_process(instance=home, tags=tags).run_id for tags in ranges]

    assert purge_runs(home, older_than_days=1) == 0, "none is so old"
    assert purge_runs(home, older_than_days=-1) == 2, "those of which later ones have all"

    assert {run.run_id for run in home.get_runs()} == {runs[2], runs[3], runs[4]}
    left = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if any(run in str(path) for run in runs[:2])}
    assert left == set(), "files of runs that are gone"
    assert home.all_logs(runs[4])
    assert home.get_materialized_partitions(KEYS[1]) == set("0123456789abcdef")
    assert home.get_latest_materialization_event(KEYS[2]).run_id == runs[4]


def test_runs_in_progress_and_of_other_assets_stay(home):
    with freeze_time(LONG_AGO):
        create_run_for_test(home, job_name="embed_chunks", status=DagsterRunStatus.STARTED)
        create_run_for_test(home, job_name="theirs", status=DagsterRunStatus.SUCCESS)
        both = frozenset([KEYS[1], AssetKey("theirs")])
        create_run_for_test(home, job_name="embed_chunks", status=DagsterRunStatus.SUCCESS, asset_selection=both)
        ours = frozenset(KEYS)
        for _ in range(3):
            create_run_for_test(home, job_name="__ASSET_JOB", status=DagsterRunStatus.FAILURE, asset_selection=ours)
    assert purge_runs(home, older_than_days=-1, key_prefix=["shop"]) == 0
    assert purge_runs(home, older_than_days=-1) == 3
    assert len(home.get_runs()) == 3


def test_runs_of_jobs_and_assets_that_others_call_alike_stay(home):
    @op
    def tidy() -> None:
        """Of a job in another code location."""

    @job(name="purge_runs")
    def purge() -> None:
        tidy()

    @asset(required_resource_keys={"embedding_database"})
    def documents() -> None:
        """Of a project, which fills the table with it."""

    theirs = Definitions([documents], jobs=[purge], resources={"embedding_database": PostgresResource()})
    implicit = theirs.resolve_implicit_global_asset_job_def()
    for _ in range(2):
        assert theirs.resolve_job_def("purge_runs").execute_in_process(instance=home).success
        assert implicit.execute_in_process(instance=home, asset_selection=[documents.key]).success
    with freeze_time(datetime.now(UTC) + timedelta(days=3)):
        ours = build_embedding_definitions("articles", deps="documents", keep_runs_days=1)
        assert ours.resolve_job_def("purge_runs").execute_in_process(instance=home).success
        assert purge_runs(home, older_than_days=1) == 0
    assert len(home.get_runs()) == 5


def test_runs_over_documents_go_where_these_are_the_tables(home, tmp_path):
    keys = frozenset([AssetKey(["shop", "documents"])])
    with freeze_time(LONG_AGO):
        create_run_for_test(home, job_name="__ASSET_JOB", status=DagsterRunStatus.SUCCESS, asset_selection=keys)
    settings = {"EMBEDDING_DOCUMENTS": str(tmp_path)}
    ours = build_embedding_definitions(key_prefix="shop", settings=settings, keep_runs_days=1)
    run = ours.resolve_job_def("shop__purge_runs").execute_in_process(instance=home).run_id
    assert [one.run_id for one in home.get_runs()] == [run]


def test_the_function_knows_by_a_run_itself_whose_documents_it_loaded(home, tmp_path):
    """Whatever its own environment says."""
    settings = {"EMBEDDING_DOCUMENTS": str(tmp_path)}
    defs = build_embedding_definitions(key_prefix="shop", settings=settings)
    keys = [AssetKey(["shop", name]) for name in ("documents", "chunks_pending")]
    job = defs.resolve_implicit_global_asset_job_def()
    with freeze_time(LONG_AGO):
        for selection in (keys[:1], keys):
            home.create_run_for_job(
                job.get_subset(asset_selection={*selection}),
                status=DagsterRunStatus.FAILURE,
                asset_selection=frozenset(selection),
            )
    assert purge_runs(home, older_than_days=1, key_prefix="shop") == 2


@pytest.mark.parametrize("prefix", ["shop/articles", ["shop", "articles"], ("shop", "articles")])
def test_a_prefix_may_be_said_in_every_way(home, prefix):
    ours = frozenset([AssetKey(["shop", "articles", "chunk_embeddings"])])
    with freeze_time(LONG_AGO):
        create_run_for_test(home, job_name="__ASSET_JOB", status=DagsterRunStatus.SUCCESS, asset_selection=ours)
    assert purge_runs(home, older_than_days=1, key_prefix=prefix) == 1


def test_the_latest_rows_of_each_source_stay(home):
    @asset(key=["shop", "synced_rows_reviews"])
    def synced_rows_reviews() -> None:
        """As one of several sources of a table has it."""

    job = Definitions([synced_rows_reviews]).resolve_implicit_global_asset_job_def()
    selection = [synced_rows_reviews.key]
    runs = [job.execute_in_process(instance=home, asset_selection=selection).run_id for _ in range(2)]
    assert purge_runs(home, older_than_days=-1, key_prefix="shop") == 1
    assert [run.run_id for run in home.get_runs()] == runs[1:]


def test_the_last_verdict_stays_though_a_later_run_crashed_before_its_own(home):
    @asset(key=["shop", "pgvector_index_health"])
    def health() -> None:
        raise ConnectionError

    @asset_check(asset=health.key, name=INDEX_CHECK)
    def check() -> AssetCheckResult:
        return AssetCheckResult(passed=True)

    looks = define_asset_job("shop__embed_chunks", AssetSelection.checks_for_assets(health))
    defs = Definitions([health], asset_checks=[check], jobs=[looks])
    looked = defs.resolve_job_def(looks.name).execute_in_process(instance=home).run_id
    everything = defs.resolve_implicit_global_asset_job_def()
    assert not everything.execute_in_process(
        instance=home, asset_selection=[health.key], raise_on_error=False
    ).success  # fmt: skip
    assert purge_runs(home, older_than_days=-1, key_prefix="shop") == 1
    assert [run.run_id for run in home.get_runs()] == [looked]


def test_a_prefix_that_no_table_can_have_is_refused(home):
    with pytest.raises(ConfigurationError, match="key_prefix: 'my-shop' may have"):
        purge_runs(home, older_than_days=1, key_prefix="my-shop")
