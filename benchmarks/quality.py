"""How good answers are, by judged questions: words, vectors, both; beside exact search in float32; and by splitting.

The default model must be cached: `embedding-assets fetch-model`. Needs the extra `evaluate`. Collections come from a
package on the index, or from folders in BEIR's form. Run: make bench-quality
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from api import create_database
from judged import Collection, folder_collection, packaged_collections
from numpy.typing import NDArray
from pydantic import SecretStr
from report import Aim, Result, Row, publish
from servers import own_server

from embedding_assets.config import HeaderChoice, Settings
from embedding_assets.documents.document import Document
from embedding_assets.documents.loading import configured_splitter, load_documents
from embedding_assets.evaluation.measuring import Measured, Way, evaluate
from embedding_assets.evaluation.metrics import MRR, NDCG, Estimate, difference, measure, recall_at
from embedding_assets.models import DocumentMetadata
from embedding_assets.pipeline.run import embed_pending
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.places import read_places
from embedding_assets.postgres.schema import migrate
from embedding_assets.retrieval import Searcher

MODES = ("text", "vector", "hybrid")


@dataclass(frozen=True)
class Splitting:
    """How documents become chunks."""

    tokens: int = 256
    overlap: int = 0
    header: HeaderChoice = "all"

    def __str__(self) -> str:
        overlap = f", overlap {self.overlap}" if self.overlap else ""
        header = {"all": "", "none": ", without header"}.get(self.header, f", header {self.header}")
        return f"chunks of {self.tokens}{overlap}{header}"


OTHERS = (Splitting(128), Splitting(384), Splitting(128, 32), Splitting(256, 64), Splitting(256, header="none"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, action="append", help="in BEIR's form; instead of the package's")
    parser.add_argument("--archives", type=Path, help="where the package's archive lies or goes; default: nowhere")
    parser.add_argument("--no-splitting", action="store_true", help="the default splitting alone")
    parser.add_argument(
        "--header", choices=get_args(HeaderChoice), default="all", help="what is embedded in front of a chunk, at first"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, own_server() as server:
        if arguments.folder:
            collections = [folder_collection(folder) for folder in arguments.folder]
        else:
            collections = packaged_collections(arguments.archives or Path(temporary))
        others = () if arguments.no_splitting else OTHERS
        publish(compared(server, collections, others, Splitting(header=arguments.header)))


def compared(
    server: str, collections: Sequence[Collection], others: Sequence[Splitting], first: Splitting = Splitting()
) -> Result:
    """Every collection as it is by default, beside exact search; then split otherwise."""
    rows: list[Row] = []
    aims: list[Aim] = []
    facts: dict[str, Any] = {"collections": {}, "splitting": {}}
    by_default: dict[str, dict[str, Measured]] = {}
    for collection in collections:
        with filled(server, collection, first) as (settings, database):
            found = {mode: asked(settings, database, collection, mode) for mode in MODES}
            chunks, reranked = texts_of(database), settings.rerank.is_set
            if reranked:
                found["hybrid, reranked"] = asked(settings, database, collection, "hybrid", rerank=True)
        entire = [(id_, f"{title}\n{text}") for id_, (title, text) in collection.documents.items()]
        vectors = vectors_of([text for _, text in (*entire, *chunks)])
        whole, same = exact(collection, entire, vectors), exact(collection, chunks, vectors)
        rows += [described(f"{collection.name}: {mode}", one, mode == "hybrid") for mode, one in found.items()]
        if not reranked:
            rows.append(Row(f"{collection.name}: hybrid, reranked", [], note="no cross-encoder is configured: not run"))
        for label, values in (("whole texts", whole), ("the same chunks", same)):
            rows.append(
                described_values(f"{collection.name}: sentence-transformers in float32, exact, {label}", values)
            )
        ndcg = {mode: one.estimates[NDCG].value for mode, one in found.items()}
        aims += aims_of(collection, ndcg, mean(whole[NDCG]), mean(same[NDCG]))
        facts["collections"][collection.name] = {
            "about": collection.about,
            "documents": len(collection.documents),
            "chunks": len(chunks),
            "questions": len(collection.questions),
        }
        by_default[collection.name] = found
    for collection in collections:
        for splitting in others:
            with filled(server, collection, splitting) as (settings, database):
                found = {mode: asked(settings, database, collection, mode) for mode in ("vector", "hybrid")}
                chunks = texts_of(database)
            changes = {mode: change(by_default[collection.name][mode], one) for mode, one in found.items()}
            rows.append(split_otherwise(f"{collection.name}: hybrid, {splitting}", found, changes))
            facts["splitting"].setdefault(str(splitting), {})[collection.name] = {
                "chunks": len(chunks),
                **{mode: rounded(estimate) for mode, estimate in changes.items()},
            }
    return Result(
        name="quality",
        title="Answers to judged questions, the default model",
        unit="nDCG@10",
        rows=rows,
        aims=aims,
        facts=facts,
    )


def aims_of(collection: Collection, ndcg: dict[str, float], whole: float, same: float) -> list[Aim]:
    """Hybrid against its legs, our whole path against exact search."""
    name, better = collection.name, max(ndcg["text"], ndcg["vector"])
    aims = [Aim(f"{name}: hybrid above its better leg", ndcg["hybrid"] - better, -0.01)]
    if collection.technical:
        aims.append(Aim(f"{name}: hybrid above vectors alone, %", 100 * (ndcg["hybrid"] / ndcg["vector"] - 1), 5))
    for label, exactly in (("whole texts", whole), ("the same chunks", same)):
        lost = round(100 * (1 - ndcg["vector"] / exactly), 3) if exactly else math.nan
        aims.append(Aim(f"{name}: vectors lose to exact search of {label}, %", lost, 0.5, at_most=True))
    return aims


@contextmanager
def filled(server: str, collection: Collection, splitting: Splitting) -> Iterator[tuple[Settings, Database]]:
    """A database of its own with the collection, embedded and indexed."""
    url = create_database(
        server, f"quality_{collection.name}_{splitting.tokens}_{splitting.overlap}_{splitting.header}".lower()
    )
    settings = Settings().with_group("database", url=SecretStr(url))
    settings = settings.with_embedding(
        chunk_tokens=splitting.tokens, chunk_overlap=splitting.overlap, chunk_header=splitting.header
    )
    with open_database(settings) as database:
        migrate(database)
        documents = [
            Document(DocumentMetadata(source=id_, title=title), text, markdown=False, context_header=title)
            for id_, (title, text) in collection.documents.items()
        ]
        load_documents(database, documents, configured_splitter(settings, database))
        embed_pending(settings, database=database)
        database.run(lambda connection: connection.execute("ANALYZE knowledge_base"))
        yield settings, database


def asked(
    settings: Settings, database: Database, collection: Collection, mode: str, *, rerank: bool = False
) -> Measured:
    """All questions, in the one space there is."""
    from embedding_assets.evaluation.recording import serving_space

    way = Way(serving_space(database).space.name, mode, settings.index.ef_search, rerank)  # type: ignore[arg-type]
    with Searcher(settings, database=database) as searcher:
        return evaluate(searcher, collection.questions, way)


def texts_of(database: Database) -> list[tuple[str, str]]:
    """Source and text of every chunk, as it is embedded."""
    found: list[tuple[str, str]] = []
    read_places(database, lambda one: found.append((one.source, f"{one.header}\n{one.text}".strip())), with_text=True)
    return found


def exact(
    collection: Collection, texts: Sequence[tuple[str, str]], vectors: Mapping[str, NDArray[np.float32]]
) -> dict[str, dict[str, float]]:
    """Metric → question → value of exact search, the best text of a document counting for it.

    Args:
        collection: asks.
        texts: id of the document, and the text.
        vectors: of each text.
    """
    documents = np.stack([vectors[text] for _, text in texts])
    questions = encoded([question.text for question in collection.questions], query=True)
    rankings, grades = {}, {}
    for question, vector in zip(collection.questions, questions, strict=True):
        order = np.argsort(-(documents @ vector), kind="stable")
        rankings[question.id] = list(dict.fromkeys(texts[position][0] for position in order))[:100]
        grades[question.id] = {judgement.document: judgement.grade for judgement in question.judgements}
    return measure(rankings, grades)


def vectors_of(texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Each text once: a document that is one chunk is the same text as a whole."""
    different = list(dict.fromkeys(texts))
    return dict(zip(different, encoded(different), strict=True))


