"""Strings of the data as Markdown: they show as they are, and mean nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONGEST = 80  # characters of a label or name
# What Markdown, its tables, raw HTML, bare addresses and formulas give a meaning to; any ASCII
# punctuation may be escaped. Source: CommonMark 0.31, section 2.4, and GitHub's additions to it.
_MEANT = re.compile(r"[\\`*_\[\]<>|~&$@]|:(?=//)|(?<=www)\.|^[-+#=]", flags=re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d+)(?=[.)](?:\s|$))")  # would begin a list
_JOINERS = "\u200c\u200d"  # parts of letters and emoji, though not printable by themselves


def text(value: str, *, limit: int | None = LONGEST) -> str:
    """Return a string as one line of Markdown that shows it.

    Runs of white space become one space, what cannot be printed becomes U+FFFD, and what stands
    behind `limit` characters becomes an ellipsis.
    """
    line = " ".join(value.split()) or "(empty)"
    if limit is not None and len(line) > limit:
        line = line[: limit - 1] + "…"
    shown = "".join(c if c.isprintable() or c in _JOINERS else "\ufffd" for c in line)
    return _NUMBERED.sub(r"\1\\", _MEANT.sub(r"\\\g<0>", shown))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
