"""Files and folders into the table: what is new, changed, renamed or gone since they were last loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.file_reader import FileReader
from embedding_assets.documents.finding import check_kind, find_files, is_wanted
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.found_file import FoundFile, LocalFile
from embedding_assets.documents.gone import Found, Gone, find_gone
from embedding_assets.documents.ignoring import Choice
from embedding_assets.documents.loading import LoadReport
from embedding_assets.documents.made_code import kind_of_code
from embedding_assets.documents.manner import Manner
from embedding_assets.documents.reading_ahead import Job, ReadAhead
from embedding_assets.documents.reading_outcome import Reading
from embedding_assets.documents.rejection import BlankRow, Rejection
from embedding_assets.documents.walking import WalkCounts
from embedding_assets.documents.writing import ChunkWriter
from embedding_assets.postgres.chunks import LoadedDocument, check_is_own
from embedding_assets.postgres.documents import (
    count_collection,
    find_documents,
    record_collection,
    record_loaded,
    record_mark,
)
from embedding_assets.postgres.locks import hold_alone
from embedding_assets.postgres.same_text import ensure_text_index
from embedding_assets.postgres.source_records import remove_documents

if TYPE_CHECKING:
    from embedding_assets.documents.file_state import FileState
    from embedding_assets.documents.root import Root
    from embedding_assets.documents.splitting import Splitter
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.documents import KnownDocument

_BATCH_FILES: Final = 256
_READINGS: Final = 3
_REMOVED_TOGETHER: Final = 500

LARGE_SHARE: Final = 0.2
"""Of a collection: more is not removed unasked."""

_FEW_CHUNKS: Final = 100
_FEW_DOCUMENTS: Final = 20
"""Where fewer go, of a file or as documents, nothing is asked, however small the collection."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How files are loaded.

    Attributes:
        read: how they are read.
        choice: which ones of a folder.
        prune: remove documents whose files are gone.
        yes: also where that is a large share of a collection, or of a file.
        accept_rejected: take what could be read of a file with rejected rows as all that is in it, and remove what else
            was loaded of it.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    choice: Choice = field(default_factory=Choice)
    prune: bool = False
    yes: bool = False
    accept_rejected: bool = False


def load_files(
    database: Database,
    roots: Sequence[Root],
    splitter: Splitter,
    options: LoadOptions,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    on_files: Callable[[int], None] = lambda _: None,
    on_reject: Callable[[Rejection], None] = lambda _: None,
) -> LoadReport:
    """Make the table hold the documents in these files and folders.

    A stop at any moment leaves every document as it was, complete, or recorded as one to go on with. A second load of
    the same collection waits.

    Args:
        database: where they go.
        roots: what to load.
        splitter: how texts become chunks.
        options: how files are loaded.
        on_progress: called with the number of chunks stored since the last call.
        on_files: called with the number of files that are done since the last call, whatever came of them.
        on_reject: called for whatever cannot be loaded.

    Raises:
        ConfigurationError: the table is one that somebody else fills.
        DocumentError: a file that was named is of a kind that is not read; nothing was loaded.
        DatabaseError: PostgreSQL refused.
    """
    check_is_own(database)
    for root in roots:
        check_kind(root, options.read)
    collections = {root.collection.name: root.collection for root in roots}
    with hold_alone(database, *(f"load {database.table.oid} {name}" for name in sorted(collections))):
        ensure_text_index(database)
        for collection in collections.values():
            record_collection(database, collection)
        load = _Load(database, splitter, options, ChunkWriter(database, on_progress, keep_stale=True), collections)
        load.on_files, load.on_reject = on_files, on_reject
        return load.run(roots)


