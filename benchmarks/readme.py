"""Writes README's section on speed from the results. Run: make bench, or python benchmarks/readme.py"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from report import RESULTS, number

README = RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
ORDER = ("encode", "encode_avx512", "encode_cuda", "end_to_end", "write", "backlog", "startup", "memory", "api")
PICTURES = ("encode",)
WIDTH = 120


def main() -> None:
    text = README.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{README.name} needs the lines {BEGIN} and {END} once, around its section on speed")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{render(RESULTS)}\n{END}{after}")
    print(f"{README.name}: the section on speed is that of {RESULTS.parent.name}/{RESULTS.name}", file=sys.stderr)


def render(results_folder: Path) -> str:
    """What stands between the markers: of each result its table and its aims, when and where it was measured.

    Raises:
        SystemExit: nothing was measured yet.
    """
    known = [name for name in ORDER if (results_folder / f"{name}.json").exists()]
    results = [json.loads((results_folder / f"{name}.json").read_text()) for name in known]
    if not results:
        raise SystemExit(f"{results_folder} is empty: run make bench first")
    places = [place(result) for result in results]
    common = places[0] if len(set(places)) == 1 else ""
    introduction = (
        "Compared ways take turns in one run; a figure is the median of its rounds. `make bench` measures again; "
        "rounds, settings, versions and pictures are in `benchmarks/results/`."
    )
    parts = [paragraph(f"{common} {introduction}" if common else introduction)]
    for result, where in zip(results, places, strict=True):
        parts.append(f"**{result['title']}**" + ("" if common else f"  \n{where}"))
        if result["name"] in PICTURES:
            parts.append(f"![{result['title']}](benchmarks/results/{result['name']}.png)")
        if len(result["rows"]) > 1:
            parts.append(table(result))
        parts += [aims(result)] if result["aims"] else []
    return "\n\n".join(parts)


def place(result: Mapping[str, Any]) -> str:
    """One sentence: when and on what kind of machine."""
    machine = result["machine"]
    cpu = machine["cpu"].replace("(R)", "").replace("(TM)", "").removesuffix(" Processor") or machine["architecture"]
    flags = machine["cpu_flags"]
    arithmetic = next((words for flag, words in _ARITHMETIC if flag in flags), "")
    remark = f" {machine['remark'].rstrip('.')}." if machine.get("remark") else ""
    return (
        f"Measured on {result['measured_at'][:10]} on {machine['cores']} cores of an {cpu}{arithmetic}, "
        f"{machine['system']}, torch {machine['torch']}.{remark}"
    )


_ARITHMETIC = (
    ("amx_bf16", " with AMX"),
    ("avx512_bf16", " with AVX512-BF16"),
    ("avx512f", " with AVX512"),
    ("avx2", " with AVX2"),
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
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    lines = [
        kept.keys(),
        ("---" if name in ("way", "") else "---:" for name in kept),
        *zip(*kept.values(), strict=True),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def aims(result: Mapping[str, Any]) -> str:
    """What was aimed at, and whether it was reached."""
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
