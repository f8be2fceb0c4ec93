"""All that the definitions of a table with everything say, as it is written down in snapshot.json.

After a change that is meant: ``python -m embedding_assets_tests.defs.test_snapshot`` writes it again.
"""

import json
from pathlib import Path

import dagster as dg

from embedding_assets import RowSource, build_embedding_definitions
from embedding_assets.postgres.schema import HEAD

SNAPSHOT = Path(__file__).with_name("snapshot.json")


def everything():
    """A table with a prefix, assets upstream, rows and documents; and one that follows its asset."""
    # Said here, so that the environment plays no part in the code versions.
    model = {"provider": "local", "model": "sentence-transformers/all-MiniLM-L6-v2"}
    notes = build_embedding_definitions("shop.notes", text="body", key_prefix="notes", deps="shop/notes", **model)
    articles = build_embedding_definitions(
        key_prefix="shop/articles",
        deps=["shop/raw", "shop/reviews"],
        rows=RowSource(name="reviews", query="SELECT id AS key, body AS text FROM reviews", every="*/15 * * * *"),
        settings={"EMBEDDING_DOCUMENTS": ["handbook"], "EMBEDDING_RUN_TAGS": {"dagster/priority": "3"}},
        owners=["team:search", "ada@example.com"],
        tags={"tier": "1"},
        group_name="search",
        partitions=16,
        keep_runs_days=30,
        **model,
    )
    return dg.Definitions.merge(notes, articles)


def described(defs):
    """Definitions as JSON."""
    graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
    return {
        "assets": {key.to_user_string(): _asset(graph.get(key)) for key in sorted(graph.get_all_asset_keys())},
        "checks": {
            f"{key.asset_key.to_user_string()}:{key.name}": _check(graph.get_check_spec(key))
            for key in sorted(graph.asset_check_keys)
        },
        "jobs": {job.name: _job(job) for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)},
        "sensors": {
            one.name: [one.sensor_type.value, one.default_status.value, one.minimum_interval_seconds]
            for one in sorted(repository.sensor_defs, key=lambda one: one.name)
        },
        "schedules": {
            one.name: [one.cron_schedule, one.default_status.value, one.job_name]
            for one in sorted(repository.schedule_defs, key=lambda one: one.name)
        },
        "resources": sorted(repository.get_top_level_resources()),
    }


def _asset(node):
    policy, freshness = node.backfill_policy, node.freshness_policy
    condition = node.automation_condition
    return {
        "upstream": sorted(key.to_user_string() for key in node.parent_keys),
        "group": node.group_name,
        "owners": sorted(node.owners),
        "kinds": sorted(node.kinds),
        "tags": {name: value for name, value in sorted(node.tags.items()) if not name.startswith("dagster/kind/")},
        "code_version": node.code_version and node.code_version.replace(HEAD, "HEAD"),
        "partitions": node.partitions_def and len(node.partitions_def.get_partition_keys()),
        "backfill": policy and policy.policy_type.value,
        "fails_after_hours": freshness and freshness.fail_window.to_timedelta().total_seconds() / 3600,
        "warns_after_hours": freshness and freshness.warn_window.to_timedelta().total_seconds() / 3600,
        "condition": condition and (condition.get_label() or str(condition)),
        "metadata": sorted(node.metadata),
        "description": (node.description or "").partition("\n")[0],
    }


def _check(spec):
    condition = spec.automation_condition
    return {"blocking": spec.blocking, "condition": condition and condition.get_label(), "says": spec.description}


def _job(job):
    selected = job.asset_layer.selected_asset_keys if job.asset_layer else ()
    return {
        "assets": sorted(key.to_user_string() for key in selected),
        "executor": job.executor_def.name,
        "tags": dict(sorted(job.tags.items())),
    }


def _text():
    return json.dumps(described(everything()), indent=1) + "\n"


def test_what_is_defined_is_what_is_written_down():
    assert json.loads(_text()) == json.loads(SNAPSHOT.read_text("utf-8"))


if __name__ == "__main__":
    SNAPSHOT.write_text(_text(), "utf-8")
