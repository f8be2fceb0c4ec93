"""`load`, `documents` and `forget`, as a person uses them."""

import io
import json
import signal
import subprocess
import sys

import pytest

from embedding_assets.cli import console
from embedding_assets.cli.documents import load_line, load_view
from embedding_assets.documents import finding
from embedding_assets.documents.loading import LoadReport
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.loading import write
from embedding_assets_tests.support.stores import status


@pytest.fixture
def docs(tmp_path):
    return write(tmp_path / "docs", **{f"n{number}": f"# T\n\ntext {number}" for number in range(30)})


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (LoadReport(1, new=1, added=1), "Loaded 1 document (1 new), 1 chunk added, 0 removed."),
        (LoadReport(), "Loaded 0 documents, 0 chunks added, 0 removed."),
        (
            LoadReport(1200, 7, 3400, 3000, 2, 5, new=1000, changed=193),
            "Loaded 1,200 documents (1,000 new, 193 changed, 7 unchanged), 3,000 chunks added, 2 removed, "
            "[yellow]5 rejected[/yellow].",
        ),
        (
            LoadReport(rejected=5, rejected_files=2),
            "Loaded 0 documents, 0 chunks added, 0 removed, [yellow]5 rejected (2 whole files)[/yellow].",
        ),
    ],
)
def test_what_loading_did(report, line):
    assert load_line(report) == line


def test_what_loading_left_is_said():
    report = LoadReport(
        3, rejected=1, rejected_before=2, empty=1, added=5, reused=4, renamed=1, taken_over=2, gone=3, kept=7,
        shrunk=["c/[red].md"], changing=["c/\n.md"],
        left_out={"node_modules": 2, ".gitignore": 1}, other_kinds={f".k{n}": 1 for n in range(14)},
    )  # fmt: skip
    assert load_view(report).splitlines()[1:] == [
        "4 chunks kept the vector of the same text.",
        "1 document renamed.",
        "2 documents known by absolute paths got the names that they have now.",
        "[yellow]3 documents gone, and still found by searches.[/yellow] To remove them: --prune",
        "[yellow]c/\\[red].md lost so much that none of it was removed.[/yellow] If that is right: --yes",
        "[yellow]c/␊.md changed while it was read, and is left to the next load.[/yellow]",
        "7 chunks kept of files that were not whole or had rejected parts. To remove them: --accept-rejected",
        "2 rows of unchanged documents rejected as before; `embedding-assets documents COLLECTION` shows of which.",
        "1 empty file.",
        "Left out: node_modules (2), .gitignore (1).",
        "Of other kinds: " + ", ".join(f".k{n} (1)" for n in range(12)) + ", others (2).",
        "Next: [bold]embedding-assets embed[/bold]",
    ]
    assert "Next" not in load_view(LoadReport(added=4, reused=4))


def test_a_folder_that_moves_shrinks_and_is_forgotten(run, settings, docs, tmp_path, monkeypatch):
    code, out, err = run("load", docs)
    assert (code, out.splitlines()[0]) == (0, "Loaded 30 documents (30 new), 30 chunks added, 0 removed.")
    moved = docs.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    moved = moved.rename(tmp_path / "elsewhere/docs")
    assert run("load", moved)[1] == "Loaded 30 documents (30 unchanged), 0 chunks added, 0 removed.\n"

    for number in range(23):
        (moved / f"n{number}.md").unlink()
    assert "23 documents gone, and still found" in run("load", moved)[1]
    code, out, _ = run("load", moved, "--prune")
    assert (code, "more than a fifth of a collection: none was removed" in out) == (1, True)
    report = json.loads(run("load", moved, "--prune", "--yes", "--json")[1])
    assert (report["pruned"], report["removed"], report["collections"]) == (23, 23, ["docs"])

    code, out, _ = run("documents")
    assert (code, out.splitlines()[1].split()[:4]) == (0, ["docs", "7", "7", "0"])
    [collection] = json.loads(run("documents", "--json")[1])
    assert {"name": "docs", "documents": 7, "chunks": 7, "incomplete": 0, "root": str(moved)}.items() <= (
        collection.items()
    )
    listed = json.loads(run("documents", "docs", "--json")[1])
    assert [one["origin"] for one in listed] == [f"docs/n{number}.md" for number in range(23, 30)]
    assert "docs/n23.md" in run("documents", "docs/n23.md")[1]
    for options in ([], ["--json"]):
        assert run("documents", "docs", "--limit", 2, *options)[2] == "Only the first 2; --limit shows more.\n"
        assert run("documents", "docs", "--limit", 7, *options)[2] == "", "those are all"

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, _, err = run("forget", "docs/n23.md")
    assert (code, "1 document and 1 chunk of docs/n23.md will go" in err) == (1, True)
    assert "--yes" not in err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = run("forget", "docs/n23.md")
    assert (code, "There is no terminal to ask; --yes answers." in err) == (1, True)
    assert run("forget", "docs/n23.md", "--yes")[:2] == (0, "docs/n23.md: 1 document and 1 chunk removed.\n")
    assert json.loads(run("forget", "docs/", "--yes", "--json")[1]) == {"name": "docs", "documents": 6, "chunks": 6}
    assert run("documents")[1] == "Nothing is loaded. Next: embedding-assets load PATH\n"
    code, _, err = run("forget", "docs", "--yes")
    assert (code, "docs is not loaded; `embedding-assets documents` lists the collections" in err) == (1, True)
    assert run("documents", "docs")[0] == 1


