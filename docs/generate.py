"""Write the generated sections of README and docs from the code and from the results of the benchmarks.

Run: make docs, or python docs/generate.py [--check]
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import typer
from dagster import Resolvable
from dagster.components.resolved.form_config import UNSET_DEFAULT_SENTINEL
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings
from typer.cli import get_docs_for_click

from embedding_assets.cli.app import app
from embedding_assets.config import Settings
from embedding_assets.defs.components.component import Automation, Budget, EmbeddedComponent
from embedding_assets.defs.components.embedded_query import EmbeddedQuery
from embedding_assets.defs.components.embedded_table import EmbeddedTable
from embedding_assets.health.checks import CHECKS

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "benchmarks")]

import arithmetic  # noqa: E402
from report import RESULTS, number  # noqa: E402

WIDTH = 120


def main() -> None:
    """Rewrite what is out of date; with ``--check`` only name it, and exit with status 1."""
    outdated = {path: text for path, text in pages().items() if path.read_text("utf-8") != text}
    for path, text in outdated.items():
        if "--check" not in sys.argv[1:]:
            path.write_text(text, "utf-8")
        print(f"{path.relative_to(ROOT)} {'is out of date' if '--check' in sys.argv[1:] else 'written'}")
    if outdated and "--check" in sys.argv[1:]:
        raise SystemExit("run: python docs/generate.py")


def pages() -> dict[Path, str]:
    """Each page with generated sections → its text as it should be."""
    sections = {
        ROOT / "README.md": {"speed": speed},
        ROOT / "docs" / "settings.md": {"settings": settings},
        ROOT / "docs" / "cli.md": {"cli": commands},
        ROOT / "docs" / "dagster.md": {"checks": checks},
        ROOT / "docs" / "your_project.md": {"components": components},
        ROOT / "docs" / "benchmarks.md": {"benchmarks": benchmarks},
        ROOT / "docs" / "your-table.md": {"own_table": own_table},
        ROOT / "docs" / "scaling.md": {"scale": scaling},
        ROOT / "docs" / "vector-index.md": {"index_types": index_types},
    }
    written = {}
    for path, parts in sections.items():
        text = path.read_text("utf-8")
        for name, render in parts.items():
            before, rest = text.split(f"<!-- {name}:begin -->")
            _, after = rest.split(f"<!-- {name}:end -->")
            text = f"{before}<!-- {name}:begin -->\n{render()}\n<!-- {name}:end -->{after}"
        written[path] = text
    return written


def settings() -> str:
    """A table for each group of settings."""
    groups = [field.annotation for field in Settings.model_fields.values()]
    tables = []
    for group in (*filter(_is_group, groups), Settings):
        rows = ["| variable | default | meaning |", "|---|---|---|"]
        for name, field in group.model_fields.items():
            if field.description is None:
                continue
            default = "" if field.default in (None, (), PydanticUndefined) else f"`{_shown(field.default)}`"
            rows.append(f"| `{group.variable(name)}` | {default} | {field.description} |")
        tables.append(f"## {_title(group)}\n\n" + "\n".join(rows))
    return "\n\n".join(tables)


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseSettings)


def _title(group: type[BaseSettings]) -> str:
    name = group.__name__.removesuffix("Config")
    return {"Settings": "Files", "Alert": "Alerts", "Log": "Logs", "Logs": "Logs"}.get(name, name)


def _shown(default: object) -> str:
    return "set, not shown" if isinstance(default, SecretStr) else str(default)


def commands() -> str:
    """The help of every command."""
    group = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=group, ctx=click.Context(group, info_name="embedding-assets"), name="embedding-assets"
    )
    # The page has a title of its own, lists of commands have but the beginnings of what follows, and --help is known.
    text = text[text.index("## ") :]
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)
    text = text.replace("* `--help`: Show this message and exit.\n", "").replace("**Options**:\n\n\n", "")
    return re.sub(r"\[/?bold\]", "`", text).strip()


def checks() -> str:
    """The catalogue of checks as tables, one for each asset."""
    tables = []
    for subject in dict.fromkeys(check.subject for check in CHECKS):
        head = "| check | severity | what holds | if it fails | cost |"
        rows = [f"Checks of `{subject}`:", "", head, "|---|---|---|---|---|"]
        for check in CHECKS:
            if check.subject == subject:
                severity = f"{check.severity}, blocking" if check.blocking else check.severity
                cells = (f"`{check.name}`", severity, check.description.rstrip("."), check.remedy, check.cost)
                rows.append(f"| {' | '.join(cells)} |")
        tables.append("\n".join(rows))
    return "\n\n".join(tables)


def components() -> str:
    """A table of the fields of each component, and of those that both have."""
    kinds = (EmbeddedTable, EmbeddedQuery)
    both = [name for name in _schema(EmbeddedTable) if name in _schema(EmbeddedComponent)]
    tables = [
        _fields(f"`{kind.__name__}` alone:", kind, [name for name in _schema(kind) if name not in both])
        for kind in kinds
    ]
    nested = [
        _fields(f"`{name}` has:", kind, list(_schema(kind)))
        for name, kind in {"budget": Budget, "automation": Automation}.items()
    ]
    return "\n\n".join([*tables, _fields("Both:", EmbeddedTable, both), *nested])


def _schema(kind: type[Resolvable]) -> dict[str, Any]:
    properties: dict[str, Any] = kind.model().model_json_schema()["properties"]
    return properties


def _fields(title: str, kind: type[Resolvable], names: Sequence[str]) -> str:
    rows = [title, "", "| field | default | meaning |", "|---|---|---|"]
    for name in names:
        field = _schema(kind)[name]
        default = field.get("default")
        # Lists and objects have none in a schema: it is made for each.
        shown = "" if default in (None, UNSET_DEFAULT_SENTINEL) else f"`{json.dumps(default)}`"
        rows.append(f"| `{name}` | {shown} | {field['description']} |")
    return "\n".join(rows)


# (benchmark, row, words for it)
_COMPARED = (
    ("encode", "the usual loop: fetch 32, encode", "encoding, the usual loop: fetch 32, encode"),
    (
        "encode",
        "OpenVINO backend, best batch",
        "encoding, OpenVINO backend at its best batch size, the fastest other way",
    ),
    ("encode_amd", "the usual loop: fetch 32, encode", "encoding on an AMD EPYC, the usual loop"),
    ("encode_amd", "OpenVINO backend, best batch", "encoding on an AMD EPYC, OpenVINO backend at its best batch size"),
    ("end_to_end", "LangChain: PGVectorStore.add_texts", "text to pgvector, LangChain's `PGVectorStore.add_texts`"),
    ("end_to_end", "LlamaIndex: IngestionPipeline.run", "text to pgvector, LlamaIndex's `IngestionPipeline.run`"),
    ("write", "UPDATE row by row, index in place", "writing 10,000 vectors, UPDATE row by row"),
    (
        "api",
        "loop: select 100, await, UPDATE each",
        "5,000 chunks through an API, loop: select 100, await, UPDATE each",
    ),
)


def speed() -> str:
    """Eight ratios."""
    results = {name: _result(name) for name in dict.fromkeys(name for name, _, _ in _COMPARED)}
    rows = ["| compared with | times as fast |", "|---|---:|"]
    for name, label, words in _COMPARED:
        [row] = [row for row in results[name]["rows"] if row["label"] == label]
        rows.append(f"| {words} | {number(row['ours_is_times'])} |")
    places = list(dict.fromkeys(place(result, remark=False) for result in results.values()))
    return "\n".join(rows) + "\n\n" + paragraph(" ".join(places))


_ORDER = (
    "encode",
    "encode_avx512",
    "encode_amd",
    "encode_intel",
    "encode_cuda",
    "shared",
    "shared_amx",
    "shared_intel",
    "shared_avx2",
    "fidelity",
    "end_to_end",
    "load",
    "load_many",
    "load_large",
    "write",
    "scale",
    "index",
    "search",
    "backlog",
    "startup",
    "memory",
    "api",
    "admission",
    "own_table",
    "quality",
    "serve",
)


def own_table() -> str:
    """What embedding in place costs a table."""
    result = _result("own_table")
    waits = result["facts"]["longest waits in ms"]
    seconds = result["facts"]["seconds"]
    words = paragraph(
        f"What it costs, with {result['facts']['rows']:,} rows of 2 kB and vectors of 768 dimensions: adopting took "
        f"{seconds['adopt']:.1f} s. While it was adopted, loaded ({seconds['load']:.0f} s for the vectors alone) and "
        f"indexed ({seconds['index']:.0f} s), no read waited longer than {waits['reader']:.0f} ms and no write longer "
        f"than {waits['writer']:.0f} ms."
    )
    return "\n\n".join([words, table(result), place(result)])


# What computes → the benchmark with its rate.
_ENCODINGS = {
    arithmetic.AMX: "encode",
    "2 cores with AVX-512": "encode_avx512",
    "2 cores of an AMD": "encode_amd",
    "a GPU": "encode_cuda",
}


def scaling() -> str:
    """What a chunk takes, measured; what millions of them take, calculated."""
    measured, write = _result("scale"), _result("write")
    encodings = {name: _result(file) for name, file in _ENCODINGS.items() if (RESULTS / f"{file}.json").exists()}
    parts = [arithmetic.bytes_a_chunk(measured), place(measured), arithmetic.totals(measured, write, encodings)]
    others = dict.fromkeys(place(result, remark=False) for result in (write, *encodings.values()))
    parts.append(paragraph("Rates of embedding and writing: " + " ".join(others)))
    return "\n\n".join(parts)


def index_types() -> str:
    """What each type of an index takes, and finds."""
    result = _result("index")
    found = result["facts"]["found"]
    columns = {
        "type": list(found),
        "build, s": [f"{one['seconds']:.0f}" for one in found.values()],
        "MB": [f"{one['megabytes']:,}" for one in found.values()],
        **{
            f"ef_search {value}: recall@10, p50, p95": [
                f"{at['recall']:.3f}, {at['p50_ms']:.1f} ms, {at['p95_ms']:.1f} ms"
                for at in (one["searches"][value] for one in found.values())
            ]
            for value in found["vector"]["searches"]
        },
    }
    words = paragraph(
        f"Over {result['facts']['rows']:,} vectors {result['facts']['vectors']}, asked {result['facts']['questions']} "
        "questions that are not among them, through the function that searches call:"
    )
    return "\n\n".join([words, markdown(columns, text=("type",)), place(result)])


def benchmarks() -> str:
    """Of each result its table and its aims, when and where it was measured."""
    parts = [
        paragraph(
            "Compared ways take turns in one run; a figure is the median of its rounds. `make bench` measures again; "
            "rounds, settings, versions and pictures are in `benchmarks/results/`."
        )
    ]
    for name in _ORDER:
        if not (RESULTS / f"{name}.json").exists():
            continue
        result = _result(name)
        parts += [f"## {result['title']}", place(result)]
        if name == "encode":
            parts.append(f"![{result['title']}](../benchmarks/results/{name}.png)")
        if len(result["rows"]) > 1:
            parts.append(table(result))
        parts += [aims(result)] if result["aims"] else []
    return "\n\n".join(parts)


def _result(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return result


_ARITHMETIC = (
    ("amx_bf16", " with AMX"),
    ("avx512_bf16", " with AVX512-BF16"),
    ("avx512f", " with AVX512"),
    ("avx2", " with AVX2"),
)


def place(result: Mapping[str, Any], *, remark: bool = True) -> str:
    """A sentence on when and on what kind of machine it was measured."""
    machine = result["machine"]
    cpu = machine["cpu"].replace("(R)", "").replace("(TM)", "").removesuffix(" Processor") or machine["architecture"]
    flags = machine["cpu_flags"]
    arithmetic = next((words for flag, words in _ARITHMETIC if flag in flags), "")
    note = f" {machine['remark'].rstrip('.')}." if remark and machine.get("remark") else ""
    return paragraph(
        f"Measured on {result['measured_at'][:10]} on {machine['cores']} cores of an {cpu}{arithmetic}, "
        f"{machine['system']}, torch {machine['torch']}.{note}"
    )


def table(result: Mapping[str, Any]) -> str:
    """The rows as a Markdown table; a column that would be empty is left out."""
    rows = result["rows"]
    columns = {
        "way": [f"**{row['label']}**" if row["ours"] else row["label"] for row in rows],
        result["unit"]: ["-" if row["median"] is None else number(row["median"]) for row in rows],
        "ours is": [
            "" if row["ours_is_times"] is None or row["ours"] else f"{number(row['ours_is_times'])} x" for row in rows
        ],
        "peak MB": ["" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:,}" for row in rows],
        "": [row["note"].replace("|", "\\|") for row in rows],
    }
    return markdown({name: cells for name, cells in columns.items() if any(cells)}, text=("way", ""))


def markdown(columns: Mapping[str, Sequence[str]], *, text: Sequence[str]) -> str:
    """Columns as a Markdown table; those that are no ``text`` are aligned as numbers are."""
    lines = [
        columns.keys(),
        ("---" if name in text else "---:" for name in columns),
        *zip(*columns.values(), strict=True),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def aims(result: Mapping[str, Any]) -> str:
    """The aims, and whether each was reached."""
    words = []
    for aim in result["aims"]:
        sign = "≤" if aim["at_most"] else "≥"
        if aim["measured"] is None:
            words.append(f"{aim['text']} not measured (aim {sign} {aim['wanted']:g})")
        else:
            verdict = "met" if aim["met"] else "**missed**"
            words.append(f"{aim['text']} {number(aim['measured'])} (aim {sign} {aim['wanted']:g}, {verdict})")
    return paragraph(f"{'; '.join(words)}.")


def paragraph(text: str) -> str:
    """Text in lines of at most 120 characters."""
    text = text[0].upper() + text[1:]
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
