"""Settings: bounds, names in errors, defaults as promised."""

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from embedding_assets.config import (
    DEFAULT_MODEL_NAME,
    DEFAULT_MODEL_REVISION,
    EmbeddingConfig,
    Settings,
    get_settings,
)
from embedding_assets.errors import ConfigurationError

GROUPS = tuple(
    field.annotation
    for field in Settings.model_fields.values()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseSettings)
)
"""The classes of all groups of settings."""


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDDING_MODEL_NAME")
    monkeypatch.delenv("EMBEDDING_DATABASE_RETRY_SECONDS")


DEFAULTS = [
    ("embedding", "provider", "local"),
    ("embedding", "model_name", "sentence-transformers/all-mpnet-base-v2"),
    ("embedding", "model_revision", None),
    ("embedding", "dimensions", 768),
    ("embedding", "max_seq_length", 384),
    ("embedding", "device", "auto"),
    ("embedding", "precision", "auto"),
    ("embedding", "batch_size", 32),
    ("embedding", "throughput_floor", 10.0),
    ("embedding", "prefix_length", 1),
    ("embedding", "new_space", False),
    ("embedding", "similarity", None),
    ("index", "m", 16),
    ("index", "ef_construction", 64),
    ("database", "url", None),
    ("logging", "format", "json"),
]


@pytest.mark.parametrize(("group", "name", "value"), DEFAULTS)
def test_defaults(group: str, name: str, value: object):
    assert getattr(getattr(get_settings(), group), name) == value


def test_the_default_model_is_pinned():
    assert EmbeddingConfig().pinned_revision == DEFAULT_MODEL_REVISION
    assert len(DEFAULT_MODEL_REVISION) == 40
    assert EmbeddingConfig(model_name="other/model").pinned_revision is None
    assert EmbeddingConfig(model_name="other/model", model_revision="abc").pinned_revision == "abc"
    assert EmbeddingConfig(model_name=DEFAULT_MODEL_NAME, model_revision="abc").pinned_revision == "abc"


