"""The options of ``embed`` for Ray."""

import pytest

from embedding_assets.cli import app as module
from embedding_assets.config import RayConfig
from embedding_assets_tests.support.fakes import insert_chunks


@pytest.fixture
def chosen(database, monkeypatch):
    """The configuration of Ray that each run is given; nothing is embedded."""
    found = []
    monkeypatch.setattr(
        "embedding_assets.distribution.engine.chosen_engine", lambda settings: found.append(settings.ray)
    )
    insert_chunks(database, ["a text"])
    return found


@pytest.mark.parametrize(
    ("arguments", "config"),
    [
        ([], {}),
        (["--ray"], {"address": "local"}),
        (["--ray", "--workers", 2], {"address": "local", "workers": 2}),
        (["--workers", 2, "--ray"], {"address": "local", "workers": 2}),
        (["--ray", "10.0.0.5:6379", "--json"], {"address": "10.0.0.5:6379"}),
        (["--ray=auto", "--gpus-per-worker", 0.5], {"address": "auto", "gpus_per_worker": 0.5}),
        (["--ray", "--cpus-per-worker", 4], {"address": "local", "cpus_per_worker": 4}),
    ],
)
def test_a_lone_ray_means_a_cluster_of_this_machine(run, chosen, arguments, config):
    assert run("embed", "--no-index", *arguments)[0] == 0
    assert chosen == [RayConfig(**config)]


def test_without_any_option_nothing_changes(run, chosen):
    assert run("embed")[0] == 0
    assert chosen == [RayConfig()]


def test_options_win_over_settings(run, chosen, monkeypatch):
    monkeypatch.setenv("EMBEDDING_RAY_ADDRESS", "auto")
    monkeypatch.setenv("EMBEDDING_RAY_WORKERS", "9")
    run("embed", "--no-index", "--workers", 2)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:6379")
    run("embed", "--no-index", "--ray")
    assert [(config.address, config.workers) for config in chosen] == [("auto", 2), ("10.0.0.9:6379", 9)]


def test_workers_without_ray_are_refused(run, chosen):
    code, _, said = run("embed", "--workers", 2)
    assert (code, chosen) == (2, [])
    assert "--workers says how a Ray cluster is used; add --ray" in said


def test_a_client_address_is_refused(run, chosen):
    code, _, said = run("embed", "--ray", "ray://10.0.0.5:10001")
    assert (code, chosen) == (2, [])
    assert "EMBEDDING_RAY_ADDRESS" in said
    assert "ray job submit" in said


def test_help_says_what_nodes_need(run):
    _, out, _ = run("embed", "--help")
    said = " ".join(out.replace("│", " ").split())
    assert "EMBEDDING_DATABASE_URL and keys in the environment of `ray start`" in said
    assert module.embed.__doc__ is not None
