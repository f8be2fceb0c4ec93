"""This package's reading and splitting, as ``embedding-assets load`` does it, without what it stores."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from embedding_assets.config import get_settings
from embedding_assets.documents.file_reader import FileReader
from embedding_assets.documents.file_reading import Portion, read_portions
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.splitting import Splitter
from embedding_assets.models import embedded_text
from peers.loading import Job, Ways, serve_loading


def prepare_ways(job: Job) -> Ways:
    splitter = Splitter(
        job.read_tokenizer(),
        chunk_tokens=job.chunk_tokens,
        chunk_overlap=0,
        header=get_settings().embedding.chunk_header,
    )
    options = ReadOptions()

    def side_by_side(folder: Path) -> list[str]:
        files = files_of(folder)
        with FileReader(splitter, options) as reader:
            for file in files:
                reader.announce(file, file.name)
            return [text for file in files for portion in reader.read(file, file.name) for text in texts_of(portion)]

    def alone(folder: Path) -> list[str]:
        portions = chain.from_iterable(read_portions(file, file.name, options, splitter) for file in files_of(folder))
        return [text for portion in portions for text in texts_of(portion)]

    # Processes of its own stand back by themselves.
    return dict.fromkeys(job.formats, alone if job.niceness else side_by_side)


def files_of(folder: Path) -> list[Path]:
    """All files in a folder and those below it."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def texts_of(portion: Portion) -> list[str]:
    """The chunks as they would be embedded."""
    texts = []
    for one in portion:
        if isinstance(one, Rejection):
            raise TypeError(f"rejected: {one}")
        texts.append(embedded_text(one.context_header, one.chunk_text))
    return texts


if __name__ == "__main__":
    serve_loading(prepare_ways, "pypdf", "python-docx", "selectolax", "semantic-text-splitter", "tokenizers")
