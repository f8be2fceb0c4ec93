import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.url import normalize_url, with_search_path


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


def test_search_path_keeps_other_options():
    assert with_search_path("postgresql://h/d", "dagster") == "postgresql://h/d?options=-csearch_path%3Ddagster"

    url = with_search_path("postgresql://h/d?sslmode=require&options=-c%20work_mem%3D8MB", "dagster")

    assert conninfo_to_dict(url)["options"] == "-c work_mem=8MB -csearch_path=dagster"
    assert conninfo_to_dict(url)["sslmode"] == "require"


@pytest.mark.parametrize("given", ["hunter2", "postgresql://u:hunter2@h:port:x/d?nonsense=1", "mysql://u:hunter2@h/d"])
def test_what_is_no_connection_string_is_refused_without_repeating_it(given):
    with pytest.raises(ConfigurationError, match="EMBEDDING_DATABASE_URL") as caught:
        normalize_url(given)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