def encoded(texts: list[str], *, query: bool = False) -> NDArray[np.float32]:
    """Vectors by sentence-transformers, shape (texts, dimensions)."""
    from sentence_transformers import SentenceTransformer
    from texts import MAX_TOKENS, default_model_folder

    folder = default_model_folder()
    if folder is None:
        raise SystemExit("fetch the default model first: embedding-assets fetch-model")
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_TOKENS
    vectors: NDArray[np.float32] = (model.encode_query if query else model.encode_document)(texts, batch_size=4)
    return vectors


def mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def described(label: str, measured: Measured, ours: bool) -> Row:
    found = measured.estimates
    note = f"{found[NDCG].low:.3f} to {found[NDCG].high:.3f}, recall@10 {found[recall_at(10)].value:.3f}, "
    return Row(label, [found[NDCG].value], note=f"{note}MRR {found[MRR].value:.3f}", ours=ours)


def change(before: Measured, after: Measured) -> Estimate:
    """The change of nDCG@10, question by question."""
    return difference(before.questions[NDCG], after.questions[NDCG])


def rounded(estimate: Estimate) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(estimate).items()}


def split_otherwise(label: str, found: dict[str, Measured], changes: dict[str, Estimate]) -> Row:
    """A splitting beside the default one, by the change from it and the interval of that."""
    said = {mode: f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})" for mode, one in changes.items()}
    note = f"from the default: {said['hybrid']}; vectors alone {said['vector']}"
    return Row(label, [found["hybrid"].estimates[NDCG].value], note=note)


def described_values(label: str, values: dict[str, dict[str, float]]) -> Row:
    note = f"recall@10 {mean(values[recall_at(10)]):.3f}, MRR {mean(values[MRR]):.3f}"
    return Row(label, [mean(values[NDCG])], note=note)


if __name__ == "__main__":
    main()
