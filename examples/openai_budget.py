"""Embed by OpenAI, or a server that speaks its API, until a limit in dollars is reached.

Works in a folder of its own, with the embedded PostgreSQL, on the documentation of this project. `load` splits
documents with a local model's tokenizer: where the default one cannot be had, set EMBEDDING_MODEL_NAME. Run:

    OPENAI_API_KEY=… EMBEDDING_BUDGET_USD_PER_RUN=0.0002 python examples/openai_budget.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("EMBEDDING_DATA_DIR", f"{tempfile.gettempdir()}/embedding_assets_openai_budget")
os.environ["EMBEDDING_PROVIDER"] = "openai"
# A request reserves the most it can cost, so that those of a small limit must be small.
os.environ.setdefault("EMBEDDING_OPENAI_MAX_INPUTS", "8")

from embedding_assets import BudgetExceededError, embed_pending

DOCUMENTS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))


def command(*arguments: object) -> None:
    """Run a command of embedding-assets."""
    subprocess.run([Path(sys.executable).with_name("embedding-assets"), *map(str, arguments)], check=True)  # noqa: S603


def main() -> None:
    command("load", *DOCUMENTS)
    command("estimate")  # sends no request
    try:
        outcome = embed_pending()
        print(f"embedded {outcome.stats.embedded} chunks for ${outcome.stats.usd:.6f}")
    except BudgetExceededError as limit:
        # What was embedded is kept; the next run goes on there.
        print(f"stopped: {limit}")
    command("costs")
    command("status")  # and what is left


if __name__ == "__main__":
    main()
