"""The rows that a question's words fit best, as part of a statement.

Ranked as BM25 does (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009): rare words weigh more than
common ones, a word that is repeated counts less each time, and a long text's words less than a short one's. Words of a
question that are in very many rows are not looked up alone, but only together with the others; and only the texts of
the most promising rows are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.postgres.search.scope import SPLIT_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedding_assets.postgres.search.facts import Facts
    from embedding_assets.postgres.search.question import Words
    from embedding_assets.postgres.search.scope import Scope
    from embedding_assets.postgres.search_indexes import WordIndex

LOOKED_UP: Final = 4000
"""Rows that are looked up for a word at most. A word that more have counts as common."""

_LOOKED_UP_TOGETHER: Final = 20_000
"""Rows that are looked up for all words of a question, the rarest first; about 5 µs each."""

_WORDS: Final = 32
"""Of a question that are looked for: the rarest."""

_COMMON_WORDS: Final = 3
"""That are looked up together with the rarer ones: the rarest of the common."""

_TELLING: Final = 0.3
"""Share of the rows above which a word is common in any table, and tells nothing beside rarer ones."""

_FILLER: Final = 0.5
"""Share of the rows that has a stop word at least, as far as its weight goes: in a small table it may seem rare."""

_READ_ROWS: Final = 100
_READ_BYTES: Final = 150_000
_READ_ANYHOW: Final = 20
"""Rows whose texts are split to rank them, of so many bytes together; but always this many."""

_K1: Final = 1.2
_B: Final = 0.75
"""Of BM25: how much the repetition of a word counts, and how much the length of a text."""

_MOST_NAMED: Final = 3
"""Rows that have an identifier of a question and so are what it asks for; one that more have names a kind of thing."""

_QUESTION: Final = """
    asked AS MATERIALIZED (
        SELECT lexeme, positions[1] AS nth, count(*) OVER () AS words FROM unnest({vector})
    ),
    {fillers},
    question AS MATERIALIZED (
        SELECT a.lexeme, nth, words, f.lexeme IS NOT NULL AS is_filler,
               CASE WHEN f.lexeme IS NOT NULL THEN greatest(c.share, {filler})
                    WHEN c.share > {telling} OR c.share * {rows} > {looked_up} THEN c.share END AS share,
               (chr(39) || replace(replace(a.lexeme, chr(92), chr(92) || chr(92)), chr(39), chr(39) || chr(39))
                || chr(39))::tsquery AS query
        FROM asked a
        LEFT JOIN fillers f ON f.lexeme = a.lexeme AND words > (SELECT count(*) FROM fillers)
        LEFT JOIN unnest(%(common)s::text[], %(shares)s::float8[]) AS c (lexeme, share) ON c.lexeme = a.lexeme
        ORDER BY is_filler, c.share NULLS FIRST, a.lexeme ~ '[0-9]' DESC, nth, a.lexeme LIMIT {most}
    ),
    any_word AS MATERIALIZED (
        SELECT string_agg(query::text, ' | ')::tsquery AS query FROM question WHERE NOT is_filler
    ),
    every_word AS MATERIALIZED (
        SELECT string_agg(query::text, ' & ')::tsquery AS query FROM question HAVING max(words) <= {most}
    ),
"""

_NO_FILLERS: Final = "fillers AS (SELECT NULL::text AS lexeme WHERE false)"

_FILLERS: Final = """
    stopped AS MATERIALIZED (
        SELECT lexeme, dictname, count(*) OVER (PARTITION BY dictname) AS together
        FROM asked CROSS JOIN pg_catalog.pg_ts_dict
        WHERE nth <= {read} AND dictnamespace = 'pg_catalog'::regnamespace AND dictinitoption LIKE '%%stopwords%%'
          AND ts_lexize(pg_ts_dict.oid, {spelled}) = '{{}}' AND lexeme NOT IN (
              SELECT l.lexeme FROM unnest(%(compounds)s::text[]) AS compound CROSS JOIN LATERAL unnest({parts}) AS l
          )
    ),
    fillers AS MATERIALIZED (
        SELECT lexeme FROM stopped
        WHERE (together > 1 OR dictname = 'english_stem' AND length(lexeme) <= 2) AND dictname = (
            SELECT dictname FROM stopped ORDER BY together DESC, dictname = 'english_stem' DESC, dictname LIMIT 1
        )
    )
