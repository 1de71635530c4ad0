"""Numbers on the page: each is one of `metrics.json` and says where it stands there.

    {{ m.test.accuracy | share }}  ->  <data value="0.8735" data-at="/test/accuracy">0.874</data>

So no number of the page can differ from the file, and a test compares them all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from markupsafe import Markup

# Weights of words from which on they are colored, more, most: of a probability, or as shares of the
# largest weight of the text.
STRONG = (0.02, 0.1, 0.3)
RELATIVE = (0.15, 0.4, 0.7)
TOP_WORDS = 5

# Unicode's explicit directional marks (annex 9).
_TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class At:
    """A value of `metrics.json` and its place, as a JSON pointer (RFC 6901).

    Attributes:
        raw: the value itself.
        at: its place.
    """

    def __init__(self, raw: Any, at: str = "") -> None:  # noqa: ANN401 - whatever JSON holds
        self.raw = raw
        self.at = at

    @property
    def known(self) -> bool:
        """Return whether there is a value: not null."""
        return self.raw is not None

    def __getitem__(self, key: str | int | At) -> At:
        """Return a part of the value."""
        plain = key.raw if isinstance(key, At) else key
        step = str(plain).replace("~", "~0").replace("/", "~1")
        return At(self.raw[plain], f"{self.at}/{step}")

    def __getattr__(self, name: str) -> At:
        """Return a part of the value by its name."""
        try:
            return self[name]
        except (KeyError, TypeError, IndexError) as error:
            raise AttributeError(f"{self.at or '/'} holds no {name!r}") from error

    def __iter__(self) -> Iterator[At]:
        """Go through a list."""
        return (self[number] for number in range(len(self.raw)))

    def __contains__(self, name: str) -> bool:
        """Return whether a mapping has a name."""
        return self.raw is not None and name in self.raw

    def __len__(self) -> int:
        """Return the length of a list, mapping or string."""
        return len(self.raw)

    def __str__(self) -> str:
        """Return the value as text, to be escaped."""
        return str(self.raw)

    def pairs(self) -> Iterator[tuple[str, At]]:
        """Go through a mapping."""
        return ((name, self[name]) for name in self.raw)


def _shown(form: Callable[[Any], str]) -> Callable[[At], str]:
    """Turn a form of plain numbers into a filter that names the number's place."""

    def show(value: At) -> str:
        raw = value.raw
        if raw is None or (isinstance(raw, float) and not math.isfinite(raw)):
            return "n/a"
        text = '<data value="{}" data-at="{}">{}</data>'
        return Markup(text).format(json.dumps(raw), value.at, form(raw))

    return show


def _share(value: float) -> str:
    """Format a share of 1, such as accuracy: 0.912."""
    return f"{value:.3f}"


def _floor(value: float) -> str:
    """Format a promise, never more than it is: 0.9686 is 0.968."""
    return f"{math.floor(1000 * value) / 1000:.3f}"


def _percent(value: float) -> str:
    """Format a share of 1 in percent: 91 %, 4.3 %."""
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    """Format any number with four digits: 0.6931, 12.35, 5e-05."""
    return f"{value:.4g}"


def _count(value: float) -> str:
    """Format a whole number: 1,066."""
    return f"{value:,.0f}"


def _chance(value: float) -> str:
    """Format a p-value: 0.0312, < 0.0001."""
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _mebibytes(value: float) -> str:
    """Format bytes in MiB: 725."""
    return f"{value / 2**20:,.0f}"


def _place(value: At) -> str:
    """Show the end of a path: the file and its folder, which may be its label."""
    return "/".join(str(value).replace("\\", "/").split("/")[-2:])


def _signed(value: float) -> str:
    """Format a difference: +0.31."""
    return f"{value:+.2f}"


def _setting(value: At) -> str:
    """Show a baseline's setting: 104,870; 9.49; 1, 2; or text."""
    if isinstance(value.raw, list):
        return Markup(", ").join(_setting(entry) for entry in value)
    is_number = isinstance(value.raw, int | float) and not isinstance(value.raw, bool)
    return _shown(lambda raw: f"{raw:,}")(value) if is_number else str(value)


def _strengths(parts: list[list[Any]], method: str) -> list[str]:
    """Return each word's class: f1 to f3 for, a1 to a3 against the answer, "" of no weight."""
    unit, steps = _scale(parts, method)
    levels = [sum(abs(weight) >= least * unit for least in steps) for _, weight in parts]
    return [
        f"{'f' if weight > 0 else 'a'}{level}" if level else ""
        for (_, weight), level in zip(parts, levels, strict=True)
    ]


def _strongest(parts: list[list[Any]], method: str) -> list[tuple[str, int]]:
    """Return the words of the largest weights, and their places among the parts."""
    unit, steps = _scale(parts, method)
    places = sorted(range(len(parts)), key=lambda place: -abs(parts[place][1]))[:TOP_WORDS]
    return [(parts[p][0].strip()[:60], p) for p in places if abs(parts[p][1]) >= steps[0] * unit]


def _scale(parts: list[list[Any]], method: str) -> tuple[float, tuple[float, ...]]:
    """Return the unit of a text's weights and the steps of color: log odds have no bound."""
    if method == "leave-one-out":
        return 1.0, STRONG
    return max((abs(weight) for _, weight in parts), default=0.0) or 1.0, RELATIVE


def _line(value: At | str) -> str:
    """Show a line that holds parts of the data: marks that turn writing around are spelled out.

    One of them in a label would otherwise turn around the words of ours behind it.
    """
    text = str(value)
    return "".join(f"\\u{ord(c):04x}" if c in _TURNING else c for c in text)


FILTERS = {
    "line": _line,
    "share": _shown(_share),
    "floor": _shown(_floor),
    "percent": _shown(_percent),
    "number": _shown(_number),
    "count": _shown(_count),
    "signed": _shown(_signed),
    "chance": _shown(_chance),
    "mebibytes": _shown(_mebibytes),
    "place": _place,
    "setting": _setting,
    "strengths": _strengths,
    "strongest": _strongest,
}