# Variable, accepted values, refused values.
BOUNDS = [
    ("EMBEDDING_PROVIDER", ["local", "openai"], ["magic"]),
    ("EMBEDDING_FALLBACK", ["local", "openai"], ["magic"]),
    ("EMBEDDING_BATCH_SIZE", ["1", "512"], ["0", "513", "-1", "many", "1.5"]),
    ("EMBEDDING_DIMENSIONS", ["1", "16000"], ["0", "16001"]),
    ("EMBEDDING_MAX_SEQ_LENGTH", ["8", "32768"], ["7", "32769"]),
    ("EMBEDDING_DEVICE", ["auto", "cpu", "mps", "cuda", "cuda:3"], ["gpu", "cuda:", "cuda:x", "CPU", "cpu:0"]),
    ("EMBEDDING_PRECISION", ["auto", "float32", "bfloat16"], ["half", "AUTO"]),
    ("EMBEDDING_BATCH_TOKENS", ["64"], ["63"]),
    ("EMBEDDING_THREADS", ["1", "1024"], ["0", "1025", "two"]),
    ("EMBEDDING_WINDOW_SIZE", ["1", "100000"], ["0", "100001"]),
    ("EMBEDDING_COMMIT_SECONDS", ["0.1", "600"], ["0", "601", "nan", "inf"]),
    ("EMBEDDING_MAX_ATTEMPTS", ["1", "100"], ["0", "101"]),
    ("EMBEDDING_RETRY_DELAY_SECONDS", ["0", "604800"], ["-1", "604801", "inf", "nan"]),
    ("EMBEDDING_PREFIX_LENGTH", ["1", "2"], ["0", "3", "x"]),
    ("EMBEDDING_PARALLEL_RUNS", ["1", "256"], ["0", "257", "x"]),
    ("EMBEDDING_NEW_SPACE", ["true", "0"], ["perhaps"]),
    ("EMBEDDING_ALERT_WARNINGS", ["true", "0"], ["perhaps"]),
    ("EMBEDDING_DOCUMENTS_PRUNE", ["true", "0"], ["perhaps"]),
    ("EMBEDDING_DOCUMENTS_NO_IGNORE", ["true", "0"], ["perhaps"]),
    ("EMBEDDING_DOCUMENTS_ACCEPT_REJECTED", ["true", "0"], ["perhaps"]),
    ("EMBEDDING_THROUGHPUT_FLOOR", ["0"], ["-1"]),
    ("EMBEDDING_COVERAGE_FLOOR", ["0", "1"], ["1.1"]),
    ("EMBEDDING_RECALL_FLOOR", ["0", "1"], ["-0.1"]),
    ("EMBEDDING_BACKLOG_AGE_HOURS", ["0.1", "8760"], ["0", "8761", "inf", "nan"]),
    ("EMBEDDING_CHUNK_TOKENS", ["16", "32768"], ["15", "32769"]),
    ("EMBEDDING_CHUNK_OVERLAP", ["0", "127"], ["-1"]),
    ("EMBEDDING_CHUNK_HEADER", ["all", "headings", "title", "none"], ["text"]),
    ("EMBEDDING_HUB_TIMEOUT_SECONDS", ["0.1", "300"], ["0", "301"]),
    ("EMBEDDING_DATABASE_POOL_SIZE", ["1", "2", "64"], ["0", "65"]),
    ("EMBEDDING_DATABASE_CONNECT_TIMEOUT_SECONDS", ["1", "300"], ["0", "301"]),
    ("EMBEDDING_DATABASE_RETRY_SECONDS", ["0", "3600"], ["-1", "3601"]),
    ("EMBEDDING_OPENAI_DIMENSIONS", ["1", "16000"], ["0", "16001"]),
    ("EMBEDDING_OPENAI_SERVER", ["gateway", "host:8080/Team"], ["two words", "a?b", "user@host"]),
    ("EMBEDDING_OPENAI_ALLOW_HTTP", ["true", "0"], ["perhaps"]),
    ("EMBEDDING_OPENAI_SEND_DIMENSIONS", ["true", "0"], ["perhaps"]),
    ("EMBEDDING_OPENAI_MAX_INPUT_TOKENS", ["8", "1000000"], ["7", "1000001"]),
    ("EMBEDDING_OPENAI_TOO_LONG", ["truncate", "quarantine"], ["split"]),
    ("EMBEDDING_OPENAI_MAX_INPUTS", ["1", "2048"], ["0", "2049"]),
    ("EMBEDDING_OPENAI_MAX_REQUEST_TOKENS", ["8", "300000"], ["7", "300001"]),
    ("EMBEDDING_OPENAI_CONCURRENCY", ["1", "256"], ["0", "257"]),
    ("EMBEDDING_OPENAI_REQUESTS_PER_MINUTE", ["1"], ["0"]),
    ("EMBEDDING_OPENAI_TOKENS_PER_MINUTE", ["8"], ["7"]),
    ("EMBEDDING_OPENAI_TIMEOUT_SECONDS", ["0.1", "600"], ["0", "601", "nan"]),
    ("EMBEDDING_OPENAI_WAIT_SECONDS", ["0.1", "86400"], ["0", "86401", "inf"]),
    ("EMBEDDING_OPENAI_CONNECT_TIMEOUT_SECONDS", ["0.1", "300"], ["0", "301"]),
    ("EMBEDDING_OPENAI_RETRY_SECONDS", ["0", "86400"], ["-1", "86401", "nan"]),
    ("EMBEDDING_OPENAI_USD_PER_MILLION_TOKENS", ["0", "0.13"], ["-1", "NaN", "cheap"]),
    ("EMBEDDING_BUDGET_USD_PER_RUN", ["0.000001"], ["0", "-1", "NaN", "Infinity"]),
    ("EMBEDDING_BUDGET_USD_PER_DAY", ["5"], ["0"]),
    ("EMBEDDING_BUDGET_USD_PER_MONTH", ["100"], ["0"]),
    ("EMBEDDING_BUDGET_ALERT_SHARE", ["0.1", "1"], ["0", "1.1"]),
    ("EMBEDDING_INDEX_TYPE", ["vector", "halfvec", "bit"], ["float", "sparsevec"]),
    ("EMBEDDING_INDEX_M", ["2", "32"], ["1", "101"]),
    ("EMBEDDING_INDEX_EF_CONSTRUCTION", ["32", "1000"], ["3", "1001"]),
    ("EMBEDDING_INDEX_EF_SEARCH", ["1", "1000"], ["0", "1001"]),
    ("EMBEDDING_SIMILARITY", ["cosine", "dot", "euclidean", "manhattan"], ["vector_ip_ops"]),
    ("EMBEDDING_INDEX_MEMORY_MB", ["64"], ["63"]),
    ("EMBEDDING_INDEX_WORKERS", ["0", "64"], ["-1", "65"]),
    ("EMBEDDING_INDEX_BLOAT_CEILING", ["1.1", "100"], ["1.0", "101"]),
    ("EMBEDDING_INDEX_RECALL_DROP", ["0", "1"], ["-0.1", "1.1"]),
    ("EMBEDDING_SEARCH_MODE", ["hybrid", "vector", "text"], ["fuzzy"]),
    ("EMBEDDING_RERANK_API", ["tei", "cohere"], ["jina"]),
    ("EMBEDDING_RERANK_ALLOW_HTTP", ["true", "false"], ["maybe"]),
    ("EMBEDDING_RERANK_CANDIDATES", ["2", "1000"], ["1", "1001"]),
    ("EMBEDDING_RERANK_TIMEOUT_SECONDS", ["0.1", "600"], ["0", "601"]),
    ("EMBEDDING_EVALUATION_QUESTIONS", ["1", "100000"], ["0", "100001", "x"]),
    ("EMBEDDING_EVALUATION_QUALITY_DROP", ["0", "1"], ["-0.1", "1.1"]),
    (
        "EMBEDDING_RAY_ADDRESS",
        ["local", "auto", "10.0.0.5:6379", "ray-head:6379", "[::1]:6379"],
        ["ray://10.0.0.5:10001", "nonsense", "10.0.0.5", "10.0.0.5:0", "10.0.0.5:66000", "a b:6379"],
    ),
    ("EMBEDDING_RAY_WORKERS", ["1", "10000"], ["0", "10001"]),
    ("EMBEDDING_RAY_GPUS_PER_WORKER", ["0", "0.5", "1", "2", "64"], ["-1", "1.5", "65", "nan"]),
    ("EMBEDDING_RAY_CPUS_PER_WORKER", ["1", "1024"], ["0", "1025", "0.5"]),
    ("EMBEDDING_SERVE_HOSTS", ["search.example.org", "a, [::1]"], ["https://a", "a:80", "a/b"]),
    ("EMBEDDING_SERVE_CONCURRENCY", ["1", "256"], ["0", "257"]),
    ("EMBEDDING_SERVE_TIMEOUT_SECONDS", ["0.1", "3600"], ["0", "3601", "nan"]),
    ("EMBEDDING_SERVE_METRICS_SECONDS", ["1", "86400"], ["0", "86401"]),
    ("EMBEDDING_LOG_LEVEL", ["DEBUG", "ERROR"], ["LOUD"]),
    ("EMBEDDING_LOG_FORMAT", ["json", "text"], ["xml"]),
]