"""
"""Stop words of a question whose words are taken as they are: of the language that has most of them, by PostgreSQL's
dictionaries. One alone may be a word of another language (war, die, bin) and weighs what it does in the table,
unless it is a short one of English. Parts of identifiers, such as is_in, are none."""

_READ_FOR_FILLERS: Final = 100
"""Words at a question's beginning; each is looked up in some fifteen dictionaries, a microsecond each."""

_LOOK_UP: Final = """
    leaders AS MATERIALIZED (
        SELECT lexeme, query, share FROM question
        WHERE share IS NULL OR lexeme = (SELECT lexeme FROM question ORDER BY share NULLS FIRST, nth LIMIT 1)
    ),
    units AS MATERIALIZED (
        SELECT lexeme, query, CASE WHEN share IS NULL THEN {looked_up} ELSE {looked_up} / 4 END AS most FROM leaders
        UNION ALL (
            SELECT lexeme, query && (SELECT string_agg(query::text, ' | ')::tsquery FROM leaders), {looked_up} / 2
            FROM question WHERE lexeme NOT IN (SELECT lexeme FROM leaders)
              AND (share <= {telling} OR (SELECT bool_and(share IS NOT NULL) FROM leaders))
            ORDER BY share, nth LIMIT {common_words}
        )
    ),
    places AS MATERIALIZED (
        SELECT u.lexeme, m.place, m.part FROM units u CROSS JOIN LATERAL (
            SELECT {place} FROM {source} WHERE {row_words} @@ u.query AND {condition} LIMIT u.most
        ) m WHERE NOT {directly} LIMIT {together}
    ),
    counts AS MATERIALIZED (SELECT lexeme, count(*) AS rows FROM places GROUP BY lexeme),
    estimates AS MATERIALIZED (
        SELECT q.lexeme, {idf_of_all} AS idf
        FROM question q LEFT JOIN counts c ON c.lexeme = q.lexeme
        CROSS JOIN LATERAL (SELECT coalesce(q.share * {rows}, c.rows, {looked_up}) AS found) f
    ),
    candidates AS MATERIALIZED (
        SELECT place, part, weight, row_number() OVER (ORDER BY rounded DESC, part, place) AS nth
        FROM (
            SELECT place, part, sum(idf) AS weight, (1e6 * sum(idf))::bigint AS rounded
            FROM places JOIN estimates USING (lexeme) GROUP BY place, part
            ORDER BY rounded DESC, part, place LIMIT {candidates}
        ) best
    ),
    sized AS MATERIALIZED (
        SELECT c.place, c.part, c.weight, c.nth, {hash} AS hash, {bytes} AS bytes,
               sum({bytes}) OVER (ORDER BY c.nth) AS together
        FROM candidates c {join}
    ),
    looked_up AS MATERIALIZED (
        SELECT c.place, c.part, c.hash, c.weight, c.bytes,
               CASE WHEN c.nth <= {anyhow} OR c.nth <= {read_rows} AND c.together <= {read_bytes} THEN {row_words} END
                   AS words
        FROM sized c {join}
    ),
"""

_DIRECTLY: Final = """
    split AS MATERIALIZED (
        SELECT {place}, {hash} AS hash, {bytes} AS bytes, {row_words} AS words FROM {source}
        WHERE {directly} AND {rows_directly}
    ),
"""

