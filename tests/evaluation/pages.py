"""What a page of numbers holds, read back from its HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from typing import Any

from lasttoken.evaluation.report.numbers import FILTERS, At


class Outline(HTMLParser):
    """Collects tags and numbers, and checks that tags nest."""

    VOID = frozenset(("meta", "link", "br", "hr"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.numbers: list[tuple[str, str, str]] = []  # place, value, shown
        self.rest: list[str] = []  # text outside of numbers, plots and the style sheet
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "data":
            found = dict(attrs)
            self.numbers.append((str(found["data-at"]), str(found["value"]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "data":
            place, value, shown = self.numbers[-1]
            self.numbers[-1] = (place, value, shown + data)
        elif not {"style", "svg", "title"} & set(self.open):
            self.rest.append(data)


def at(metrics: Any, place: str) -> Any:
    """Follow a JSON pointer."""
    for step in place.split("/")[1:]:
        plain = step.replace("~1", "/").replace("~0", "~")
        metrics = metrics[int(plain)] if isinstance(metrics, list) else metrics[plain]
    return metrics


def strings(value: Any) -> list[str]:
    """Return every string in JSON, keys too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for part in value.values() for text in strings(part))]
    return [text for part in value for text in strings(part)] if isinstance(value, list) else []


def tokens(text: str) -> list[str]:
    """Return the words and numbers of a text that hold a digit: "0.700", "F1", "t0", "6"."""
    return [found.strip(".,") for found in re.findall(r"[\w.,]*\d[\w.,]*", text)]


def check_numbers(page: str, content: Any, ours: Sequence[str]) -> int:
    """Check that a page holds no number that its file does not; return how many it holds.

    Args:
        page: HTML.
        content: of the JSON file.
        ours: fixed texts with digits in them; the only digits but those in strings of the file.
    """
    outline = Outline(page)
    names = (
        "share",
        "percent",
        "number",
        "count",
        "signed",
        "chance",
        "floor",
        "mebibytes",
        "setting",
    )
    for place, value, shown in outline.numbers:
        assert json.loads(value) == at(content, place), place
        forms = [FILTERS[name](At(json.loads(value))) for name in names]
        assert shown in [unescape(re.sub("<[^>]*>", "", form)) for form in forms], place
    known = {token for text in strings(content) for token in tokens(text)}
    for text in outline.rest:
        left = text
        for fixed in ours:
            left = re.sub(rf"(?<![\w.,]){re.escape(fixed)}(?!\w)", "", left)
        assert set(tokens(left)) <= known, text
    return len(outline.numbers)
