"""Settings that say what labels mean and how they are written."""

from __future__ import annotations

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


def split_names(setting: str | None) -> tuple[str, ...]:
    """Return the names that a setting lists, separated by commas."""
    return tuple(name.strip() for name in (setting or "").split(",") if name.strip())


def check_task(
    task: str, separator: str, columns: str | None, order: str | None, flag: str = "--task"
) -> None:
    """Check that the settings of a task belong to it.

    Raises:
        ConfigError: one is of another task, or nothing can stand between labels.
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
