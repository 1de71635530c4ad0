"""Findings: what a person should look at in labeled text, where, how bad, and what to do.

error      `lasttoken train` refuses the data as it is
warning    it trains, and what it reports may mislead
note       worth knowing
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lasttoken.data.examples import Example

Severity = Literal["error", "warning", "note"]

MAX_PLACES = 10  # of a finding that are named; all are counted


@dataclass(frozen=True, slots=True)
class Place:
    """Where an example stands.

    Attributes:
        split: "train", "validation" or "test".
        file: the file or data set.
        row: 1-based data row.
    """

    split: str
    file: str
    row: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should look at.

    Attributes:
        kind: a short name that stays the same between versions, such as "conflicting_labels".
        severity: how bad it is.
        found: what was found, in one line.
        remedy: what to do or type.
        count: how many examples it is about; 0 where it is about none in particular.
        places: the first of them, at most 10.
    """

    kind: str
    severity: Severity
    found: str
    remedy: str
    count: int = 0
    places: tuple[Place, ...] = ()


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with errors first, then warnings, then notes."""
    order: list[Severity] = ["error", "warning", "note"]
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def finding_about(
    kind: str,
    severity: Severity,
    found: str,
    remedy: str,
    members: Sequence[tuple[str, Example]],
) -> Finding:
    """Return a finding about these examples, each with its split."""
    places = tuple(Place(split, e.file, e.row) for split, e in members[:MAX_PLACES])
    return Finding(kind, severity, found, remedy, len(members), places)


def listed(parts: Iterable[str], most: int = 5) -> str:
    """Return the first few, and how many more there are."""
    every = list(parts)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if every[most:] else "")


def counted(number: int, noun: str) -> str:
    """Return "1 text" or "2 texts"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def quoted(text: str, most: int = 40) -> str:
    """Return a text's beginning with everything unprintable escaped."""
    return repr(text[:most]) + ("..." if len(text) > most else "")
