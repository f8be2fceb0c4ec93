"""What earlier versions have loaded is taken over."""

from pathlib import Path

from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets_tests.support.loading import Loader, write


def test_what_earlier_versions_called_by_its_absolute_path_is_taken_over(load: Loader, tmp_path):
    docs = write(tmp_path / "docs", a="# A\n\ntext a", b="text b", gone="text gone")
    earlier(load, docs)
    load.embed()
    (docs / "gone.md").unlink()
    write(docs, new="new text")
    report = load(docs)
    counts = (report.taken_over, report.new, report.gone, report.reused, load.pending())
    assert counts == (2, 1, 1, 2, ["new text"])
    assert load.origins() == [f"{docs}/gone.md", "docs/a.md", "docs/b.md", "docs/new.md"]
    assert load(docs, prune=True, yes=True).pruned == 1
    assert load(docs).unchanged == 3


def test_a_single_file_of_earlier_versions_is_taken_over(load: Loader, tmp_path):
    docs = write(tmp_path / "docs", a="# A\n\ntext a", b="text b")
    earlier(load, docs)
    load.embed()
    assert load(docs / "a.md").taken_over == 1
    assert load.origins() == [f"{docs}/b.md", "docs/a.md"]
    assert load.pending() == []


def earlier(load: Loader, folder: Path) -> None:
    """Load a folder as earlier versions did."""
    from embedding_assets.documents.formats.reading import read_file
    from embedding_assets.documents.loading import load_documents

    found = (one for path in sorted(folder.iterdir()) for one in read_file(path, path.as_posix(), ReadOptions()))
    load_documents(load.database, found, load.splitter)
