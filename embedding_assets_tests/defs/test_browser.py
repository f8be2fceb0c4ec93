"""What a reader sees, in a real browser: the report, the figures, and the Dagster UI after "Materialize all"."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from html import escape
from pathlib import Path

import psutil
import pytest

from embedding_assets.cli.dagster import dagster_environment, ui_command
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets.reporting.figures.costs import cost_figure
from embedding_assets.reporting.figures.map import map_figure
from embedding_assets.reporting.figures.searching import latency_figure, recall_figure, recall_glance
from embedding_assets.reporting.html import render_report
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.dagster_ui import wait_for_definitions
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.overviews import CURVE, costs, embeddings, fresh_space, maps, report, space

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)

pytestmark = [
    pytest.mark.uncovered,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no browser: install Chromium (Debian: apt-get install chromium), or set CHROMIUM to the path of one",
    ),
]

PICTURES_AT_ONCE = {"chunks_pending": 1, "chunk_embeddings": 2, "pgvector_index_health": 2}
"""Asset → how many pictures its page must show without a click."""

ALL_PASSED = re.compile(r"^(\d+) / \1 Passed$")

LOADED = "[...document.images].filter(image => image.complete && image.naturalWidth > 0).length"
BROKEN = "[...document.images].filter(image => image.complete && image.naturalWidth === 0).length"


@pytest.fixture(scope="module")
def chromium():
    """A headless browser."""
    driver = pytest.importorskip("playwright.sync_api", reason="no driver of a browser: pip install playwright")
    arguments = ["--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # which root has no use for
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def wait_for_pictures(page, count):
    """Until so many are loaded. By asking again and again: the UI's policy forbids a script to wait in the page."""
    deadline = time.monotonic() + 180
    while page.evaluate(LOADED) < count:
        assert time.monotonic() < deadline, f"{page.evaluate(LOADED)} of {count} pictures are loaded"
        page.wait_for_timeout(200)


@pytest.fixture(scope="module")
def report_page(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(report(space(), fresh_space()), maps(space())), "utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_the_report_fits_its_window_and_shows_every_picture(chromium, report_page, width, scheme):
    requests, complaints = [], []
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(report_page.as_uri())

    assert page.evaluate(LOADED) == 10
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(246, 247, 249)" if scheme == "light" else "rgb(5, 7, 12)"
    )
    assert [url for url in requests if not url.startswith("data:")] == [report_page.as_uri()]
    assert complaints == []
    page.close()


def test_figures_have_the_size_they_were_drawn_for(chromium):
    pictures = [
        recall_figure(CURVE, 40, 0.9, size=(500, 290)),
        latency_figure(CURVE, 40, 23.4),
        cost_figure(costs(5, "a"), 1.0),
        map_figure(*embeddings()),
        recall_glance(CURVE, 40, 0.9),
    ]
    page = chromium.new_page()
    page.set_content("".join(f'<img src="{escape(picture.data_uri)}">' for picture in pictures))
    wait_for_pictures(page, len(pictures))
    sizes = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.naturalHeight])")
    assert sizes == [[500, 290], [640, 320], [640, 320], [640, 420], [240, 106]]
    page.close()


@pytest.fixture
def ui(settings, database, tmp_path):
    """The address of Dagster's UI, with its daemon, on a table of a few chunks."""
    select_for_run(settings, database)
    insert_chunks(database, [f"text {n}" for n in range(60)])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = dagster_environment(settings.model_copy(update={"data_dir": tmp_path}))
    # What the sensors embed first would leave nothing to draw to the run that the test asks for.
    for sensor in ("new_chunks_sensor", "index_health_sensor"):
        stop = [sys.executable, "-m", "dagster", "sensor", "stop", sensor, "-m", "embedding_assets.definitions"]
        subprocess.run(stop, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    log = tmp_path / "ui.log"
    with log.open("w") as stream:
        process = processes.start(
            ui_command("127.0.0.1", port),
            env=environment,
            cwd=tmp_path,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_definitions(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(180)
        # A run that is under way outlives the UI.
        for child in psutil.wait_procs(children, timeout=60)[1]:
            child.kill()


@pytest.mark.timeout(900)
def test_materialize_all_ends_in_green_checks_and_pictures(chromium, ui):
    # The click becomes a backfill: a run for each asset, one after the other. In a narrower window the graph is drawn
    # so small that it names no checks.
    page = chromium.new_page(viewport={"width": 1920, "height": 1000})
    page.set_default_timeout(120_000)
    page.goto(f"{ui}/asset-groups")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="Launch").click()
    page.get_by_text("Created backfill").wait_for()

    page.get_by_text(ALL_PASSED).nth(1).wait_for(timeout=600_000)  # of both assets that have checks

    for asset, at_once in PICTURES_AT_ONCE.items():
        page.goto(f"{ui}/assets/{asset}")
        page.get_by_text("Latest materialization").wait_for()
        page.get_by_placeholder("Filter metadata keys").wait_for()
        wait_for_pictures(page, at_once)
        if asset != "chunk_embeddings":
            page.get_by_text("Show Markdown").first.click()
            wait_for_pictures(page, at_once + 1)
        assert page.evaluate(BROKEN) == 0
    page.close()