_RANK: Final = """
    texts AS MATERIALIZED ({texts}),
    weights AS MATERIALIZED ({weights}),
    phrases AS MATERIALIZED (
        SELECT phraseto_tsquery({regconfig}, {plain}) AS query, sum(w.idf) AS idf
        FROM unnest(%(compounds)s::text[]) AS compound
        CROSS JOIN LATERAL unnest({compound_words}) AS l JOIN weights w ON w.lexeme = l.lexeme
        GROUP BY compound HAVING count(*) > 1
    ),
    named AS MATERIALIZED (
        SELECT i.query FROM (
            SELECT phraseto_tsquery({regconfig}, {plain_identifier}) AS query
            FROM unnest(%(identifiers)s::text[]) AS identifier
        ) i WHERE (SELECT count(*) FROM texts WHERE words @@ i.query) <= {most_named}
    ),
    said AS MATERIALIZED (
        SELECT t.place, t.part, t.hash, EXISTS (SELECT FROM named WHERE t.words @@ named.query) AS is_named,
               CASE WHEN t.words IS NULL THEN t.weight ELSE coalesce(b.score, 0) + coalesce(p.score, 0) END AS score
        FROM texts t CROSS JOIN (SELECT greatest(avg(bytes), 1) AS bytes FROM texts) mean
        CROSS JOIN LATERAL (
            SELECT sum(w.idf * often * {k1_1} / (often + {k1} * ({b_1} + {b} * t.bytes / mean.bytes))) AS score
            FROM (
                SELECT idf, 0.6079271 / greatest(1 - ts_rank('{{1,1,1,1}}', t.words, query), 0.002) - 0.5 AS often
                FROM weights WHERE t.words @@ query
            ) w
        ) b
        LEFT JOIN LATERAL (SELECT sum(idf) AS score FROM phrases WHERE t.words @@ phrases.query) p ON true
    ),
    said_ranked AS MATERIALIZED (
        SELECT place, part, hash, is_named, row_number() OVER (ORDER BY round(score::numeric, 6) DESC, hash) AS rank
        FROM said ORDER BY rank
        LIMIT %(k)s
    )
"""


