"""The page at `/`: files of the package, read once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Attributes:
        content: of the file.
        media_type: of HTTP.
    """

    content: bytes
    media_type: str


def page_files() -> dict[str, PageFile]:
    """Return path to file; the style is the report's, and a few rules more."""
    own = resources.files("lasttoken.deploy.serving") / "page"
    report = resources.files("lasttoken.evaluation.report")
    css, js, html = (f"text/{kind}; charset=utf-8" for kind in ("css", "javascript", "html"))
    return {
        "/": PageFile((own / "index.html").read_bytes(), html),
        "/page.css": PageFile((own / "page.css").read_bytes(), css),
        "/page.js": PageFile((own / "page.js").read_bytes(), js),
        "/report.css": PageFile((report / "style.css").read_bytes(), css),
    }
