import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.url import normalize_url


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@h:5433/d", "postgresql://u:p@h:5433/d"),
        ("postgres://u@h/d", "postgresql://u@h/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql://u:p@h/d"),
        (" host=h dbname=d user=u\n", "postgresql://u@h/d"),
        ("host=h user=u password='a b/@%+'", "postgresql://u:a%20b%2F%40%25%2B@h/"),
        ("host=/run/postgresql dbname=d", "postgresql:///d?host=/run/postgresql"),
        (
            "postgresql://postgres:@/postgres?host=/a%20b&port=5432",
            "postgresql://postgres@/postgres?host=/a%20b&port=5432",
        ),
        ("postgresql://[::1]:5/d", "postgresql://[::1]:5/d"),
        ("postgresql://a:1,b:2/d", "postgresql:///d?host=a%2Cb&port=1%2C2"),
        ("postgresql://h/d?options=-c%20x%3Dy&sslmode=require", "postgresql://h/d?options=-c%20x%3Dy&sslmode=require"),
        ("dbname='müll?'", "postgresql:///m%C3%BCll%3F"),
        ("", "postgresql:///"),
    ],
)
def test_one_form_for_all(given, expected):
    assert normalize_url(given) == expected
    assert normalize_url(expected) == expected


def test_every_driver_reads_the_same():
    url = normalize_url("host=h port=5 user='a@b' password='c:/d%' dbname='e f' options='-c g=h'")

    assert conninfo_to_dict(url) == {
        "host": "h",
        "port": "5",
        "user": "a@b",
        "password": "c:/d%",
        "dbname": "e f",
        "options": "-c g=h",
    }
    parsed = make_url(url)
    assert (parsed.host, parsed.port, parsed.username, parsed.password) == ("h", 5, "a@b", "c:/d%")
    assert parsed.database in {"e f", "e%20f"}
    assert parsed.query == {"options": "-c g=h"}


def test_defaults_do_not_replace():
    assert normalize_url("postgresql://h/d", connect_timeout=10) == "postgresql://h/d?connect_timeout=10"
    assert normalize_url("postgresql://h/d?connect_timeout=3", connect_timeout=10).endswith("connect_timeout=3")


@pytest.mark.parametrize("given", ["hunter2", "postgresql://u:hunter2@h:port:x/d?nonsense=1", "mysql://u:hunter2@h/d"])
def test_what_is_no_connection_string_is_refused_without_repeating_it(given):
    with pytest.raises(ConfigurationError, match="EMBEDDING_DATABASE_URL") as caught:
        normalize_url(given)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://app:pa@hunter2/word@host/prod",
        "postgresql://app:hunter2/x@host/prod",
        "postgresql://app:50%hunter2@host/prod",
        "postgresql://app:hunter2?s/s@host/prod",
        "postgresql://app:a?hunter2=s/s@host/prod",
        "postgresql+psycopg2://app:a@hunter2@host/prod",
    ],
)
def test_a_password_that_must_be_encoded_is_not_repeated(given):
    with pytest.raises(ConfigurationError, match=r"percent-encoded as %40 %2F %25") as caught:
        normalize_url(given)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("pgbouncer=true&connection_limit=1", r"pgbouncer, connection_limit; remove them; .*pooler.*POOL_SIZE"),
        ("schema=rag", r"schema; remove them; ALTER ROLE … SET search_path"),
        ("sslmode=require&pool_timeout=10", r"know: pool_timeout; .*CONNECT_TIMEOUT_SECONDS"),
        ("supa=base-pooler.x", r"supa; remove them; connect to the server itself"),
        ("prepared_statements=false", r"prepared_statements"),
        ("nonsense=hunter2", r"know: nonsense; remove them$"),
        ("sslmode=no-verify", r"sslmode must be one of"),
        ("port=none", r"the port must be a number"),
    ],
)
def test_parameters_of_other_tools_are_named(query, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        normalize_url(f"postgresql://app:hunter2@host/prod?{query}")
    assert "hunter2" not in str(caught.value)


def test_what_only_looks_odd_is_accepted():
    assert normalize_url("postgresql://h/d?ssl=true") == "postgresql://h/d?sslmode=require"
    assert normalize_url("postgresql://h/d?user=me@server").startswith("postgresql://me%40server@h/d")
    assert normalize_url("postgresql://u:a:b?c@h/d") == "postgresql://u:a%3Ab%3Fc@h/d"