@dataclass(frozen=True, slots=True)
class WordLeg:
    """Looking for rows by words.

    Attributes:
        scope: among which rows.
        index: of the table's words.
        facts: of the table.
        has_index: whether rows are looked up by that index; else all of the scope are read, which must be few.
        wanted: rows to find.
    """

    scope: Scope
    index: WordIndex
    facts: Facts
    has_index: bool
    wanted: int

    def parameters(self, words: Words, common: Mapping[str, float]) -> dict[str, Any]:
        """The values of the statement.

        Args:
            words: of the question.
            common: shares of the rows that have the most common words of the table.
        """
        near = words.beginnings
        shares = {lexeme: share for lexeme, share in common.items() if lexeme[:2] in near}
        return {
            "words": words.text if self.index.is_unicode else words.as_asked,
            "compounds": list(words.compounds),
            "identifiers": list(words.identifiers),
            "common": list(shares),
            "shares": list(shares.values()),
        }

    @property
    def ctes(self) -> sql.Composed:
        """``every_word``, a query that a row fulfils which has all words; ``said_ranked``: place, part, hash, rank, and
        whether it is named.

        Named are rows that have an identifier of the question which hardly any others have.
        """
        parts: list[sql.Composable] = [
            sql.SQL(_QUESTION).format(
                vector=self.index.vector_of_question(sql.SQL("%(words)s::text")),
                fillers=sql.SQL(_FILLERS).format(
                    read=sql.Literal(_READ_FOR_FILLERS),
                    parts=self.index.vector_of(sql.SQL("compound")),
                    spelled=self.index.as_spelled(sql.SQL("lexeme")),
                )
                if self.index.is_as_it_is
                else sql.SQL(_NO_FILLERS),
                filler=sql.Literal(_FILLER),
                most=sql.Literal(_WORDS),
                telling=sql.Literal(_TELLING),
                rows=sql.Literal(float(self.facts.rows)),
                looked_up=sql.Literal(LOOKED_UP),
            )
        ]
        if self.has_index:
            parts.append(self._look_up())
        if self._may_split:
            parts.append(self._split())
        parts.append(self._rank())
        return sql.Composed(parts)

    @property
    def holds_all(self) -> sql.Composed:
        """True of rows ``k`` that have all words of the question."""
        return sql.SQL("coalesce({} @@ (SELECT query FROM every_word), false)").format(self.index.vector())

    @property
    def _may_split(self) -> bool:
        return bool(self.scope.few) or not self.has_index

    @property
    def _directly(self) -> sql.Composable:
        """True if all rows of the scope are read."""
        if self.scope.few:
            return self.scope.are_few(SPLIT_ROWS)
        return sql.SQL("false" if self.has_index else "true")

    def _look_up(self) -> sql.Composed:
        return sql.SQL(_LOOK_UP).format(
            place=self.scope.place,
            source=self.scope.source,
            row_words=self.index.vector(),
            condition=self.scope.scanned if self.scope.clauses else self.scope.condition,
            looked_up=sql.Literal(LOOKED_UP),
            together=sql.Literal(_LOOKED_UP_TOGETHER),
            telling=sql.Literal(_TELLING),
            common_words=sql.Literal(_COMMON_WORDS),
            directly=self._directly,
            idf_of_all=_idf(sql.SQL("f.found"), sql.Literal(float(self.facts.rows))),
            rows=sql.Literal(float(self.facts.rows)),
            candidates=sql.Literal(max(_READ_ROWS, self.wanted)),
            anyhow=sql.Literal(_READ_ANYHOW),
            read_rows=sql.Literal(_READ_ROWS),
            read_bytes=sql.Literal(_READ_BYTES),
            hash=self.scope.table.hash(),
            bytes=self.scope.table.text_bytes(),
            join=self.scope.joined("c"),
        )

    def _split(self) -> sql.Composed:
        return sql.SQL(_DIRECTLY).format(
            place=self.scope.place,
            hash=self.scope.table.hash(),
            bytes=self.scope.table.text_bytes(),
            row_words=self.index.vector(),
            source=self.scope.source,
            directly=self._directly,
            rows_directly=self.scope.is_chosen if self.scope.few else self.scope.condition,
        )

    def _rank(self) -> sql.Composed:
        split = sql.SQL("""
            SELECT place, part, hash, NULL::float8 AS weight, bytes, words FROM split
            WHERE words @@ (SELECT query FROM any_word)
        """)
        looked_up = sql.SQL("SELECT place, part, hash, weight, bytes, words FROM looked_up")
        rows = sql.SQL("(SELECT count(*) FROM split)")
        of_split = sql.SQL("""
            SELECT q.lexeme, q.query, {idf} AS idf FROM question q
            CROSS JOIN LATERAL (
                SELECT greatest(count(*), CASE WHEN q.is_filler THEN {filler} * {rows} END) AS found
                FROM texts WHERE words @@ q.query
            ) f WHERE {directly}
        """).format(idf=_idf(sql.SQL("f.found"), rows), filler=sql.Literal(_FILLER), rows=rows, directly=self._directly)
        of_all = sql.SQL("SELECT lexeme, query, idf FROM estimates JOIN question USING (lexeme) WHERE NOT {}").format(
            self._directly
        )
        both = [(split, of_split)] if self._may_split else []
        both += [(looked_up, of_all)] if self.has_index else []
        union = sql.SQL(" UNION ALL ")
        return sql.SQL(_RANK).format(
            texts=union.join(texts for texts, _ in both),
            weights=union.join(weights for _, weights in both),
            regconfig=self.index.regconfig,
            plain=self.index.plain(sql.SQL("compound")),
            compound_words=self.index.vector_of(sql.SQL("compound")),
            plain_identifier=self.index.plain(sql.SQL("identifier")),
            most_named=sql.Literal(_MOST_NAMED),
            k1=sql.Literal(_K1),
            k1_1=sql.Literal(_K1 + 1),
            b=sql.Literal(_B),
            b_1=sql.Literal(1 - _B),
        )


def _idf(found: sql.Composable, rows: sql.Composable) -> sql.Composed:
    """The weight of a word that is in ``found`` of ``rows``."""
    return sql.SQL("ln((1 + (greatest({rows}, {found}) - {found} + 0.5) / ({found} + 0.5))::float8)").format(
        rows=rows, found=found
    )
