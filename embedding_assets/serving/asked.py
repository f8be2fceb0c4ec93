"""A question as a request asks it: checked, and turned into the question that is answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.retrieval import Question, SearchMode
from embedding_assets.retrieval.question import MOST_CONTEXT, MOST_RESULTS
from embedding_assets.serving.problems import Problem

MOST_BODY_BYTES: Final = 256 * 1024

MOST_QUERY_CHARACTERS: Final = 10_000
"""Of which a model reads the first few thousand at most."""

MOST_CONDITIONS: Final = 50

_IN_PYDANTICS_WORDS: Final = re.compile(r"^(Input|Value|String|List|Tuple|Data) (?=should )| after validation")


def _lists(value: object) -> object:
    return value if isinstance(value, list | tuple | dict) else [value]


class Asked(BaseModel):
    """A question of ``POST /search``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(
        min_length=1,
        max_length=MOST_QUERY_CHARACTERS,
        description="In plain words, or an identifier.",
        examples=["How do I take a lock without blocking?"],
    )
    k: int = Field(5, ge=1, le=MOST_RESULTS, description="How many chunks.")
    mode: SearchMode | None = Field(
        None, description="By what chunks are ranked. Default: as `embedding-assets search`."
    )
    where: Annotated[list[str] | dict[str, Any], BeforeValidator(_lists), Field(max_length=MOST_CONDITIONS)] = Field(
        [],
        description="What must hold of each chunk: conditions such as `lang=en` or `price<10`, or an object of fields "
        "and the values that they must have: one, any of a list, null for a field that is not there, or an object of "
        "fields within it.",
        examples=[["lang=en"], {"lang": "en"}, {"page": {"number": 3}}],
    )
    min_score: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Least similarity, such as `high` of an answer's `random_scores`; chunks that hold every word of "
        "the question need not have it where those words are rare.",
    )
    context: int = Field(
        0, ge=0, le=MOST_CONTEXT, description="Neighbours within the document to show on either side of a chunk."
    )
    rerank: bool = Field(False, description="Whether the configured reranker puts the first chunks in order.")
    compare: bool = Field(True, description="Whether to say how chunks picked at random score.")
    space: str | None = Field(None, description="Name of the vector space to ask in. Default: the one that serves.")
    ef_search: int | None = Field(None, ge=1, le=1000, description="How thoroughly the index is searched.")

    def question(self) -> Question:
        """The question.

        Raises:
            ConfigurationError: it is blank, a condition is none, or there are too many.
        """
        where = conditions_of(self.where)
        if len(where) > MOST_CONDITIONS:
            raise ConfigurationError(f"where has {len(where):,} conditions, but there may be {MOST_CONDITIONS} at most")
        given = {name: getattr(self, name) for name in self.model_fields_set - {"query", "where"}}
        given["compare"] = self.compare
        options = {name: value for name, value in given.items() if value is not None}
        return Question(self.query, where=where, **options)


def asked_by(**values: Any) -> Question:
    """The question of a caller in this process; None: left out.

    Raises:
        Problem: it is none.
        ConfigurationError: it is blank, or a condition is none.
    """
    try:
        return Asked.model_validate({name: value for name, value in values.items() if value is not None}).question()
    except ValidationError as error:
        raise _refused(error) from None


def asked_in_json(body: bytes) -> Question:
    """The question of a request's body.

    Raises:
        Problem: it is none.
        ConfigurationError: it is blank, or a condition is none.
    """
    try:
        return Asked.model_validate_json(body).question()
    except ValidationError as error:
        raise _refused(error) from None


def asked_in_address(parameters: Iterable[tuple[str, str]]) -> Question:
    """The question of an address, ``?q=…&k=3&where=lang=en``.

    Raises:
        Problem: it is none.
        ConfigurationError: it is blank, or a condition is none.
    """
    values: dict[str, str | list[str]] = {}
    where: list[str] = []
    for name, value in parameters:
        field = "query" if name == "q" else name
        if field == "where":
            where.append(value)
        elif field in values:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{name} is given twice")
        else:
            values[field] = value
    if where:
        values["where"] = where
    try:
        return Asked.model_validate(values, strict=False).question()
    except ValidationError as error:
        raise _refused(error, {"query": "q"}) from None


def faults_of(error: ValidationError) -> dict[str, str]:
    """Field → what is wrong with it, without what was given: ``is missing``, ``should be a valid integer``."""
    faults: dict[str, str] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        said = "is missing" if item["type"] == "missing" else _IN_PYDANTICS_WORDS.sub("", item["msg"])
        faults.setdefault(str(item["loc"][0]) if item["loc"] else "body", said)
    return faults


def _refused(error: ValidationError, names: Mapping[str, str] | None = None) -> Problem:
    fields = {(names or {}).get(field, field): fault for field, fault in faults_of(error).items()}
    return Problem(HTTPStatus.BAD_REQUEST, "the question is not one; see errors", fields=fields)
