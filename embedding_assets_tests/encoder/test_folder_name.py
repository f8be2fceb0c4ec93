from pathlib import Path

import pytest

from embedding_assets.encoder.folder_name import folder_name


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/srv/models/bge-small", "bge-small"),
        ("/srv/bge-small/model", "bge-small"),
        ("/srv/fine-tuned/checkpoint-500", "checkpoint-500"),
        ("/runs/support-tickets/final_model", "support-tickets"),
        (f"/cache/hub/models--BAAI--bge-small-en-v1.5/snapshots/{'5c' * 20}", "BAAI/bge-small-en-v1.5"),
        ("/models/Model", "Model"),
    ],
)
def test_the_name_tells_something(folder: str, name: str):
    assert folder_name(folder) == name


def test_a_link_is_called_by_where_it_leads(tmp_path: Path):
    (tmp_path / "e5-base-2026").mkdir()
    (tmp_path / "current").symlink_to(tmp_path / "e5-base-2026")
    assert folder_name(tmp_path / "current") == "e5-base-2026"
