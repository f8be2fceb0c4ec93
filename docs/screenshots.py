"""Take the pictures of the documentation again, from the demo's state as Dagster's UI and the report show it.

Run: make screenshots, or python docs/screenshots.py [DATA_DIR], where the demo is not run again if there is its state.
With --all FOLDER the UI's pages on that state are put there instead, in both themes, narrow and wide, to be looked at.
It needs a Chromium, which CHROMIUM may name, and its driver: pip install playwright.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from embedding_assets.cli.dagster import dagster_environment, ui_command
from embedding_assets.config import get_settings

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent)]

from embedding_assets_tests.support.dagster_ui import free_port, wait_for_definitions  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
PAGES = (
    "asset-groups",
    "assets/chunks_pending",
    "assets/chunk_embeddings",
    "assets/chunk_embeddings?view=partitions&partition=3",
    "assets/chunk_embeddings?view=checks",
    "assets/pgvector_index_health",
    "automation",
    "runs",
)
NODES = ("knowledge_base", "chunks_pending", "chunk_embeddings", "pgvector_index_health")


def main() -> None:
    """Write lineage.png, index_health.png, figures_dark.png and report.png; or every page into a folder."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", nargs="?", type=Path)
    parser.add_argument("--all", metavar="FOLDER", type=Path)
    options = parser.parse_args()
    with _data_dir(options.data_dir) as data:
        os.environ["EMBEDDING_DATA_DIR"] = str(data)
        if not (data / "postgres").exists():
            command = [sys.executable, "-m", "embedding_assets.cli.entry", "demo"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        with _ui() as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
            if options.all:
                _every_page(browser, address, options.all)
            else:
                _pictures_of_docs(browser, address, data)
            browser.close()


@contextmanager
def _data_dir(given: Path | None) -> Iterator[Path]:
    if given:
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="ea-shots-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the server of root runs as another user
        yield Path(folder)


@contextmanager
def _ui() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(  # noqa: S603
        ui_command("127.0.0.1", port),
        env=dagster_environment(get_settings()),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_definitions(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, alive = psutil.wait_procs([psutil.Process(process.pid), *children], timeout=20)
        for one in alive:
            one.kill()


def _open(browser: Any, url: str, width: int, height: int, scheme: str = "light") -> Any:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(60_000)
    page.goto(url)
    page.get_by_text("Hide navigation").click()
    return page


def _every_page(browser: Any, address: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scheme, width in product(("light", "dark"), (1280, 1920)):
        page = browser.new_page(viewport={"width": width, "height": 1600}, color_scheme=scheme)
        for path in PAGES:
            page.goto(f"{address}/{path}")
            page.wait_for_timeout(4_000)
            page.screenshot(path=folder / f"{re.sub(r'[^a-z_]+', '-', path)}_{scheme}_{width}.png")
        page.close()


def _pictures_of_docs(browser: Any, address: str, data: Path) -> None:
    report = data / "report.html"
    command = [sys.executable, "-m", "embedding_assets.cli.entry", "report", "--html", str(report)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    _lineage(browser, address)
    _index_health(browser, address)
    _figures(browser, address)
    _report(browser, report)


def _lineage(browser: Any, address: str) -> None:
    page = _open(browser, f"{address}/asset-groups", 1920, 900)
    page.get_by_text("16 partitions").wait_for()
    page.wait_for_timeout(3_000)
    boxes = [page.locator("svg").get_by_text(name, exact=True).first.bounding_box() for name in NODES]
    left, right = boxes[0]["x"] - 60, boxes[-1]["x"] + 320
    clip = {"x": left, "y": boxes[0]["y"] - 30, "width": right - left, "height": 215}
    _save(page, "lineage.png", clip=clip)
    page.close()


def _index_health(browser: Any, address: str) -> None:
    page = _open(browser, f"{address}/assets/pgvector_index_health", 1280, 1000)
    page.get_by_text("latency_curve").wait_for()
    page.wait_for_timeout(3_000)
    _save(page, "index_health.png")
    page.close()


def _figures(browser: Any, address: str) -> None:
    page = _open(browser, f"{address}/assets/pgvector_index_health", 1280, 1000, "dark")
    page.get_by_text("Show Markdown").first.click()
    page.wait_for_timeout(3_000)
    box = page.get_by_role("dialog").bounding_box()
    _save(page, "figures_dark.png", clip={**box, "y": max(box["y"], 0), "height": 800})
    page.close()


def _report(browser: Any, report: Path) -> None:
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.goto(report.as_uri())
    # Where this was taken is of no interest.
    page.evaluate("document.querySelector('header code').textContent = 'postgres@…/postgres:5432/postgres'")
    _save(page, "report.png")
    page.close()


def _save(page: Any, name: str, **options: Any) -> None:
    """With as few colours as need be: a third of the size."""
    picture = Image.open(io.BytesIO(page.screenshot(**options)))
    picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(DOCS / name, optimize=True)


if __name__ == "__main__":
    main()
