"""What cells printed and showed: pictures, objects, progress bars, pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedding_assets.documents.formats.notebook_output import printed
from embedding_assets_tests.support.formats import read_as

TO_TRUST = "Make this Notebook Trusted to load map: File -> Trust Notebook"
WIDGET = "application/vnd.jupyter.widget-view+json"


def shown(**data: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {kind.replace("_", "/"): text for kind, text in data.items()}}


def stream(text: str | list[str], name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


@pytest.mark.parametrize(
    "name",
    [
        "<Figure size 640x480 with 1 Axes>",
        "<AxesSubplot: xlabel='x'>",
        "<Axes: title={'center': 'Sales'}>",
        "array([[<Axes: >, <Axes: >],\n       [<Axes: >, <Axes: >]], dtype=object)",
        "[<matplotlib.lines.Line2D at 0x7f3a5c0>,\n <matplotlib.lines.Line2D at 0x7f3a5c1>]",
        "Text(0.5, 1.0, 'Sales')",
        "<BarContainer object of 10 artists>",
        "<IPython.core.display.HTML object>",
    ],
)
def test_the_name_of_a_picture_is_no_text(name: str) -> None:
    assert printed([shown(image_png="iVBO", text_plain=name)]) == ""


@pytest.mark.parametrize("text", ["<xarray.Dataset>\nx: 2", "<tf.Tensor: numpy=array([1])>", "<p>", "42", "'<a>'"])
def test_what_a_value_says_is_read(text: str) -> None:
    assert printed([shown(text_plain=text.splitlines(keepends=True))]) == f"{text}\n"


@pytest.mark.parametrize(
    "names", ["<Axes at 0x7f3a5c0>" * 5_000, "<Axes: >, " * 5_000, "[" * 200_000, "<Figure size>" + " " * 1_000_000]
)
def test_long_outputs_like_names_take_linear_time(names: str) -> None:
    assert printed([shown(text_plain=f"{names}x")]).endswith("x\n")
    assert names[0] == "[" or printed([shown(text_plain=names)]) == ""


def test_addresses_which_change_with_every_run_are_left_out() -> None:
    outputs = [stream("<function run at 0x7f3a5c0> ran\n"), shown(text_plain="<bound of <A object at 0x7f3a>>, 1")]
    assert printed(outputs) == "<function run> ran\n<bound of <A object>>, 1\n"


def test_a_progress_bar_is_its_last_state() -> None:
    outputs = [stream(["\r  0%| | 0/9"], "stderr"), stream("\r 50%|5| 5/9\r100%|9| 9/9\r\nDone.\n\r", "stderr")]
    assert printed(outputs) == "100%|9| 9/9\nDone.\n"
    assert printed([stream("1/9 [..]\x08\x08\x08\x08\r9/9 [##]\n")]) == "9/9 [##]\n"
    assert printed([{"output_type": "display_data", "data": {"text/plain": "  0%|  | 0/9", WIDGET: {}}}]) == ""


def test_lines_that_are_printed_in_parts_are_joined() -> None:
    assert printed([stream("a"), stream("b\n"), stream("c", "stderr"), shown(text_plain="7")]) == "ab\nc\n7\n"


def test_what_is_shown_as_a_page_is_read() -> None:
    html = "<style>x</style><table><tr><td>a<td>b</table>"
    outputs = [
        shown(text_markdown="**all** of it", text_plain="<IPython.core.display.Markdown object>"),
        shown(text_html=html, text_plain="<pandas.io.formats.style.Styler at 0x7f3a5c0>"),
        shown(text_html="<p>not this</p>", text_plain="but this"),
        shown(text_html=f"<span>{TO_TRUST}</span><iframe srcdoc='&lt;p&gt;map'></iframe>"),
        shown(text_html="<p>Before.<IFRAME src=x>Frames are not shown.</IFRAME><p>Behind."),
    ]
    assert printed(outputs) == "**all** of it\n| a | b |\n| --- | --- |\nbut this\nBefore.\n\nBehind.\n"


def test_outputs_of_version_3(tmp_path: Path) -> None:
    outputs = [{"output_type": "pyout", "text": ["<A at 0x7f3a>"], "html": "<b>x</b>"}, {"output_type": "pyerr"}]
    cells = [{"cell_type": "code", "input": "run()", "outputs": outputs}]
    (document,), _ = read_as(tmp_path, "a.ipynb", json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}))
    assert document.text.strip() == "```\nrun()\n```\n\n```\nx\n```"
