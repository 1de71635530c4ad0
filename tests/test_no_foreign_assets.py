"""No generated page names anything outside of itself: no script, style, image, font or link."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import lasttoken as package
from conftest import Command, write_reviews

SOURCE = Path(package.__file__).parent
_NAMES = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background",
          "xlink:href", "cite", "manifest", "ping", "content"}  # fmt: skip
_INSIDE = re.compile(r"(#|data:)")
_URL = re.compile(r"""url\(\s*["']?([^"')]*)|@import\s+["']?([^"';]*)""", re.IGNORECASE)


class Outside(HTMLParser):
    """Collect what a page would fetch or lead to."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            self._look(tag, name, value or "")

    handle_startendtag = handle_starttag

    def _look(self, tag: str, name: str, value: str) -> None:
        if name == "content" and not re.search(r"url\s*=|//", value):
            return
        if name in _NAMES and value and not _INSIDE.match(value.strip()):
            self.found.append(f"<{tag} {name}={value}>")
        if name == "style" or tag == "style":
            self._look_into_style(value)

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._look_into_style(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def _look_into_style(self, text: str) -> None:
        for match in _URL.finditer(text):
            target = (match.group(1) or match.group(2) or "").strip()
            if not _INSIDE.match(target):
                self.found.append(match.group())


def outside(page: str) -> list[str]:
    parser = Outside()
    parser.feed(page)
    parser.close()
    return parser.found


def test_no_report_names_anything_outside_of_itself(
    lasttoken: Command, run_copy: Path, finished_run: Path, tmp_path: Path
) -> None:
    """Of training, of an evaluation with hostile texts, and of a comparison."""
    hostile = "<img src='https://example.org/x'> url(http://example.org) @import 'x' javascript:"
    data = write_reviews(tmp_path / "other.csv")
    with data.open("a", encoding="utf-8") as file:
        file.writelines(f'"{hostile} number {n}",{"pos" if n % 2 else "neg"}\n' for n in range(8))
    assert lasttoken("evaluate", run_copy, data).code == 0
    assert lasttoken("compare", run_copy, finished_run, "--output-dir", "compared").code == 0
    pages = [run_copy / "report.html", *run_copy.glob("evaluations/*/report.html"),
             tmp_path / "compared" / "report.html"]  # fmt: skip
    assert len(pages) == 3
    for page in pages:
        content = page.read_text(encoding="utf-8")
        assert len(content) > 10_000
        assert outside(content) == [], page
    assert "example.org" in pages[1].read_text(encoding="utf-8")  # there, as text


def test_no_template_or_style_in_the_package_does_either() -> None:
    files = [path for kind in ("*.j2", "*.html", "*.css", "*.js") for path in SOURCE.rglob(kind)]
    assert len(files) >= 3
    for path in files:
        content = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/)|@import|//cdn", content), path


@pytest.mark.parametrize(
    "page",
    [
        "<img src='https://example.org/a.png'>",
        "<script src=//cdn.example.org/x.js></script>",
        "<link rel=stylesheet href=style.css>",
        "<style>body { background: url(https://example.org/a.png) }</style>",
        "<style>@import 'https://example.org/a.css';</style>",
        "<p style='background: url(a.png)'>x</p>",
        "<a href='https://example.org/'>out</a>",
        "<meta http-equiv=refresh content='0; url=https://example.org/'>",
        "<svg><use xlink:href='other.svg#a'/></svg>",
    ],
)
def test_the_check_itself_sees_what_is_planted(page: str) -> None:
    assert outside(page) != []
