"""Documents whose files are gone, where several folders are loaded at once."""

from __future__ import annotations

from embedding_assets_tests.support.loading import write


def test_an_empty_mount_beside_a_larger_folder_is_not_pruned_unasked(load, tmp_path):
    large = write(tmp_path / "large", **{f"a{number}": f"text {number}" for number in range(30)})
    small = write(tmp_path / "small", **{f"b{number}": f"other {number}" for number in range(5)})
    load(large, small)
    for file in small.iterdir():
        file.unlink()
    report = load(large, small, prune=True)
    assert (report.gone, report.pruned, report.prune_refused, len(load.rows())) == (5, 0, True, 35)
    assert load(large, small, prune=True, yes=True).pruned == 5


def test_a_little_of_each_folder_is_pruned(load, tmp_path):
    folders = [write(tmp_path / name, a=f"{name} a", b=f"{name} b") for name in ("one", "two")]
    load(*folders)
    for folder in folders:
        (folder / "a.md").unlink()
    report = load(*folders, prune=True)
    assert (report.gone, report.pruned, load.rows()) == (2, 2, ["one b", "two b"])
