"""Indexes for searching by words and for filters, beside those of vectors: which there are to be, and their life."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError
from embedding_assets.postgres.catalog import create_index, describe, drop_index
from embedding_assets.postgres.conditions.document import file_name
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.table import template_columns

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

logger = logging.getLogger(__name__)

DEFAULT_LANGUAGE: Final = "simple"
"""Text search configuration that knows no language: words as they are, in lower case."""

METADATA_INDEX: Final = "idx_knowledge_metadata"
SOURCE_INDEX: Final = "idx_knowledge_source"
_OWN_WORDS: Final = "idx_knowledge_words"

_MOST_CHARACTERS: Final = 100_000
"""Of a text that are searched by words. PostgreSQL refuses words of more than 1 MB together, and so a row that it is to
index: no INSERT may fail for the sake of a search."""

_SEPARATORS: Final = "-_./\\:@#+=&<>~"
"""Read as blanks. PostgreSQL's parser would take them for signs, hosts, paths and tags, each by what stands around
them: ``-40417`` for a number, ``<String>`` for a tag to leave out. So an identifier is the same words everywhere."""

UNSPACED: Final = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Letters of scripts that put no spaces between words, in a class of regular expressions, PostgreSQL's and Python's:
Thai, Lao, Burmese, Khmer, Japanese, Chinese. They are searched by pairs, and by single letters."""

FINAL_SIGMA: Final = "\u03c2"
SIGMA: Final = "\u03c3"
"""Of ΛΌΓΟΣ PostgreSQL makes λόγοσ in lower case, which is λόγος. Greek's own dictionary does the same, after it has
left stop words out."""

_GREEK: Final = "pg_catalog.greek"

_PENDING_KB: Final = 256
"""Of new words that an index keeps unsorted, and reads through for every search (gin_pending_list_limit)."""


@dataclass(frozen=True, slots=True)
class WordIndex:
    """The index of a table's words.

    Attributes:
        table: whose.
        language: text search configuration, with its schema and as part of SQL.
        columns: that make the text, in its order; empty: there is nothing to search by words.
        is_unicode: whether the database's encoding is UTF8. In others letters have no numbers to know scripts by, nor
            several forms.
    """

    table: Table
    language: str
    columns: tuple[str, ...]
    is_unicode: bool = True

    @property
    def name(self) -> str:
        """Its name, in which is what it is an index of."""
        made = (UNSPACED, "NFC", FINAL_SIGMA) if self.is_unicode else ()
        said = "\x1f".join(
            (self.language, *self.columns, str(self.table.where), _SEPARATORS, str(_MOST_CHARACTERS), *made)
        )
        return f"{words_prefix(self.table)}_{hashlib.sha256(said.encode()).hexdigest()[:8]}"

    @property
    def is_as_it_is(self) -> bool:
        """Whether words are taken as they are, stop words too."""
        return self.language == f"pg_catalog.{DEFAULT_LANGUAGE}"

    @property
    def regconfig(self) -> sql.Composed:
        """The text search configuration as a constant."""
        return sql.SQL("{}::regconfig").format(sql.Literal(self.language.replace("%", "%%")))

    def vector(self, alias: str = "k") -> sql.Composed:
        """The words of a row; the index has the same expression."""
        prefix = [alias] if alias else []
        parts = [
            sql.SQL("coalesce(({}::text COLLATE \"C\"), '')").format(sql.Identifier(*prefix, name.replace("%", "%%")))
            for name in self.columns
        ]
        return self.vector_of(sql.SQL("({})").format(sql.SQL(" || ' ' || ").join(parts)))

    def vector_of(self, text: sql.Composable) -> sql.Composed:
        """The words of a text, split as those of a row are."""
        return sql.SQL("to_tsvector({}, {})").format(self.regconfig, self.plain(text))

    def plain(self, text: sql.Composable) -> sql.Composed:
        """A text without what PostgreSQL's parser would read more into than words, and composed (NFC).

        Where a script has no spaces, 代理后 becomes 代 代 代理 理 理后 后 后: each letter, and each two side by side.
        """
        read = sql.SQL("left({}, {})").format(text, sql.Literal(_MOST_CHARACTERS))
        if self.is_unicode:
            # Texts of ASCII are what they are, and need no time for that.
            read = sql.SQL(
                "CASE WHEN octet_length({text}) = length({text}) THEN {read} ELSE left(regexp_replace(regexp_replace("
                "normalize({read}), {run}, {apart}, 'g'), {letter}, {thrice}, 'g'), {most}) END"
            ).format(
                text=text,
                read=read,
                run=sql.Literal(f"([{UNSPACED}]+)"),
                apart=sql.Literal(r" \1 "),
                letter=sql.Literal(f"([{UNSPACED}])"),
                thrice=sql.Literal(r"\1 \1 \1"),
                most=sql.Literal(_MOST_CHARACTERS),
            )
        return self._separated(read)

    def vector_of_question(self, text: sql.Composable) -> sql.Composed:
        """The words of a question in which scripts without spaces are pairs of letters already, and composed."""
        read = sql.SQL("left({}, {})").format(text, sql.Literal(_MOST_CHARACTERS))
        return sql.SQL("to_tsvector({}, {})").format(self.regconfig, self._separated(read))

    def as_spelled(self, lexeme: sql.Composable) -> sql.Composed:
        """A word of a row as dictionaries of stop words have it."""
        if not self.is_unicode:
            return sql.Composed([lexeme])
        return sql.SQL("regexp_replace({}, {}, {})").format(lexeme, sql.Literal(f"{SIGMA}$"), sql.Literal(FINAL_SIGMA))

    def _separated(self, text: sql.Composable) -> sql.Composed:
        has_sigma = self.is_unicode and self.language != _GREEK
        before, after = (FINAL_SIGMA, SIGMA) if has_sigma else ("", "")
        blanks = " " * len(_SEPARATORS)
        return sql.SQL("translate({}, {}, {})").format(
            text, sql.Literal(f"{before}{_SEPARATORS}"), sql.Literal(f"{after}{blanks}")
        )

    @property
    def definition(self) -> sql.Composed:
        """What follows the table in CREATE INDEX."""
        definition = sql.SQL("USING gin (({})) WITH (gin_pending_list_limit = {})").format(
            self.vector(""), sql.Literal(_PENDING_KB)
        )
        if self.table.where is None:
            return definition
        return sql.SQL("{} WHERE {}").format(definition, self.table.condition)