@pytest.mark.parametrize(("options", "is_terminal"), [([], True), ([], False), (["--json"], True)])
def test_files_are_counted_beforehand_only_for_a_bar(run, settings, docs, monkeypatch, options, is_terminal):
    totals = []
    count = finding.count_files
    monkeypatch.setattr(finding, "count_files", lambda *given: totals.append(count(*given)) or totals[-1])
    monkeypatch.setattr(console.err, "_force_terminal", is_terminal)
    assert run("load", docs, docs, *options)[0] == 0
    assert totals == ([30] if is_terminal and not options else [])


def test_a_variable_that_is_not_set(run, settings, docs, monkeypatch):
    monkeypatch.chdir(docs)
    code, out, err = run("load", "")
    assert (code, out, "a path is empty, as of a variable that is not set" in err) == (1, "", True)
    assert run("demo", "")[0] == 1


def test_without_a_path_what_the_settings_name(run, settings, docs, monkeypatch):
    code, _, err = run("load")
    assert (code, "say what to load: embedding-assets load PATH, or set EMBEDDING_DOCUMENTS" in err) == (1, True)
    monkeypatch.setenv("EMBEDDING_DOCUMENTS", str(docs))
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_EXCLUDE", "n9.md, n8.md")
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_PRUNE", "true")
    assert json.loads(run("load", "--json")[1])["new"] == 28
    (docs / "n0.md").unlink()
    report = json.loads(run("load", "--exclude", "n7.md", "--json")[1])
    assert (report["unchanged"], report["gone"], report["pruned"], report["left_out"]) == (26, 1, 1, {"--exclude": 3})


def test_a_pipe(run, settings, monkeypatch):
    def piped(content, *arguments):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        return run("load", "-", *arguments)

    rows = b'{"text": "one"}\n{"text": "two"}\n'
    code, out, _ = piped(rows, "--format", "jsonl", "--json")
    assert (code, json.loads(out)["new"], json.loads(out)["collections"]) == (0, 1, ["stdin"])
    assert json.loads(piped(b"# T\n\ntext", "--name", "a/guide.md", "--collection", "pipes", "--json")[1])["new"] == 1
    assert json.loads(run("documents", "pipes", "--json")[1])[0]["origin"] == "pipes/a/guide.md"
    code, out, err = piped(rows)
    assert (code, out, "say what standard input holds: --format" in err) == (1, "", True)
    code, out, err = run("load", ".", "--name", "guide.md")
    assert (code, out, "it belongs to the path -" in err) == (1, "", True)
    code, out, err = piped(b"", "--format", "jsonl")
    assert (code, "standard input is empty; nothing was changed" in err) == (1, True)


def test_a_bucket_and_a_file_of_a_web_server(run, settings, bucket, s3):
    bucket.put(docs__a="one", docs__b="two")
    s3.faults[bucket.path("docs/b.md")] = [status(403, b"canary")]
    code, out, err = run("load", bucket.url("docs"))
    assert (code, out.splitlines()[0]) == (
        0,
        "Loaded 1 document (1 new), 1 chunk added, 0 removed, 1 rejected.",
    )
    assert "rejected: docs/b.md: cannot be read: access is denied" in err
    code, out, err = run("load", f"{s3.url}/x/none.md?token=canary")
    assert (code, "none.md cannot be read: there is no such file" in err) == (1, True)
    assert "canary" not in err
    assert json.loads(run("documents", "--json")[1])[0]["root"] == bucket.url("docs")