@pytest.mark.parametrize(("variable", "value"), [(v, value) for v, accepted, _ in BOUNDS for value in accepted])
def test_accepted(variable: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(variable, value)
    get_settings()


@pytest.mark.parametrize(("variable", "value"), [(v, value) for v, _, refused in BOUNDS for value in refused])
def test_refused_with_the_variable_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        get_settings()
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [variable]
    assert repr(value) in lines[0]


@pytest.mark.parametrize("name", ["RUN_TAGS", "OPENAI_EXTRA_BODY", "OPENAI_HEADERS", "OPENAI_QUERY_PARAMETERS"])
@pytest.mark.parametrize("value", ["{", "{'api-key': 'sk-secret'}", "sk-secret"])
def test_what_is_not_json_is_named_and_not_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"EMBEDDING_{name}", value)
    with pytest.raises(ConfigurationError, match=f"^EMBEDDING_{name}: is not JSON") as caught:
        get_settings()
    assert "sk-secret" not in str(caught.value)


def test_every_setting_has_bounds_to_test_or_is_free():
    free = {
        f"EMBEDDING_OPENAI_{name}"
        for name in (
            "API_KEY",
            "BASE_URL",
            "ORGANIZATION",
            "PROJECT",
            "MODEL",
            "EXTRA_BODY",
            "EXTRA_BODY_DOCUMENT",
            "EXTRA_BODY_QUERY",
            "HEADERS",
            "QUERY_PARAMETERS",
        )
    } | {
        f"EMBEDDING_{name}"
        for name in (
            "ALERT_WEBHOOK_URL",
            "SERVE_KEY",
            "DATABASE_URL",
            "DATABASE_PASSWORD_COMMAND",
            "DATABASE_PASSWORD_FILE",
            "DATA_DIR",
            "DOCUMENTS",
            "DOCUMENTS_ENCODING",
            "DOCUMENTS_EXCLUDE",
            "DOCUMENTS_INCLUDE",
            "DOCUMENTS_TEXT_COLUMN",
            "DOCUMENTS_TEXT_TEMPLATE",
            "EVALUATION_QUERIES",
            "MODEL_NAME",
            "MODEL_REVISION",
            "DOCUMENT_PROMPT",
            "QUERY_PROMPT",
            "RERANK_API_KEY",
            "RERANK_MODEL",
            "RERANK_REVISION",
            "RERANK_URL",
            "RUN_TAGS",
            "SCHEMA",
            "SEARCH_LANGUAGE",
            "TABLE",
            "TABLE_KEY",
            "TABLE_TEXT",
            "TABLE_METADATA",
            "TABLE_WHERE",
            "TABLE_COLUMN",
        )
    }
    named = {group.variable(field) for group in GROUPS for field in group.model_fields}
    assert named - free == {variable for variable, _, _ in BOUNDS}


