from __future__ import annotations

import pytest

from embedding_assets.documents.formats.mdx import without_statements


@pytest.mark.parametrize(
    "text",
    [
        "The rules for\nimport duties and\nexport licences are strict.\nThey hold for all.\n\nNext.\n",
        "import duties are high\n\nexport class goods and export default settings\n",
        "import goods from China\n\nexport const is a keyword\n\nexport default settings to a file\n",
        "See\nimport x from 'x'\n",
        "```js\n\nimport x from 'x'\n\n```\n",
        "~~~~\n~~~\n\nimport x from 'x'\n\n~~~~\n",
    ],
)
def test_prose_and_code_stay(text: str) -> None:
    assert without_statements(text) == text


@pytest.mark.parametrize(
    "statement",
    [
        "import x from 'x'",
        'import "./style.css";',
        "import {a} from 'x'",
        "import {\n  a,\n  b,\n} from 'x'",
        "import * as x from 'x'",
        "import X, {y} from 'x'",
        "import type {Props} from './props'",
        "import x from 'x'\nimport y from 'y'",
        "export const meta = {\n  a: 1,\n}",
        "export const {a} = b",
        "export let size: number = 7",
        "export function Note() {\n  return 1\n}",
        "export async function load(a) {",
        "export class Note extends Base {",
        "export {a, b}",
        "export * from 'x'",
        "export type Props = {a: string}",
        "export default Layout",
        "export default ({children}) => <Layout>{children}</Layout>",
        "export default withNotes(Layout);",
        "export default function Layout(props) {",
    ],
)
@pytest.mark.parametrize("above", ["", "Words.\n\n", "# Heading\n", "```\ncode\n```\n"])
def test_statements_leave_blank_lines(statement: str, above: str) -> None:
    blank = "\n" * statement.count("\n")
    assert without_statements(f"{above}{statement}\n\nMore words.\n") == f"{above}{blank}\n\nMore words.\n"


@pytest.mark.parametrize(
    "begins", ["import", "import x", "export", "export default x", "export function", "export class"]
)
def test_long_lines_take_linear_time(begins: str) -> None:
    text = begins + " " * 500_000 + "!\n"
    assert without_statements(text) == text
