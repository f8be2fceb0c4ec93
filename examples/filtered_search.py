"""Load rows with metadata, and search among those alone that match a filter.

Works in a folder of its own, with the embedded PostgreSQL. Where the default model cannot be had, set
EMBEDDING_MODEL_NAME. Run: python examples/filtered_search.py
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(os.environ.setdefault("EMBEDDING_DATA_DIR", f"{tempfile.gettempdir()}/embedding_assets_filtered_search"))

from embedding_assets import embed_pending, search  # noqa: E402 - reads the folder from the environment

ROWS = [
    {"id": 1, "product": "printer", "text": "If paper jams, open the rear cover and pull the sheet out slowly."},
    {"id": 2, "product": "scanner", "text": "If paper jams, switch the scanner off and lift the feeder."},
    {"id": 3, "product": "printer", "text": "Replace the toner when the print becomes pale."},
]


def load(rows: list[dict[str, object]]) -> None:
    """Load rows as the command does; every field but the text becomes metadata."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "manuals.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    subprocess.run([Path(sys.executable).with_name("embedding-assets"), "load", path], check=True)  # noqa: S603


def main() -> None:
    load(ROWS)
    embed_pending()
    for product in ("printer", "scanner"):
        [result] = search("The paper is stuck", k=1, where={"product": product})
        print(f"{product}: {result.score:.3f} {result.text}")


if __name__ == "__main__":
    main()
