import io
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from rich.console import Console

from embedding_assets.cli import demo
from embedding_assets.cli.demo import choose_model, run_demo
from embedding_assets.cli.models import fetch
from embedding_assets.config import DEFAULT_MODEL_NAME, get_settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import EmbeddingAssetsError, ModelUnavailableError
from embedding_assets.health.verdict import Verdict
from embedding_assets.postgres.server.embedded import stop_embedded_server
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.default_model import HUB_CACHE, published_model
from embedding_assets_tests.support.fakes import insert_chunks
from fake_api.server import ApiServer

pytestmark = pytest.mark.uncovered


@pytest.fixture
def fresh_data_dir(data_dir, monkeypatch):
    """A data folder as on a fresh machine, but for the demo model."""
    path = Path(tempfile.mkdtemp(prefix="ea", dir="/tmp"))
    path.chmod(0o755)
    if (data_dir / "models").is_dir():
        shutil.copytree(data_dir / "models", path / "models")
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(path))
    yield path
    stop_embedded_server(path)
    shutil.rmtree(path)


@pytest.fixture
def documents(tmp_path):
    for number, subject in enumerate(["reading a file line by line", "locks between threads", "comparing passwords"]):
        paragraphs = [f"## Part {part}\nThis part {part} explains {subject} in detail {part}.\n" for part in range(8)]
        (tmp_path / f"{number}.md").write_text(f"# On {subject}\n" + "\n".join(paragraphs))
    (tmp_path / "bad.jsonl").write_text("not json\n")
    return tmp_path


def play(*paths):
    console = Console(file=io.StringIO(), width=80)
    run_demo(get_settings(), [str(path) for path in paths], console)
    return console.file.getvalue()


def test_from_a_fresh_folder_to_answers_and_again(fresh_data_dir, documents, monkeypatch):
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")

    text = play(documents)

    assert "The model is a small one, to be quick: all-MiniLM-L6-v2" in flat(text)
    assert "demo --model default" in flat(text)
    assert "rejected: " in text
    assert "bad.jsonl:1" in flat(text).replace(" ", "")
    added = int(re.search(r"(\d+) chunks added", flat(text))[1])
    assert added > 10
    assert f"embedding: {added} of {added} chunks" in text
    for name in (
        "chunks",
        "embedded",
        "failed",
        "truncated",
        "seconds",
        "chunks/s",
        "peak memory",
        "index",
        "recall@10",
    ):
        assert re.search(rf"^{name} +\S", text, re.MULTILINE), name
    for check in ("finite_dimensions", "throughput", "coverage", "quarantine_empty", "index_valid", "recall"):
        assert re.search(rf"✔ +{check} ", text), check
    assert text.count("?\n0.") == 3, "three questions with answers"
    assert "make ui" in text
    assert max(map(len, text.splitlines())) <= 80

    again = play(documents)

    assert f"Nothing to embed: {added} of {added} chunks have their vectors already." in flat(again)
    assert "Materializing" not in again


def test_the_demo_with_an_api(settings, documents, monkeypatch):
    """No local model is needed; the small one only counts tokens."""
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    with ApiServer() as server:
        monkeypatch.setenv("EMBEDDING_OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", server.api_key)

        text = play(documents)

    assert "using the small demo model" not in flat(text)
    assert "Vector space: openai-text-embedding-3-small-768-" in text
    assert re.search(r"^cost +\$0\.0", text, re.MULTILINE)
    assert text.count("?\n0.") + text.count("?\n-0.") == 3, "three questions with answers, however odd the vectors"


def flat(text):
    """The text as if the console were wide."""
    return " ".join(text.split())


@pytest.fixture
def failing_run(settings, monkeypatch, tmp_path):
    """Settings under which the Dagster run is what ``script`` does."""

    def use(script):
        def start(_, log):
            return processes.start([sys.executable, "-c", script], stdout=log, stderr=log)

        monkeypatch.setattr(demo, "start_materialization", start)
        return settings.model_copy(update={"data_dir": tmp_path})

    return use


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("print('embedding_assets.errors.DatabaseError: disk full'); raise SystemExit(3)", r" \(disk full\)"),
        ("raise SystemExit(3)", ""),
    ],
)
def test_a_failing_run_names_its_log_and_its_cause(failing_run, settings, database, script, cause, tmp_path):
    column = select_for_run(settings, database).column
    insert_chunks(database, ["one"])

    with pytest.raises(EmbeddingAssetsError, match=rf"failed with status 3{cause}; see {tmp_path}/demo.log$"):
        demo._materialize(failing_run(script), database, column, 1, Console(file=io.StringIO()))


def test_an_interrupted_demo_leaves_no_run_behind(failing_run, settings, database, monkeypatch):
    column = select_for_run(settings, database).column
    insert_chunks(database, ["one"])
    script = f"import signal, time; signal.signal({int(signal.SIGINT)}, signal.default_int_handler); time.sleep(60)"
    changed = failing_run(script)
    started = []
    start = demo.start_materialization
    monkeypatch.setattr(demo, "start_materialization", lambda *a: started.append(start(*a)) or started[0])

    def interrupt(*_):
        time.sleep(0.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "count_backlog", interrupt)

    with pytest.raises(KeyboardInterrupt):
        demo._materialize(changed, database, column, 1, Console(file=io.StringIO()))

    assert started[0].returncode is not None


def test_the_small_model_is_shown_when_nothing_was_configured(settings, database, monkeypatch):
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")

    chosen, explanation = choose_model(get_settings(), database, None)

    assert chosen.embedding.model_name == DEMO_MODEL
    assert DEFAULT_MODEL_NAME in explanation


@pytest.mark.parametrize("name", ["has-this/model-not", DEFAULT_MODEL_NAME])
def test_a_model_that_was_asked_for_is_never_replaced(settings, database, monkeypatch, name):
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", name)

    with pytest.raises(ModelUnavailableError, match=name):
        choose_model(get_settings(), database, None)


def test_a_model_that_was_configured_is_shown_without_a_word(settings, database):
    assert choose_model(settings, database, None) == (settings, None)


def test_the_default_model_is_fetched_where_it_is_asked_for(settings, database, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", os.environ[HUB_CACHE])
    model = published_model()

    chosen, explanation = choose_model(settings, database, "default")

    assert explanation is None
    assert chosen.embedding.model_name == model.name
    assert fetch(chosen, quiet=True) == (model, "cache or hub")


def test_a_table_that_is_embedded_keeps_its_model(settings, database, monkeypatch):
    select_for_run(settings, database)
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")

    chosen, explanation = choose_model(get_settings(), database, None)

    assert explanation is None
    assert select_for_run(chosen, database).column.space.model == DEMO_MODEL


def test_recall_that_was_not_measured_is_said_so():
    assert demo._recall([Verdict("recall", True, False, "")]) == "not measured"
    assert demo._recall([Verdict("recall", "warning", True, "", {"recall": 0.98765})]) == "0.988"
