"""MDX without the code in it."""

from __future__ import annotations

import re
from typing import Final

_IMPORT: Final = r"""import(?:
    \s*["'][^"']+["'][\s;]*$
  | \s*\{ | \s*\*\s*as\s | \s+type\s*\{
  | \s+(?:type\s+)?[\w$]+ (?: \s*,\s*[{*] | \s+from\s*["'] )
)"""
_EXPORT: Final = r"""export(?:
    \s*\{ | \s*\*\s*(?:as\s|from\s)
  | \s+(?:const|let|var)\s+(?: [{\[] | [\w$]+\s*[=:;] )
  | \s+(?:async\s+)?function\b\s*(?:\*\s*)?(?:[\w$]+\s*)?[(<]
  | \s+class\s+[\w$]+[^{]*\{
  | \s+(?:type|interface|enum)\s+[\w$]+[^={]*[={]
  | \s+default(?: \s*["'`({\[<] | \s+(?:async|function|class|new)\b | \s+[\w$.]+(?: [\s;]*$ | \( | \s*=> ))
)"""
_STATEMENT: Final = re.compile(f"(?:{_IMPORT}|{_EXPORT})", re.VERBOSE)
_FENCE: Final = re.compile(r"[ \t]*(`{3,}|~{3,})")
_HEADING: Final = re.compile(r" {0,3}#{1,6}[ \t]")


def without_statements(text: str) -> str:
    """MDX without its imports and exports, which are code; their lines stay, as blank ones.

    As in MDX they begin where a paragraph could: prose that goes on in a line with "import duties" is none.
    """
    lines = text.split("\n")
    fence = ""
    begins, is_statement = True, False
    for number, line in enumerate(lines):
        found = _FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not line.strip(" \t`~"):
                fence, begins = "", True
        elif not line.strip():
            begins, is_statement = True, False
        elif is_statement or (begins and _STATEMENT.match(line)):
            is_statement = True
            lines[number] = ""
        elif found:
            fence = found[1]
        else:
            begins = _HEADING.match(line) is not None
    return "\n".join(lines)
