"""Figures: well formed, short enough, true to their numbers, legible on light and dark."""

import re
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from markdown_it import MarkdownIt

from embedding_assets.postgres.prefixes import PrefixCounts
from embedding_assets.postgres.usage.ledger import DayCost
from embedding_assets.reporting.figures import picture as colours
from embedding_assets.reporting.figures.backlog import backlog_figure, backlog_glance
from embedding_assets.reporting.figures.costs import cost_figure, cost_glance
from embedding_assets.reporting.figures.map import map_figure, project
from embedding_assets.reporting.figures.picture import INLINE_CHARACTERS, Picture, gallery
from embedding_assets.reporting.figures.searching import latency_figure, latency_glance, recall_figure, recall_glance
from embedding_assets.reporting.figures.throughput import throughput_figure, throughput_glance
from embedding_assets_tests.support.overviews import CURVE, PREFIXES, costs, embeddings, runs

MANY_PREFIXES = [PrefixCounts(f"{n:02x}", 78_000 + n * n, 997 + 31 * n, n % 3) for n in range(256)]
MANY_SPACES = costs(30, *(f"openai-text-embedding-{n}-768-1a2b3c4d" for n in range(12)), usd=1.237)

LONG_CURVE = [replace(CURVE[-1], ef_search=n) for n in range(70, 1000, 70)]

FIGURES = {
    "backlog": lambda: backlog_figure(PREFIXES),
    "backlog of 256 prefixes": lambda: backlog_figure(MANY_PREFIXES),
    "throughput": lambda: throughput_figure(runs(60), 10.0),
    "throughput of one run": lambda: throughput_figure(runs(1), 10.0),
    "throughput on two devices": lambda: throughput_figure([*runs(5)[:3], *runs(2, device="cuda:0")]),
    "recall": lambda: recall_figure(CURVE, 40, 0.9),
    "recall at one point": lambda: recall_figure(CURVE[:1], 40),
    "perfect recall": lambda: recall_figure([replace(CURVE[2], recall=1.0, recall_low=1.0, recall_high=1.0)], 40),
    "latency": lambda: latency_figure(CURVE, 40, 23.4),
    "latency without exact search": lambda: latency_figure(CURVE, 40),
    "latency near that of exact search": lambda: latency_figure(CURVE[:3], 40, 1.5),
    "costs": lambda: cost_figure(costs(20, "small", "large"), 2.0),
    "costs of one day": lambda: cost_figure(costs(1, "small"), 500.0),
    "costs of many spaces": lambda: cost_figure(MANY_SPACES, 20.0),
    "map": lambda: map_figure(*embeddings(1500)),
    "map of equal vectors": lambda: map_figure(np.ones((5, 8), np.float32), ["a"] * 5),
}

# Of other heights each: the longest that a picture of 16 bars can be.
THREE_PARTS = [PrefixCounts(f"{n:x}", 4_900 + 13 * n, 1_600 + 7 * n, 3 * n + 1) for n in range(16)]
GLANCES = {
    "backlog": lambda: backlog_glance(PREFIXES),
    "backlog of 256 prefixes": lambda: backlog_glance(MANY_PREFIXES),
    "backlog of many chunks": lambda: backlog_glance([replace(p, embedded=98_765_432) for p in MANY_PREFIXES]),
    "backlog of three parts": lambda: backlog_glance(THREE_PARTS, when="before the run"),
    "backlog of one prefix": lambda: backlog_glance([PrefixCounts("a", 3, 1)]),
    "throughput": lambda: throughput_glance(runs(60), 10.0),
    "throughput on a long name": lambda: throughput_glance(runs(60, device="text-embedding-3-large of " * 3), 10.0),
    "throughput of one run": lambda: throughput_glance(runs(1)),
    "recall": lambda: recall_glance(CURVE, 40, 0.9),
    "recall at 14 points": lambda: recall_glance(LONG_CURVE, 40, 0.9),
    "recall at one point": lambda: recall_glance(CURVE[:1], 40),
    "latency": lambda: latency_glance(CURVE, 40, 23.4),
    "latency near that of exact search": lambda: latency_glance(CURVE[:3], 40, 1.5),
    "costs": lambda: cost_glance(MANY_SPACES, 20.0),
    "costs of one day": lambda: cost_glance(costs(1, "small")),
}  # fmt: skip

