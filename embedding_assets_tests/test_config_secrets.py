"""Secrets among the settings: in no error, no text of an object, and each from one place."""

import traceback

import pytest
from pydantic import SecretStr

from embedding_assets.config import (
    DatabaseConfig,
    get_settings,
)
from embedding_assets.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADERS", '{"Authorization": {"Bearer": "sk-secret"}}'),
        ("HEADERS", '["sk-secret"]'),
        ("HEADERS", '{"sk-secret": 1}'),
        ("QUERY_PARAMETERS", '{"code": ["sk-secret"]}'),
        ("EXTRA_BODY", '["sk-secret"]'),
    ],
)
def test_what_may_be_secret_is_in_no_error(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"EMBEDDING_OPENAI_{name}", value)
    with pytest.raises(ConfigurationError, match=f"EMBEDDING_OPENAI_{name}") as caught:
        get_settings()
    assert "sk-secret" not in str(caught.value)


def test_secrets_stay_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://u:s3cret@h/d")
    settings = get_settings()
    for shown in (repr(settings), str(settings), repr(settings.database), settings.model_dump_json()):
        assert "s3cret" not in shown
    assert settings.database.url == SecretStr("postgresql://u:s3cret@h/d")

    monkeypatch.setenv("EMBEDDING_DATABASE_POOL_SIZE", "0")
    with pytest.raises(ConfigurationError) as caught:
        get_settings()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_of_the_wrong_type_is_not_quoted():
    from pydantic import ValidationError

    from embedding_assets.config.environment import describe_validation_error

    with pytest.raises(ValidationError) as caught:
        DatabaseConfig(url=["s3cret"])
    assert describe_validation_error(caught.value, "EMBEDDING_DATABASE_") == [
        "EMBEDDING_DATABASE_URL: Input should be a valid string"
    ]


@pytest.mark.parametrize(
    "url", ["http://u:s3cret@h/v1", "http://:s3cret@h/v1", "http://h/v1?s3cret", "http://h/#s3cret"]
)
def test_a_base_url_holds_no_secret(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_OPENAI_BASE_URL", url)
    with pytest.raises(ConfigurationError) as caught:
        get_settings()
    assert str(caught.value) == (
        "EMBEDDING_OPENAI_BASE_URL: "
        "is not a URL such as https://api.openai.com/v1, without user, password or parameters"
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PASSWORD_COMMAND": "echo x"}, "EMBEDDING_DATABASE_URL is not"),
        ({"URL": "postgresql://h/d", "PASSWORD_COMMAND": "echo x", "PASSWORD_FILE": "/x"}, "both set"),
        (
            {"URL": "postgresql://h/d", "PASSWORD_COMMAND": "echo 'hunter2"},
            "EMBEDDING_DATABASE_PASSWORD_COMMAND: .*quotes",
        ),
    ],
)
def test_a_password_has_one_source(variables, words, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(f"EMBEDDING_DATABASE_{name}", value)
    with pytest.raises(ConfigurationError, match=words) as caught:
        get_settings()
    assert "hunter2" not in str(caught.value)