class _Load:
    def __init__(
        self,
        database: Database,
        splitter: Splitter,
        options: LoadOptions,
        writer: ChunkWriter,
        collections: Iterable[str],
    ) -> None:
        self.on_files: Callable[[int], None] = lambda _: None
        self.on_reject: Callable[[Rejection], None] = lambda _: None
        self._database = database
        self._options = options
        self._reader = FileReader(splitter, options.read)
        self._writer = writer
        self._counts = WalkCounts()
        self._report = LoadReport()
        self._found = Found()
        self._manner = Manner(splitter, options.read)
        self._sizes = {name: count_collection(database, name) for name in collections}
        self._found.begun.update(name for name, (documents, _) in self._sizes.items() if not documents)

    def run(self, roots: Sequence[Root]) -> LoadReport:
        with ReadAhead(self._reader, self._is_to_load, self._fail) as ahead:
            for job, file in ahead.ready(chain.from_iterable(map(self._jobs, roots))):
                self._load(job, file)
                self.on_files(1)
        self._writer.flush()
        self._settle(roots)
        self._writer.finish()
        for name in self._sizes:
            record_loaded(self._database, name)
        report = self._report
        report.count(self._writer)
        report.other_kinds = dict(self._counts.other_kinds.most_common())
        report.left_out = dict(self._counts.left_out.most_common())
        return report

    def _jobs(self, root: Root) -> Iterator[Job]:
        """The files of a root that are to be loaded; others are counted."""
        before = self._counts.files
        read = self._options.read
        files = self._new(find_files(root, self._options.choice, lambda name: is_wanted(name, read), self._counts))
        while batch := list(islice(files, _BATCH_FILES)):
            self._found.collections.add(root.collection.name)
            yield from self._jobs_of(root, batch)
        if root.is_folder and self._counts.files == before and not self._counts.unread:
            self._reject([Rejection(root.origin, None, "holds no file to read")])

    def _new(self, found: Iterator[FoundFile | Rejection]) -> Iterator[FoundFile]:
        """The files that were not among those before; rejections are passed on."""
        for one in found:
            if isinstance(one, Rejection):
                self._found.seen.add(hash(one.source))
                self._reject([one])
            elif not self._found.has(one.origin):
                self._found.seen.add(hash(one.origin))
                yield one

    def _jobs_of(self, root: Root, batch: Sequence[FoundFile]) -> Iterator[Job]:
        states: list[tuple[FoundFile, FileState]] = []
        for file in batch:
            try:
                states.append((file, file.state()))
            except OSError as error:
                self._fail(file, error)
        known = find_documents(self._database, [file.origin for file, _ in states])
        for file, state in states:
            before = known.get(file.origin)
            if before is not None and self._is_loaded(before, state):
                self._count_unchanged(file.origin, before)
            elif not (isinstance(file, LocalFile) and self._is_made_by_tools(root, file)):
                yield Job(root, file, state, before)
            else:
                self.on_files(1)

    def _is_made_by_tools(self, root: Root, file: LocalFile) -> bool:
        """Whether a file of a folder turns out to be code that no person wrote; it is counted then."""
        if not root.is_folder or self._options.choice.all_files or self._options.read.format is not None:
            return False
        try:
            kind = kind_of_code(file.path)
        except OSError:
            return False  # that is rejected where it is read
        if kind is not None:
            self._counts.left_out[kind] += 1
        return kind is not None

    def _is_loaded(self, before: KnownDocument, state: FileState) -> bool:
        """Whether a file need not be read: it would give the same chunks, or the same ones and the same rejections.

        False where only fetching it can tell.
        """
        if not before.has_all_chunks:
            return False
        if not (before.digest or state.content or self._options.accept_rejected):
            return state.mark is not None and before.mark == self._manner.attempt(state.mark)
        is_same = state.mark is not None and state.mark == before.mark
        content = state.content or (before.content if is_same else None)
        if content is None:
            return False
        if before.digest or self._options.accept_rejected:
            return self._manner.gives_the_same(before, content)
        return before.content == self._manner.attempt(content)

    def _count_unchanged(self, origin: str, before: KnownDocument) -> None:
        self._report.documents += 1
        self._report.unchanged += 1
        self.on_files(1)
        self._report.rejected_before += before.rejected
        if not before.digest:
            self._found.failed.add(origin)

    def _fail(self, file: FoundFile, error: OSError) -> None:
        self._found.failed.add(file.origin)
        self.on_files(1)
        self._reject([_unreadable(file, error)])

    def _is_to_load(self, job: Job) -> bool:
        """Whether a file that was fetched is other than before; else its mark is kept, and it is counted."""
        if job.before is None or not self._is_loaded(job.before, job.state):
            return True
        mark = job.state.mark
        known = self._manner.attempt(mark) if mark is not None and not job.before.digest else mark
        record_mark(self._database, job.file.origin, known)
        self._count_unchanged(job.file.origin, job.before)
        return False

    def _load(self, job: Job, file: LocalFile) -> None:
        root, state, before = job.root, job.state, job.before
        if not isinstance(job.file, LocalFile) and self._is_made_by_tools(root, file):
            return
        self._writer.begin(file.origin, root.collection.name)
        for _ in range(_READINGS):
            reading = self._read(file)
            try:
                now = state if state.is_still_that_of(file.path) else file.state()
            except OSError as error:
                reading.reject(_unreadable(file, error))
                break
            if now.content == state.content:
                break
            state = now
        else:
            self._report.changing.append(file.origin)
            self._keep(root, file, reading)
            return
        self._record(root, file, reading, state.content, before)

    def _record(
        self, root: Root, file: LocalFile, reading: Reading, content: str, before: KnownDocument | None
    ) -> None:
        """Keep what came of a file that was read: as a document, as one that is not complete, or not at all."""
        self._report.blank_rows += reading.blank
        if not reading.is_of_nothing:
            self._reject(reading.rejections, reading.rejected)
        if not reading.hashes and not (before is not None and reading.is_of_nothing):
            self._pass_over(root, file, reading, before)
            return
        if reading.hashes and reading.rejected and not self._options.accept_rejected:
            self._keep(root, file, reading, content if reading.is_repeatable else None)
        elif before is not None and self._shrinks(root, before, content, len(reading.hashes)):
            self._report.shrunk.append(file.origin)
            self._keep(root, file, reading)
        else:
            digest, hashes, name = self._manner.digest(content), reading.hashes, root.collection.name
            rejected = reading.rejected if hashes else 0
            document = LoadedDocument(file.origin, digest, hashes, name, content, mark=file.mark, rejected=rejected)
            self._writer.add([], document)
        self._report.documents += 1
        is_new = before is None or not (before.digest or before.chunks)
        self._report.new += is_new
        (self._found.new if is_new else self._found.changed).add(hash(file.origin))
        self._report.changed += not is_new

    def _pass_over(self, root: Root, file: LocalFile, reading: Reading, before: KnownDocument | None) -> None:
        """Count a file of which nothing was read; what it had before stays."""
        if reading.is_of_nothing:
            self._report.empty += 1
        else:
            self._report.rejected_files += 1
            self._found.failed.add(file.origin)
        if before is None:
            self._writer.abandon()
        else:
            self._keep(root, file, reading)

    def _read(self, file: LocalFile) -> Reading:
        reading = Reading()
        for portion in self._reader.read(file.path, file.origin):
            chunks = []
            for one in portion:
                if not isinstance(one, Rejection):
                    chunks.append(one)
                elif isinstance(one, BlankRow):
                    reading.blank += 1
                elif not reading.reject(one):
                    self.on_reject(one)
            reading.hashes.update(chunk.chunk_hash for chunk in chunks)
            self._report.chunks += len(chunks)
            self._writer.add(chunks)
        if reading.blank and not (reading.hashes or reading.rejected):
            # Rather the wrong column than a file that was emptied.
            reading.reject(Rejection(file.origin, None, "has rows, but none with a text; --text-column names another"))
        return reading

    def _keep(self, root: Root, file: LocalFile, reading: Reading, content: str | None = None) -> None:
        """Record a document of which nothing is removed, and which the next load reads again unless it is as it was.

        Args:
            root: where it was found.
            file: what was read.
            reading: what came of it.
            content: digest of its bytes; None if the same bytes may give something else the next time.
        """
        self._found.failed.add(file.origin)
        attempt = mark = None
        if content is not None:
            attempt = self._manner.attempt(content)
            mark = None if file.mark is None else self._manner.attempt(file.mark)
        hashes, name = reading.hashes, root.collection.name
        document = LoadedDocument(file.origin, "", hashes, name, attempt, mark=mark, rejected=reading.rejected)
        self._writer.add([], document)

    def _shrinks(self, root: Root, before: KnownDocument, content: str, chunks: int) -> bool:
        """Whether a file has lost so much that it may be half of what it should be."""
        lost = before.chunks - chunks
        return (
            not self._options.yes
            and before.content != content
            and lost >= _FEW_CHUNKS
            and lost > LARGE_SHARE * self._sizes[root.collection.name][1]
        )

    def _reject(self, rejections: Sequence[Rejection], count: int | None = None) -> None:
        self._report.rejected += len(rejections) if count is None else count
        for rejection in rejections:
            self.on_reject(rejection)

    def _settle(self, roots: Sequence[Root]) -> None:
        """Find what is gone or renamed, and remove what may be."""
        gone = Gone()
        self._found.unread += self._counts.unread
        for root in roots:
            find_gone(self._database, root, self._found, gone)
        report = self._report
        origins = list(chain.from_iterable(gone.gone.values()))
        report.renamed, report.taken_over, report.gone = len(gone.renamed), len(gone.taken_over), len(origins)
        report.new = max(0, report.new - report.renamed - report.taken_over)
        self._remove(gone.renamed)
        self._remove(gone.taken_over)
        if not self._options.prune:
            return
        is_large = any(self._is_large(name, some, gone.earlier[name]) for name, some in gone.gone.items())
        report.prune_refused = is_large and not self._options.yes
        if not report.prune_refused:
            self._remove(origins)
            report.pruned = report.gone

    def _is_large(self, collection: str, origins: Sequence[str], earlier: int) -> bool:
        """Whether so much of a collection goes that it has to be asked about; whatever goes of an empty mount does."""
        if len(origins) <= LARGE_SHARE * (self._sizes[collection][0] + earlier):
            return False
        if len(origins) >= _FEW_DOCUMENTS or collection not in self._found.collections:
            return True
        return sum(one.chunks for one in find_documents(self._database, origins).values()) >= _FEW_CHUNKS

    def _remove(self, origins: Sequence[str]) -> None:
        for start in range(0, len(origins), _REMOVED_TOGETHER):
            self._report.removed += remove_documents(self._database, origins[start : start + _REMOVED_TOGETHER])


def _unreadable(file: FoundFile, error: OSError) -> Rejection:
    return Rejection(file.origin, None, f"cannot be read: {error.strerror}")
