"""Words on the command line to a config: flags and help are made of the config's own fields."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Sequence
from operator import getitem
from typing import Annotated, Any, TypeVar

import tyro

from lasttoken.errors import ConfigError
from lasttoken.settings import read_config_file

ConfigT = TypeVar("ConfigT")

_STYLE = (
    tyro.conf.PositionalRequiredArgs,  # train DATA, predict RUN INPUT
    tyro.conf.FlagCreatePairsOff,  # --overwrite without a --no-overwrite
)


def parse(config_class: type[ConfigT], words: Sequence[str], *, program: str) -> ConfigT | None:
    """Read a command's words; later wins: defaults, the file of `--config`, flags.

    Args:
        config_class: the command's settings.
        words: what follows the command's name.
        program: its name, for help and errors.

    Returns:
        The config, or None after `--help` was printed.

    Raises:
        ConfigError: a word is unknown, missing or not of its type.
    """
    flags, config_path = _take_config_path(list(words), program)
    if config_path is not None:
        flags = _merge(config_class, read_config_file(config_path, config_class), flags)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            named = tyro.cli(_with_names(config_class), prog=program, args=flags, config=_STYLE)
    except SystemExit as end:
        if not end.code:
            return None
        raise _config_fault(end) or _as_config_error(errors.getvalue(), program) from None
    names = [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    return config_class(**{name: getattr(named, name) for name in names})


def _with_names(config_class: type[ConfigT]) -> type[ConfigT]:
    """Return the config with the names that help shows: DATA, and INT instead of {None}|INT."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    fields: list[tuple[str, Any, Any]] = []
    places = getattr(config_class, "optional_places", ())
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        kinds = [k for k in typing.get_args(hints[field.name].__origin__) if k is not type(None)]
        is_required = field.default is dataclasses.MISSING
        is_optional = len(kinds) == 1 and isinstance(kinds[0], type)
        if is_required or is_optional:
            name = field.name if is_required else kinds[0].__name__
            if field.name in places:
                name = f"[{field.name}]"
            named = getitem(Annotated, (hints[field.name], tyro.conf.arg(metavar=name.upper())))
            if field.name in places:
                named = getitem(Annotated, (named, tyro.conf.Positional))
            default = dataclasses.field() if is_required else dataclasses.field(default=None)
            fields.append((field.name, named, default))
    named_class = dataclasses.make_dataclass(
        config_class.__name__, fields, bases=(config_class,), frozen=True, kw_only=True
    )
    named_class.__doc__ = (
        f"{config_class.__doc__} Any flag may stand in a TOML file: --config FILE."
    )
    return named_class


def _config_fault(end: BaseException) -> ConfigError | None:
    """Return the error that a config raised about its values, which the parser has wrapped."""
    cause: BaseException | None = end
    while cause is not None and not isinstance(cause, ConfigError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _take_config_path(words: list[str], program: str) -> tuple[list[str], str | None]:
    for place, word in enumerate(words):
        if word == "--config":
            if place + 1 == len(words):
                raise ConfigError(
                    "--config: no file given",
                    expected="a TOML file",
                    remedy=f"{program} ... --config run.toml",
                )
            return words[:place] + words[place + 2 :], words[place + 1]
        if word.startswith("--config="):
            return words[:place] + words[place + 1 :], word.partition("=")[2]
    return words, None


def _merge(config_class: type, settings: dict[str, object], words: list[str]) -> list[str]:
    """Put the file's settings before the words, without those that the words give themselves."""
    fields = dataclasses.fields(config_class)
    switches = {field.name for field in fields if isinstance(field.default, bool)}
    places = getattr(config_class, "optional_places", ())
    required = [f.name for f in fields if f.default is dataclasses.MISSING or f.name in places]
    positional, flags = _take_positional(words, switches)
    given = {_name_of(word) for word in flags if word.startswith("--")}
    merged: list[str] = []
    for name, value in settings.items():
        if isinstance(value, bool) != (name in switches) or isinstance(value, dict | list):
            raise ConfigError(
                f"--config: {name} = {str(value).lower()}",
                expected="true or false" if name in switches else "a string or a number",
                remedy=f"{name} = true" if name in switches else f'{name} = "..."',
            )
        if name not in required and name not in given and value is not False:
            merged += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    places = [
        *positional,
        *(str(settings[n]) for n in required[len(positional) :] if n in settings),
    ]
    return [*places, *merged, *flags]


def _take_positional(words: list[str], switches: set[str]) -> tuple[list[str], list[str]]:
    """Split words into those that stand for themselves, and flags with their values."""
    positional: list[str] = []
    flags: list[str] = []
    takes_next = False
    for word in words:
        is_flag = word.startswith("--") and not takes_next
        (flags if is_flag or takes_next else positional).append(word)
        takes_next = is_flag and "=" not in word and _name_of(word) not in switches
    return positional, flags


def _name_of(flag: str) -> str:
    return flag.partition("=")[0].removeprefix("--").replace("-", "_")


def _as_config_error(printed: str, program: str) -> ConfigError:
    """Turn the parser's framed message into the three lines."""
    lines = [re.sub(r"[╭╮╰╯│]+", "", line).strip() for line in printed.splitlines()[1:-1]]
    sections = [" ".join(part.split()) for part in re.split(r"─{5,}", " ".join(lines))]
    found, _, choices = sections[0].partition(" Expected one of ")
    found, _, reason = found.partition(": no type matching")
    value = re.search(r"instantiated from \[(.*?)\]", reason)
    found += f": cannot be {value.group(1)}" if value else ""
    near = [s for s in sections[1:] if s.startswith("Perhaps you meant: ")]
    flag = re.search(r"--[\w-]+", near[0]) if near else None
    return ConfigError(
        found.rstrip("."),
        expected=f"one of {choices.strip('().')}" if choices else f"what {program} --help shows",
        remedy=f"did you mean {flag.group()}?" if flag else f"{program} --help",
    )
