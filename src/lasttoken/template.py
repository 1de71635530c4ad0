"""How texts are asked to be read: the words around them, and what is done with long ones."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Literal, get_args

from lasttoken.errors import ConfigError

LongTexts = Literal["cut-end", "cut-start", "cut-middle", "windows"]


@dataclass(frozen=True)
class Template:
    """The words around a text, or around two, as `--template` names them.

    Attributes:
        before: in front of the text.
        between: between the text and its pair; None where the template has one text.
        after: behind all.
    """

    before: str
    between: str | None
    after: str


def parse_template(template: str | None) -> Template | None:
    r"""Read the setting `template`, such as "Review: {text}\nSentiment:".

    `{{` and `}}` stand for braces; a backslash and an n, as a shell passes them on, for a line
    break, a backslash and a t for a tab.

    Raises:
        ConfigError: braces do not match, `{text}` is not there just once, `{text_pair}` stands
            twice or before it, or there is any other field.
    """
    if template is None:
        return None
    written = str(template).replace(r"\n", "\n").replace(r"\t", "\t")
    try:
        parts = list(string.Formatter().parse(written))
    except ValueError as error:
        raise _bad_template(template, str(error)) from error
    pieces, fields = [""], []
    for literal, name, form, conversion in parts:
        pieces[-1] += literal
        if name is not None:
            fields.append(
                name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            )
            pieces.append("")
    unknown = [name for name in fields if name not in ("text", "text_pair")]
    if unknown:
        raise _bad_template(template, f"unknown field {{{unknown[0]}}}")
    if "text" not in fields:
        raise _bad_template(template, "no {text}")
    if fields not in (["text"], ["text", "text_pair"]):
        wrong = "{text_pair} before {text}" if len(set(fields)) == len(fields) else "a field twice"
        raise _bad_template(template, wrong)
    return Template(pieces[0], pieces[1] if len(fields) == 2 else None, pieces[-1])


def check_reading(template: str | None, long: object, window_overlap: int | None) -> None:
    """Check the settings of how texts are read, as far as no model is needed.

    Raises:
        ConfigError: see `parse_template`; or `long` is unknown; or an overlap without windows.
    """
    parse_template(template)
    if long not in get_args(LongTexts):
        raise ConfigError(
            f"--long {long}", expected=", ".join(get_args(LongTexts)), remedy="--long windows"
        )
    if window_overlap is not None and long != "windows":
        raise ConfigError(
            f"--window-overlap {window_overlap} with --long {long}",
            expected="--long windows, whose windows overlap",
            remedy="--long windows, or leave --window-overlap out",
        )


def _bad_template(template: str, found: str) -> ConfigError:
    return ConfigError(
        f"--template {template!r}: {found}",
        expected="words around {text}, or around {text} and, behind it, {text_pair}; {{ and }} "
        "for braces",
        remedy=r'--template "Review: {text}\nSentiment:"',
    )
