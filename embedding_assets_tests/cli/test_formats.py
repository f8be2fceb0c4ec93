from __future__ import annotations

import json

import pytest

from embedding_assets.documents.formats.registry import Format


def test_formats_lists_what_is_read(run) -> None:
    code, out, _ = run("formats", "--json")
    formats = {one["format"]: one for one in json.loads(out)}
    assert code == 0
    assert formats["markdown"]["suffixes"][:2] == [".md", ".markdown"]
    assert formats["csv"]["rows"]
    assert formats["pdf"] == {
        "format": "pdf",
        "title": "PDF",
        "suffixes": [".pdf"],
        "names": [],
        "rows": False,
        "installed": True,
        "packages": ["pypdf"],
    }
    assert "readme" in formats["text"]["names"]
    printed = run("formats")[1]
    assert "needs the extra" not in printed
    assert "README" in printed


def test_formats_says_what_to_install(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Format, "is_installed", property(lambda one: not one.packages))
    code, out, _ = run("formats")
    assert code == 0
    assert out.count("needs the extra") > 10
    assert out.rstrip().endswith("pip install 'embedding-assets[documents]'")
