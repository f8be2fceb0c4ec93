"""Reading judged questions: JSONL of our own, TREC's qrels, a folder in BEIR's form."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.judgements import JudgedQuestion, Judgement, headings_of, plain, question_id

_MOST_NAMED: Final = 10
"""Broken lines that a message names."""

_FIELDS: Final = {"source", "heading", "key", "text", "grade"}


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """What was read.

    Attributes:
        questions: those by which something can be measured.
        unanswered: questions left out because nothing is judged to answer them.
        drafts: questions left out because their lines say that they are drafts, which no person has judged.
    """

    questions: tuple[JudgedQuestion, ...]
    unanswered: int
    drafts: int = 0


def read_questions(path: Path, *, qrels: Path | None = None, split: str = "test") -> QuestionFile:
    """Judged questions of a file, or of a folder in BEIR's form.

    Args:
        path: JSONL with ``query`` and ``relevant``; with ``qrels`` questions alone, as JSONL or tab-separated; a folder
            with ``queries.jsonl`` and ``qrels/SPLIT.tsv``.
        qrels: judgements as TREC or BEIR write them.
        split: which of a folder's qrels.

    Raises:
        ConfigurationError: a file cannot be read, lines of it are broken, which the message names, or nothing in it is
            judged.
    """
    drafts = 0
    if path.is_dir():
        qrels = qrels or path / "qrels" / f"{split}.tsv"
        path = path / "queries.jsonl"
    if qrels is None:
        lines = _read_lines(path, _judged_question)
        _refuse_twice(path, [question for question, _ in lines])
        questions = [question for question, is_draft in lines if not is_draft]
        drafts = len(lines) - len(questions)
        if drafts and not questions:
            raise ConfigurationError(
                f"{path} has nothing but drafts ({drafts:,}): put each question as people ask it, judge what answers "
                'it, and take out its "draft"'
            )
    else:
        texts = dict(_read_lines(path, _bare_question))
        judged: dict[str, dict[str, Judgement]] = {}
        for question, judgement in _read_lines(qrels, _qrel, skip=_is_head):
            if question not in texts:
                raise ConfigurationError(f"{qrels} judges question {question!r}, which {path} does not have")
            judged.setdefault(question, {})[judgement.document] = judgement
        questions = [JudgedQuestion(id_, texts[id_], tuple(found.values())) for id_, found in judged.items()]
    answered = tuple(question for question in questions if question.has_answer)
    if not answered:
        raise ConfigurationError(f"{qrels or path} has no question with a judgement above 0")
    return QuestionFile(answered, len(questions) - len(answered), drafts)


def _read_lines(
    path: Path, parse: Callable[[str, int], Any], skip: Callable[[str, int], bool] = lambda _line, _number: False
) -> list[Any]:
    """What ``parse`` makes of each line that is not blank; broken ones are refused together."""
    found: list[Any] = []
    broken: list[str] = []
    for number, line in _lines(path):
        if not line.strip() or skip(line, number):
            continue
        try:
            found.append(parse(line, number))
        except ValueError as error:
            broken.append(f"line {number}: {error}")
    if broken:
        more = f"\nand {len(broken) - _MOST_NAMED:,} more" if len(broken) > _MOST_NAMED else ""
        raise ConfigurationError(f"{path} has broken lines:\n" + "\n".join(broken[:_MOST_NAMED]) + more)
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline=None) as stream:
            yield from enumerate(stream, start=1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8") from None


def _judged_question(line: str, _: int) -> tuple[JudgedQuestion, bool]:
    """The question, and whether it is a draft."""
    row = _json_object(line)
    is_draft = row.get("draft", False)
    if not isinstance(is_draft, bool):
        raise ValueError("has a 'draft' that is neither true nor false")
    text = _text(row, "query")
    relevant = row.get("relevant")
    if not isinstance(relevant, list) or not relevant:
        raise ValueError("has no list of judgements called 'relevant'")
    own = row.get("id")
    judgements = [_judgement(item) for item in relevant]
    places = [(j.document, j.headings, j.fields, j.text) for j in judgements]
    if len(set(places)) < len(places):
        raise ValueError("judges one place twice")
    id_ = question_id(text) if own in (None, "") else str(own)
    return JudgedQuestion(id_, text, tuple(judgements)), is_draft


def _judgement(item: Any) -> Judgement:
    if not isinstance(item, dict):
        raise ValueError('has a judgement that is not an object such as {"source": "guide.md"}')
    if unknown := sorted(set(item) - _FIELDS):
        raise ValueError(f"has a judgement with {unknown[0]!r}; known are {', '.join(sorted(_FIELDS))}")
    grade = item.get("grade", 1)
    if isinstance(grade, bool) or not isinstance(grade, int) or not 0 <= grade <= 1000:
        raise ValueError("has a grade that is not a whole number from 0 to 1000")
    source, heading, text = (_text(item, name) if name in item else "" for name in ("source", "heading", "text"))
    document, fields = _key(item["key"]) if "key" in item else ("", ())
    if source and document:
        raise ValueError("has a judgement with both a source and a key")
    if not (source or document or fields):
        raise ValueError("has a judgement with neither a source nor a key")
    return Judgement(source or document, headings_of(heading), fields, plain(text), grade)


def _key(value: Any) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A row's key as its source shows it, or fields by which to find it."""
    if isinstance(value, dict) and value:
        return "", tuple((str(name), _scalar(item)) for name, item in sorted(value.items()))
    if isinstance(value, list) and value:
        return ", ".join(map(_scalar, value)), ()
    return _scalar(value), ()


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) and str(value).strip():
        return str(value)
    raise ValueError("has a key that is no text, number, list or object of them")


def _bare_question(line: str, _: int) -> tuple[str, str]:
    """Of BEIR ``{"_id": …, "text": …}``, else an id, a tab, and the question."""
    if line.lstrip().startswith("{"):
        row = _json_object(line)
        own = row.get("_id", row.get("id"))
        if own in (None, ""):
            raise ValueError("has no '_id'")
        return str(own), _text(row, "text" if "text" in row else "query")
    own, tab, text = line.partition("\t")
    if not tab or not own.strip() or not text.strip():
        raise ValueError("is neither a JSON object nor an id, a tab and a question")
    return own.strip(), text.strip()


def _is_head(line: str, number: int) -> bool:
    """Whether it names columns, as BEIR's first line does."""
    return number == 1 and line.rsplit(maxsplit=1)[-1] in ("score", "relevance", "rel")


def _qrel(line: str, _: int) -> tuple[str, Judgement]:
    """Of TREC ``question 0 document grade``, of BEIR three columns with tabs between them."""
    parts = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE)) if "\t" in line else line.split()
    parts = [part.strip() for part in parts]
    if len(parts) not in (3, 4) or not all(parts):
        raise ValueError("is not a judgement: question, iteration, document, grade; or question, document, grade")
    try:
        grade = int(parts[-1])
    except ValueError:
        raise ValueError("has a grade that is not a whole number") from None
    # Some collections write -1 or -2 for what is spam.
    return parts[0], Judgement(parts[-2], grade=max(0, grade))


def _json_object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    return row


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"has no text in {name!r}")
    return value.strip()


def _refuse_twice(path: Path, questions: list[JudgedQuestion]) -> None:
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise ConfigurationError(f"{path} has two questions with the id {question.id!r}, or one question twice")
        seen.add(question.id)
