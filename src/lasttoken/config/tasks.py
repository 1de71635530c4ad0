"""Settings that say what labels mean and how they are written."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable
from typing import Annotated, Literal

from typing_extensions import Doc

from lasttoken.errors import ConfigError

# What labels mean, and how they are written; `train`, `tune` and `check` are told alike.
Task = Annotated[
    Literal["single-label", "multi-label", "ordinal", "regression"],
    Doc("a text has one label, any number of them, one on an ordered scale, or a number"),
]
LabelSeparator = Annotated[str, Doc("multi-label: between the labels of a set")]
LabelColumns = Annotated[str | None, Doc("multi-label: columns of 0 and 1, as a,b,c [none]")]
LabelOrder = Annotated[str | None, Doc("ordinal: low,mid,high, the lowest first [by number]")]


def split_names(setting: str | None, *, keep_blank: bool = False) -> tuple[str, ...]:
    """Return the names that a setting lists: a line of CSV, `low,"middle, or so",high`.

    Args:
        setting: names with commas or line breaks stand in quotes.
        keep_blank: return the empty names between two commas too, for who counts them.
    """
    rows = csv.reader(io.StringIO(setting or "", newline=""), skipinitialspace=True)
    names = (name.strip() for row in rows for name in row)
    return tuple(name for name in names if name or keep_blank)


def join_names(names: Iterable[str]) -> str:
    """Return the setting that lists names, as `split_names` reads it."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def check_task(
    task: str, separator: str, columns: str | None, order: str | None, flag: str = "--task"
) -> None:
    """Check that the settings of a task belong to it.

    Raises:
        ConfigError: one is of another task, nothing can stand between labels, or a label's column
            is named twice or holds the separator.
    """
    rules = (
        ("--label-separator", separator, separator != "|", "multi-label"),
        ("--label-columns", columns, columns is not None, "multi-label"),
        ("--label-order", order, order is not None, "ordinal"),
    )
    for name, value, is_given, owner in rules:
        if is_given and task != owner:
            raise ConfigError(
                f"{name} {value} with {flag} {task}",
                expected=f"{flag} {owner}, whose labels it is about",
                remedy=f"{flag} {owner}, or leave {name} out",
            )
    if not separator.strip() and separator != "\t":
        raise ConfigError(
            f"--label-separator {separator!r}: nothing that could be seen between two labels",
            expected="a character such as | or ;",
            remedy="--label-separator ';'",
        )
    names = split_names(columns)
    twice = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if twice is not None:
        raise ConfigError(
            f"--label-columns {columns}: {twice!r} twice",
            expected="each label's column once",
            remedy="--label-columns " + shlex.quote(join_names(dict.fromkeys(names))),
        )
    joined = next((name for name in names if separator in name), None)
    if joined is not None:
        raise ConfigError(
            f"--label-columns {columns}: label {joined!r} contains the separator {separator!r}",
            expected="labels that can be joined to a set and told apart again",
            remedy="another --label-separator, or rename the column",
        )
    if columns is not None and not names:
        raise ConfigError(
            f"--label-columns {columns!r}: no column",
            expected="columns of 0 and 1, one for each label",
            remedy="--label-columns joy,fear, or leave it out: one column holds the sets",
        )