def words_prefix(table: Table) -> str:
    """With which the names of all indexes of the table's words begin."""
    if table.is_own:
        return _OWN_WORDS
    # The driver would take a percent sign for a placeholder; PostgreSQL keeps 63 bytes.
    stem = table.name.replace("%", "_").encode()[:48].decode(errors="ignore")
    return f"{stem}_words"


TEXT_COLUMNS: Final = """
    SELECT coalesce(array_agg(attname::text ORDER BY attname), '{}') FROM pg_attribute a
    JOIN pg_type t ON t.oid = atttypid JOIN pg_proc p ON p.oid = t.typoutput
    WHERE attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(name)s::text)) AND attname = ANY(%(names)s)
      AND NOT attisdropped AND (t.typcategory = 'S' OR provolatile = 'i' AND t.typtype = 'b' AND t.typelem = 0)
"""
"""Of the columns that make a text, those whose own text depends on no setting, as a date's does: no index has those."""

LANGUAGE: Final = """
    SELECT format('%%I.%%I', nspname, cfgname) FROM pg_ts_config c JOIN pg_namespace n ON n.oid = cfgnamespace
    WHERE cfgname = %(language)s AND pg_ts_config_is_visible(c.oid) OR nspname || '.' || cfgname = %(language)s LIMIT 1
"""
"""The text search configuration of a name, with its schema."""


IS_UNICODE: Final = "current_setting('server_encoding') = 'UTF8'"


def text_parameters(table: Table, language: str) -> dict[str, Any]:
    """The parameters of ``TEXT_COLUMNS`` and ``LANGUAGE``."""
    return {"schema": table.schema, "name": table.name, "names": sorted(table.names), "language": language}


def word_index(table: Table, language: str, usable: Iterable[str], *, is_unicode: bool) -> WordIndex:
    """The index of the table's words.

    Args:
        table: whose.
        language: as found by ``LANGUAGE``.
        usable: as found by ``TEXT_COLUMNS``.
        is_unicode: as found by ``IS_UNICODE``.
    """
    names = ["context_header", "chunk_text"] if table.is_own else template_columns(table.template)
    there = set(usable)
    return WordIndex(table, language, tuple(name for name in names if name in there), is_unicode)


def find_word_index(connection: Connection, table: Table, language: str) -> WordIndex:
    """The index of the table's words that there is to be in this language.

    Raises:
        ConfigurationError: the server knows no such language.
    """
    query = sql.SQL("SELECT ({}), ({}), {}").format(sql.SQL(LANGUAGE), sql.SQL(TEXT_COLUMNS), sql.SQL(IS_UNICODE))
    row: Any = connection.execute(query, text_parameters(table, language)).fetchone()
    if row[0] is None:
        raise unknown_language(connection, language)
    return word_index(table, row[0], row[1], is_unicode=row[2])