EMPTY = {
    "backlog": lambda: [backlog_figure([]), backlog_glance([]), backlog_figure([PrefixCounts("0", 0, 0)])],
    "throughput": lambda: [throughput_figure([]), throughput_glance([])],
    "recall": lambda: [recall_figure([], 40, 0.9), recall_glance([], 40, 0.9)],
    "latency": lambda: [latency_figure([], 40), latency_glance([], 40)],
    "costs": lambda: [cost_figure([]), cost_glance([]), cost_figure(costs(3, "small", usd=0.0))],
    "map": lambda: [map_figure(np.zeros((0, 8), np.float32), []), map_figure(np.ones((2, 8), np.float32), ["a", "b"])],
}


def parsed(picture: Picture) -> ElementTree.Element:
    return ElementTree.fromstring(picture.svg)


def words(picture: Picture) -> list[str]:
    """What stands in the picture."""
    return ["".join(element.itertext()) for element in parsed(picture).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_small_named_and_explained(name):
    picture = FIGURES[name]()

    root = parsed(picture)
    assert root.tag.endswith("svg")
    assert len(picture.markdown) < 60_000
    assert picture.alt
    assert picture.caption
    assert words(picture)[-1] != ""
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", picture.svg)


@pytest.mark.parametrize("name", ["backlog", "throughput", "recall", "latency", "costs", "map"])
def test_the_same_numbers_give_the_same_file(name):
    assert FIGURES[name]() == FIGURES[name]()


@pytest.mark.parametrize("name", GLANCES)
def test_a_glance_is_short_enough_to_be_shown_at_once(name):
    picture = GLANCES[name]()

    assert parsed(picture).get("width") == "240"
    assert len(picture.markdown) <= INLINE_CHARACTERS
    title, shown = (re.sub("[,;]", "", text) for text in (picture.alt, " ".join(words(picture))))
    assert shown.startswith(title)


@pytest.mark.parametrize("name", EMPTY)
def test_without_data_a_picture_says_so(name):
    for picture in EMPTY[name]():
        assert words(picture) == [picture.alt]
        assert picture.alt.startswith("Nothing")


def test_nothing_of_matplotlib_is_loaded_before_something_is_drawn():
    code = (
        "import sys; from embedding_assets.reporting.figures.searching import recall_figure; recall_figure([], 40); "
        "print('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_figure_has_the_size_asked_for():
    root = parsed(recall_figure(CURVE, 40, size=(500, 290)))
    assert (root.get("width"), root.get("height")) == ("375pt", "217.5pt")  # 0.75 points a pixel


@pytest.mark.parametrize("name", ["INK", "BLUE", "GREEN", "AMBER", "RED", "OTHERS", *range(len(colours.SERIES))])
@pytest.mark.parametrize("background", ["#ffffff", "#030615"])
def test_colours_stand_out_on_light_and_dark(name, background):
    colour = colours.SERIES[name] if isinstance(name, int) else getattr(colours, name)
    bright, dim = sorted((luminance(colour), luminance(background)), reverse=True)
    # https://www.w3.org/TR/WCAG22/#non-text-contrast; text in ink wants 4.5, which no grey has on both.
    assert (bright + 0.05) / (dim + 0.05) >= (4.4 if name == "INK" else 3)


def luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("text", ["plain", "50 % & <b> #1 `code` \\ [x](y) $1 é 日本 \"q\" 'a' &amp; ![", "a\n\n  b"])
def test_markdown_holds_the_picture_as_it_is(text):
    element = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg")
    element.text = text
    picture = Picture(ElementTree.tostring(element, encoding="unicode"), alt=f"alt {text}")
    reader = MarkdownIt("commonmark")
    reader.validateLink = lambda _: True  # of images it lets only four formats pass, SVG is none of them

    tokens = reader.parse(f"before {picture.markdown} after")

    images = [child for token in tokens for child in token.children or [] if child.type == "image"]
    assert len(images) == 1
    prefix, _, content = str(images[0].attrs["src"]).partition(",")
    assert prefix == "data:image/svg+xml"
    assert ElementTree.fromstring(unquote(content)).text == " ".join(text.split())
    assert images[0].content.startswith("alt ")


def test_a_gallery_shows_all_with_their_captions():
    pictures = [recall_figure(CURVE, 40), backlog_figure([])]
    reader = MarkdownIt("commonmark")
    reader.validateLink = lambda _: True
    tokens = reader.parse(gallery(pictures))
    assert [token.content for token in tokens if token.type == "inline"] == [
        pictures[0].markdown,
        pictures[0].caption,
        pictures[1].markdown,
    ]


def test_the_backlog_is_described_and_drawn():
    picture = backlog_figure(PREFIXES)
    assert {"12,840 embedded", "600 pending", "2 quarantined", "95.5% of 13,442 chunks are embedded"} <= set(
        words(picture)
    )
    long_title = backlog_glance([PrefixCounts("a", 123_456, 123_456, 123_456)], when="before the run")
    assert "<text y='-3' font-size='10." in long_title.svg, "what is too long for a line is set smaller, not cut off"
    assert ">123,456 pending<" in long_title.svg.partition("<text y='11'")[2]
    assert "<text y='11' fill=" in backlog_glance([PrefixCounts("a", 5, 5)]).svg
    assert "0 quarantined" not in words(backlog_figure([PrefixCounts("0", 5, 5)]))


def test_bars_of_the_glance_are_as_high_as_their_numbers():
    picture = backlog_glance([PrefixCounts("0", 50, 0), PrefixCounts("1", 50, 25, 25)])
    paths = {path.get("fill"): path.get("d") for path in parsed(picture).iter("{http://www.w3.org/2000/svg}path")}
    # From y 74, nothing, up to y 20, the most.
    assert paths == {
        colours.GREEN: "M0 74V47h40V47h40V74z",
        colours.AMBER: "M0 74V47h40V34h40V74z",
        colours.RED: "M0 74V47h40V20h40V74z",
    }


def test_bars_of_three_parts_keep_their_labels():
    assert "0123456789abcdef" in words(GLANCES["backlog of three parts"]())


def test_prefixes_of_two_characters_are_added_up_in_a_glance():
    longer = [PrefixCounts(f"{p.prefix}{q}", p.embedded // 3, p.pending // 5) for p in PREFIXES for q in "05f"]
    assert words(backlog_glance(longer))[-1] == "0123456789abcdef"
    assert words(backlog_glance(longer))[0].endswith("360 pending")


def test_the_latest_run_is_reported():
    picture = throughput_figure(runs(12), 10.0)
    assert "The latest run: 32.4 chunks/s on cpu" in words(picture)
    assert "floor 10" in words(picture)
    assert throughput_glance(runs(12), 10.0).alt == "32.4 chunks/s on cpu, the floor is 10"
    assert words(throughput_glance(runs(60)))[1:] == ["2026-10-23", "2026-11-21"]


def test_rates_with_other_threads_are_other_dots():
    mixed = [*runs(2, threads=2), *runs(3, threads=16), *runs(2)]
    assert {"cpu", "cpu, 2 threads", "cpu, 16 threads"} <= set(words(throughput_figure(mixed)))
    assert "The latest run: 32.4 chunks/s on cpu, 4 threads" in words(throughput_figure(runs(12, threads=4)))


@pytest.mark.parametrize("days", [0.01, 4, 45, 400])
def test_runs_of_any_span_have_a_few_dates_below(days):
    first, last = runs(2)
    shown = words(throughput_figure([replace(first, finished_at=last.finished_at - timedelta(days)), last]))
    assert 3 <= shown.index("end of the run (UTC)") <= 8


@pytest.mark.parametrize(("floor", "colour"), [(10.0, colours.INK), (1_000.0, colours.RED)])
def test_a_limit_is_red_only_where_it_is_not_held(floor, colour):
    glance = throughput_glance(runs(12), floor)
    assert f"<tspan fill='{colour}'>, the floor is" in glance.svg
    assert f"stroke='{colour}'" in glance.svg
    assert (colours.RED in throughput_figure(runs(12), floor).svg) == (colour == colours.RED)
    assert (colours.RED in recall_glance(CURVE, 40, 0.9 if floor == 10.0 else 0.999).svg) == (colour == colours.RED)


def test_words_are_lighter_where_it_is_dark():
    svg = throughput_figure(runs(3), 10.0).svg
    assert f"@media(prefers-color-scheme:dark){{svg{{color:{colours.INK_ON_DARK}}}}}" in svg
    assert f": {colours.INK}" not in svg


def test_the_backlog_says_when_it_was_counted():
    assert words(backlog_glance(PREFIXES, when="before the run"))[0].startswith("Before the run: ")
    assert any(one.startswith("Before the run: ") for one in words(backlog_figure(PREFIXES, when="before the run")))


def test_a_run_below_the_floor_lies_below_the_line():
    slow = runs(1)  # 25 chunks a second
    bar, line = (
        path.get("d") for path in parsed(throughput_glance(slow, 50.0)).iter("{http://www.w3.org/2000/svg}path")
    )
    assert (bar, line) == ("M22 74V47", "M0 20H240")


@pytest.mark.parametrize(
    ("ef_search", "shown"),
    [(40, "0.937 at ef_search 40"), (45, "0.937 at ef_search 40"), (1000, "0.992 at ef_search 400")],
)
def test_recall_is_reported_for_the_search_in_use(ef_search, shown):
    for picture in (recall_figure(CURVE, ef_search, 0.9), recall_glance(CURVE, ef_search, 0.9)):
        assert f"recall@10 is {shown}" in picture.alt
        assert any(shown in text for text in words(picture))
    assert ("in use" in words(recall_figure(CURVE, ef_search))) == (ef_search <= 400)


def test_a_point_below_the_floor_lies_below_its_line():
    paths = [path.get("d") for path in parsed(recall_glance(CURVE, 40, 0.9)).iter("{http://www.w3.org/2000/svg}path")]
    line = [int(y) for y in paths[1][1:].split()[1::2]]
    floor = int(re.match(r"M0 (\d+)H", paths[2])[1])
    assert [y > floor for y in line] == [True, True, False, False, False, False, False]


def test_latency_is_compared_with_exact_search():
    assert latency_figure(CURVE, 40, 23.4).alt == "0.617 ms a search at ef_search 40, 23.4 ms without the index"
    assert latency_figure(CURVE, 40).alt == "0.617 ms a search at ef_search 40"
    assert latency_glance(CURVE, 40, 23.4).alt == "0.617 ms at ef_search 40, p95 1.2 ms; exact 23.4 ms"
    assert "median without the index" in words(latency_figure(CURVE, 40, 23.4))


def test_days_without_costs_are_shown_empty():
    spent = [DayCost(date(2026, 11, 1), "a", 1.0), DayCost(date(2026, 11, 4), "a", 2.0)]
    (bars,) = (path.get("d") for path in parsed(cost_glance(spent)).iter("{http://www.w3.org/2000/svg}path"))
    assert re.findall(r"V(\d+)", bars) == ["47", "74", "74", "20"]
    assert cost_figure(spent).alt == "Costs by day: $3.00 spent in 4 days"


def test_a_limit_is_drawn_where_it_does_not_flatten_the_costs():
    assert "limit $2.00 a day" in words(cost_figure(costs(3, "a"), 2.0))
    assert not any("limit" in text for text in words(cost_figure(costs(3, "a"), 200.0)))
    assert cost_glance(costs(3, "a"), 200.0).alt.endswith("the limit is $200.00 a day")


def test_spaces_beyond_the_dearest_share_a_colour():
    shown = words(cost_figure([*costs(2, "a", "b", "c", "d", "e"), *costs(2, "dear", usd=9.0)]))
    assert {"dear", "a", "b", "3 more"} <= set(shown)
    assert "c" not in shown


def test_every_embedding_is_a_dot_in_its_sources_colour():
    vectors, sources = embeddings(500)
    picture = map_figure(vectors, sources)
    dots = {
        re.search(r"stroke: (#\w+)", path.get("style"))[1]: path.get("d").count("h0")
        for path in parsed(picture).iter("{http://www.w3.org/2000/svg}path")
        if "h0" in path.get("d")
    }
    counted = sorted((sources.count(name) for name in set(sources)), reverse=True)
    assert sum(dots.values()) == 500
    assert [dots[colour] for colour in colours.SERIES] == counted[: len(colours.SERIES)]
    assert dots[colours.OTHERS] == sum(counted[len(colours.SERIES) :])
    assert {"source 0", "2 more"} <= set(words(picture))


def test_sources_are_reported_as_they_are():
    names = ["$x_1$ <b>&amp;", "", "a long name of a source that does not fit beside the map"]
    shown = words(map_figure(np.eye(3, dtype=np.float32), names))
    assert {"$x_1$ <b>&amp;", "no source", f"…{names[2][-21:]}"} <= set(shown)


def test_names_without_a_glyph_and_unprintable_ones_make_a_figure():
    names = ["red \x1b[31m\x07", "\u202egnp.exe", "日本語 שלום हिन्दी \ud800"]
    shown = words(map_figure(np.eye(3, dtype=np.float32), names))
    assert {"red [31m", "gnp.exe", "日本語 שלום हिन्दी"} <= set(shown)
    devices = runs(3, device="c\x1bpu\u202e\n")
    for picture in (throughput_figure(devices), throughput_glance(devices)):
        assert any(shown.endswith("chunks/s on cpu") for shown in words(picture))
    assert "open ai" in words(cost_figure([DayCost(date(2026, 11, 21), "open\n\x00ai", 1.0)]))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/docs/a/one.md", "/docs/a/two.md", "/docs/b.md"], {"one.md", "two.md", "b.md"}),
        (["/one.md", "/two.md", "three.md"], {"one.md", "two.md", "three.md"}),
        (["tutorial", "tutor", "tutor/x"], {"tutorial", "tutor", "x"}),
        (["docs/a/index.md", "docs/b/index.md", "sql"], {"a/index.md", "b/index.md", "sql"}),
        (["index.md", "docs/index.md", "sql"], {"index.md", "docs/index.md", "sql"}),
        (
            ["https://host/a/", "https://host/b?x=1", "a/long_name_of_a_chapter.md"],
            {"a", "b?x=1", "…_name_of_a_chapter.md"},
        ),
    ],
)
def test_files_of_a_folder_are_reported_by_their_names(names, expected):
    assert expected <= set(words(map_figure(np.eye(3, dtype=np.float32), names)))


def test_a_map_wants_a_source_for_each_vector():
    with pytest.raises(ValueError, match="3 vectors, but 2 sources"):
        map_figure(np.eye(3, dtype=np.float32), ["a", "b"])


def test_vectors_of_a_plane_keep_their_distances():
    random = np.random.default_rng(5)
    plane = random.normal(size=(50, 2)) * [3, 1]
    basis = np.linalg.qr(random.normal(size=(20, 2)))[0]
    layout = project(plane @ basis.T + 7)

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - points[None], axis=2)

    np.testing.assert_allclose(distances(layout.points), distances(plane), atol=1e-9)
    assert sum(layout.shares) == pytest.approx(1)
    assert layout.shares[0] > layout.shares[1]


def test_the_sign_of_a_direction_does_not_depend_on_the_order():
    vectors, _ = embeddings(60)
    order = np.random.default_rng(2).permutation(60)
    np.testing.assert_allclose(project(vectors[order]).points, project(vectors).points[order], atol=1e-6)


def test_what_is_not_finite_is_left_out():
    vectors = np.eye(6, dtype=np.float32)
    vectors[2, 3] = np.nan
    assert project(vectors).kept.tolist() == [0, 1, 3, 4, 5]
    assert project(vectors[2:3]).points.shape == (0, 2)
