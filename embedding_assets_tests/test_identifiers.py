"""Names with quotes, dots and upper case, which PostgreSQL and we read alike."""

import pytest

from embedding_assets.config.table import TableConfig
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.identifiers import parts_of, unquoted

NAMES = [
    ('"Odd ""Name"""', ['Odd "Name"']),
    ('schema."Table.With.Dots"', ["schema", "Table.With.Dots"]),
    ("SHOP.Articles", ["shop", "articles"]),
    ('"SHOP".Articles', ["SHOP", "articles"]),
    ("Über", ["Über"]),
    ('" "', [" "]),
]


@pytest.mark.parametrize(("written", "parts"), NAMES)
def test_a_table_is_called_as_in_sql(database_url, beside, written, parts):
    assert parts_of(written) == parts
    assert beside.execute("SELECT parse_ident(%s)", [written]).fetchone() == (parts,)


def test_a_column_is_called_as_it_is_quoted_or_not():
    assert unquoted('"Odd ""Name"""') == 'Odd "Name"'
    assert [unquoted(name) for name in ("Title", '"', '""', "")] == ["Title", '"', "", ""]
    config = TableConfig.model_validate({"key": 'Id,"Odd ""Name""", "a,b"'})
    assert config.key == ("Id", 'Odd "Name"', "a,b")


@pytest.mark.parametrize(
    ("written", "key", "shown"),
    [
        ('"Odd ""Name"""', ["Odd__Name_"], None),
        ('schema."Table.With.Dots"', ["schema", "Table_With_Dots"], "schema.Table.With.Dots"),
        ("SHOP.Articles", ["shop", "articles"], "shop.articles"),
    ],
)
def test_in_dagster_it_is_called_so_too(written, key, shown):
    spec = TableSpec(variables={"EMBEDDING_TABLE": written})
    assert spec.source is not None
    assert spec.source.path == key
    assert spec.location.get("dagster/table_name") == shown


@pytest.mark.parametrize(
    ("written", "is_own"),
    [
        ("KNOWLEDGE_BASE", True),
        ('"Shop"."knowledge_base"', True),
        ('"KNOWLEDGE_BASE"', False),
        ('"my.knowledge_base"', False),
    ],
)
def test_knowledge_base_is_known_however_it_is_written(written, is_own):
    assert TableSpec(variables={"EMBEDDING_TABLE": written}).is_own is is_own