def unknown_language(connection: Connection, language: str) -> ConfigurationError:
    """The error about a text search configuration that the server does not have."""
    rows = connection.execute("SELECT cfgname FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) ORDER BY 1")
    known = ", ".join(name for (name,) in rows.fetchall())
    return ConfigurationError(
        f"EMBEDDING_SEARCH_LANGUAGE={language} is no text search configuration of this server; there are {known}"
    )


def check_language(database: Database, language: str) -> None:
    """Make sure that the server knows a text search configuration.

    Raises:
        ConfigurationError: it does not.
    """
    database.run(lambda connection: find_word_index(connection, database.table, language))


def build_search_indexes(
    database: Database, language: str, settings_of: Callable[[Connection], Mapping[str, str]] = lambda _: {}
) -> bool:
    """Build the indexes for words and filters that are missing, CONCURRENTLY; drop those of another language.

    Searches get by without them, so that a build which fails, or that the role may not do, is logged and no more.

    Args:
        database: where.
        language: text search configuration.
        settings_of: server parameters for the build, e.g. ``maintenance_work_mem``.

    Returns:
        Whether anything was built.

    Raises:
        ConfigurationError: the server knows no such language.
        DatabaseUnavailableError: the server was lost.
    """
    table = database.table
    if database.run(lambda connection: _is_settled(connection, table, language)):
        return False
    try:
        with database.session() as connection, hold(connection, TABLE_LOCK):
            missing = _missing(connection, table, language)
            settings = settings_of(connection) if missing else {}
            for name, definition in missing.items():
                logger.info("building %s for searches", name, extra={"index": name})
                create_index(connection, table, name, definition, settings)
                _leave_out_of_statistics(connection, table, name)
            for name in _outdated(connection, table, find_word_index(connection, table, language)):
                drop_index(connection, table, name)
            if missing:
                connection.execute(sql.SQL("ANALYZE {}").format(table.relation), [])
    except DatabaseUnavailableError:
        raise
    except DatabaseError as error:
        logger.warning("searches by words and filters go without an index: %s", error)
        return False
    return bool(missing)


def drop_search_indexes(connection: Connection, table: Table) -> None:
    """Drop the indexes of the table's words, whatever their language.

    Raises:
        DatabaseError: one could not be dropped.
    """
    for name in word_indexes(connection, table):
        drop_index(connection, table, name)


def word_indexes(connection: Connection, table: Table) -> list[str]:
    """Names of the table's indexes of words, in whatever state."""
    rows = connection.execute(
        """
        SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam
        WHERE indrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND amname = 'gin'
          AND starts_with(c.relname, %s) AND substr(c.relname, length(%s) + 1) ~ '^_[0-9a-f]{8}$' ORDER BY 1
        """,
        [table.schema, table.name, words_prefix(table), words_prefix(table)],
    ).fetchall()
    return [name for (name,) in rows]


def _is_settled(connection: Connection, table: Table, language: str) -> bool:
    """Whether all are there, and none of another language is left."""
    words = find_word_index(connection, table, language)
    return not (_missing(connection, table, language) or _outdated(connection, table, words))


def _missing(connection: Connection, table: Table, language: str) -> dict[str, sql.Composable]:
    """The indexes that are not there, or not valid, and their definitions."""
    words = find_word_index(connection, table, language)
    wanted: dict[str, sql.Composable] = {words.name: words.definition} if words.columns else {}
    if table.is_own:
        wanted[METADATA_INDEX] = sql.SQL("USING gin (document_metadata jsonb_path_ops)")
        wanted[SOURCE_INDEX] = sql.SQL("({})").format(file_name(sql.Identifier("document_metadata")))
    return {name: one for name, one in wanted.items() if not describe(connection, table, name).valid}


def _outdated(connection: Connection, table: Table, words: WordIndex) -> list[str]:
    return [name for name in word_indexes(connection, table) if name != words.name]


def _leave_out_of_statistics(connection: Connection, table: Table, name: str) -> None:
    """Let no ANALYZE, the server's own included, split the texts of thousands of rows: no plan depends on it."""
    if not name.startswith(words_prefix(table)):
        return
    rows = connection.execute(
        """
        SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE c.oid IN (SELECT %(index)s::regclass UNION ALL SELECT relid FROM pg_partition_tree(%(index)s))
        """,
        {"index": sql.Identifier(table.schema, name).as_string()},
    ).fetchall()
    for schema, part in rows:
        index = sql.Identifier(schema.replace("%", "%%"), part.replace("%", "%%"))
        connection.execute(sql.SQL("ALTER INDEX {} ALTER COLUMN 1 SET STATISTICS 0").format(index), [])