def test_rejections_are_summed_up_by_reason(run, settings, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(f'{{"text": "row {number}"}}\nnot json {number}\n' for number in range(8)) + '{"text": 7}\n'
    )
    code, out, err = run("load", file)
    assert (code, "9 rejected" in out) == (0, True)
    lines = err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["rejected"] * 5
    assert lines[-1] == "rejected: 5 more: is not valid JSON"
    assert "9 rows of unchanged documents rejected as before" in run("load", file)[1]
    report = json.loads(run("load", file, "--json", "--accept-rejected")[1])
    assert report["reasons"] == {"is not valid JSON": 8, "has a 'text' that is not a string": 1}
    assert len(report["rejections"]) == 9


def test_how_files_are_read_can_be_said(run, settings, tmp_path):
    (tmp_path / "notes.data").write_bytes("A café.".encode("cp1252"))
    (tmp_path / "faq.csv").write_text("q,a\nWhy?,Because.\n")
    code, out, _ = run("load", tmp_path / "notes.data", "--format", "text", "--encoding", "cp1252")
    assert (code, "1 chunk added" in out) == (0, True)
    assert "1 chunk added" in run("load", tmp_path / "faq.csv", "--text-template", "{q} {a}")[1]
    assert run("load", tmp_path, "--encoding", "klingon")[0] == 2


def test_what_is_left_out_is_said(run, settings, docs):
    write(docs / "node_modules/x", README="text")
    (docs / "picture.png").write_bytes(b"x")
    (docs / "skipped.md").write_text("text")
    (docs / "poetry.lock").write_text("text")
    _, out, _ = run("load", docs, "--exclude", "skipped.md")
    assert {"Left out: node_modules (1), lock files (1), --exclude (1).", "Of other kinds: .png (1)."} <= set(
        out.splitlines()
    )
    assert "Loaded 2 documents (2 new)" in run("load", docs, "--no-ignore", "--include", "node_modules/", "--include",
                                               "skipped.md")[1]  # fmt: skip


def test_partitions_of_a_folder_are_filtered_by(run, settings, tmp_path):
    import pyarrow
    import pyarrow.parquet

    for year, month in ((2023, "12"), (2024, "05")):
        folder = tmp_path / f"sales/year={year}/month={month}"
        folder.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.table({"text": [f"sold in {year}", "returned"]}), folder / "part.parquet")
    assert "Loaded 2 documents (2 new), 4 chunks added" in run("load", tmp_path / "sales")[1]
    assert run("embed")[0] == 0
    for conditions in (["year=2024"], ["year>2023", "month=05"], ["month=5"]):
        options = [word for condition in conditions for word in ("--where", condition)]
        found = json.loads(run("search", "what was sold?", "--json", *options)[1])["results"]
        assert sorted(one["text"] for one in found) == ["returned", "sold in 2024"]


def test_control_characters_of_names_and_texts_stay_away_from_the_terminal(run, settings, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "\x1b]0;title\x07\x9b2J.md").write_text("# \x1b[2J\n\nsome \x1b[31mred text\n")
    (docs / "\x1b[1m.jsonl").write_text("no json\n")
    outputs = [run("load", docs), run("embed"), run("documents", "docs"), run("search", "red"), run("load", "\x1b[2J")]
    for _, out, err in outputs:
        assert not {"\x1b", "\x07", "\x9b"} & set(out + err)
    assert "␛]0;title␇" in outputs[2][1]
    assert "␛[1m.jsonl:1: is not valid JSON" in outputs[0][2]
    assert "some ␛[31mred text" in outputs[3][1]


def test_ctrl_c_says_how_to_go_on(settings, tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    with (folder / "rows.jsonl").open("w") as stream:
        stream.writelines(f'{{"text": "row {number}"}}\n' for number in range(200_000))
    command = "from embedding_assets.cli.entry import main; main()"
    loading = processes.start(
        [sys.executable, "-c", command, "load", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    import time

    import psycopg

    with psycopg.connect(settings.database.url.get_secret_value(), autocommit=True) as connection:
        deadline = time.monotonic() + 180
        while not connection.execute("SELECT 1 FROM knowledge_base LIMIT 1").fetchone() and time.monotonic() < deadline:
            time.sleep(0.05)
    loading.send_signal(signal.SIGTERM)
    out, err = loading.communicate(timeout=180)
    assert (loading.returncode, out, err) == (143, "", "Stopped. Run it again to go on.\n")