def test_all_problems_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_BATCH_SIZE", "0")
    monkeypatch.setenv("EMBEDDING_INDEX_M", "1")
    monkeypatch.setenv("EMBEDDING_LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigurationError) as caught:
        get_settings()
    assert len(str(caught.value).splitlines()) == 3


def test_empty_variables_are_unset(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_BATCH_SIZE", "")
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "")
    settings = get_settings()
    assert settings.embedding.batch_size == 32
    assert settings.database.url is None
    assert settings.embedding.model_fields_set == set()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"EMBEDDING_CHUNK_TOKENS": "64", "EMBEDDING_CHUNK_OVERLAP": "32"}, "EMBEDDING_CHUNK_OVERLAP"),
        ({"EMBEDDING_INDEX_M": "33"}, "EMBEDDING_INDEX_EF_CONSTRUCTION must be at least twice EMBEDDING_INDEX_M"),
        ({"EMBEDDING_INDEX": "m16"}, "EMBEDDING_INDEX is not a setting but the beginning of several"),
        ({"EMBEDDING_DATA_DIR": "~nobody-of-this-name/data"}, "EMBEDDING_DATA_DIR: "),
    ],
)
def test_contradictions(variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        get_settings()
    assert str(caught.value).startswith(message)


def test_overlap_just_below_half_is_accepted():
    assert EmbeddingConfig(chunk_tokens=64, chunk_overlap=31).chunk_overlap == 31


def test_long_values_are_cut_in_errors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_DEVICE", "x" * 1000)
    with pytest.raises(ConfigurationError) as caught:
        get_settings()
    assert len(str(caught.value)) < 300


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        get_settings().embedding.batch_size = 2


def test_with_embedding_validates_and_leaves_the_original():
    settings = get_settings()
    changed = settings.with_embedding(batch_size=7)
    assert (settings.embedding.batch_size, changed.embedding.batch_size) == (32, 7)
    assert changed.embedding.model_fields_set == {"batch_size"}
    assert changed.with_embedding(window_size=9).embedding.model_fields_set == {"batch_size", "window_size"}
    with pytest.raises(ConfigurationError, match="EMBEDDING_BATCH_SIZE"):
        settings.with_embedding(batch_size=0)


def test_data_dir_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDDING_DATA_DIR", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_settings().data_dir == tmp_path / "here"
    assert Settings(data_dir=Path("~/there")).data_dir == tmp_path / "there"


def test_default_data_dir(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("EMBEDDING_DATA_DIR")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert get_settings().data_dir == Path("/var/lib/embedding_assets")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert get_settings().data_dir.name == "embedding_assets"
    assert get_settings().data_dir.is_relative_to(Path.home())


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("EMBEDDING_DATABASE_ULR", "did you mean EMBEDDING_DATABASE_URL?"),
        ("EMBEDDING_INDEX_OPERATOR_CLASS", "EMBEDDING_SIMILARITY replaces it"),
        ("EMBEDDING_XYZZY", "unset it"),
    ],
)
def test_a_variable_that_is_no_setting_is_named_once(variable, words, monkeypatch, caplog):
    monkeypatch.setattr("embedding_assets.config.unknown._warned", set())
    monkeypatch.setenv(variable, "hunter2")
    get_settings()
    get_settings()
    assert [words in message and variable in message for message in caplog.messages] == [True]
    assert "hunter2" not in caplog.text


def test_settings_of_all_groups_are_known(monkeypatch, caplog):
    monkeypatch.setattr("embedding_assets.config.unknown._warned", set())
    for name, value in (("MODEL_NAME", "m"), ("OPENAI_MODEL", "m"), ("TABLE", "t"), ("SCHEMA", "s")):
        monkeypatch.setenv(f"EMBEDDING_{name}", value)
    get_settings()
    assert caplog.messages == []
