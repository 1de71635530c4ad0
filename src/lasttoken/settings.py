"""Settings as people write them: ranges, the forms of a few values, and the file of `--config`."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import numbers
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from lasttoken.errors import ConfigError

LARGEST_SEED = 2**32 - 1  # that numpy and scikit-learn take

ConfigT = TypeVar("ConfigT")

# What is for adapters alone, and for steps alone; anything else than these is refused elsewhere.
LORA_DEFAULTS = {"lora_rank": 16, "lora_alpha": 32.0, "lora_dropout": 0.0}
STEPS_DEFAULTS: dict[str, object] = {
    "layer_decay": 1.0, "gradient_checkpointing": False, "class_weights": "none",
    "focal_gamma": 0.0, "sampling": "all",
}  # fmt: skip

Sampling = Literal["all", "balanced"]


def read_config_file(path: str, config_class: type[ConfigT]) -> dict[str, Any]:
    """Read settings from a TOML file for `--config`; keys may use dashes or underscores.

    Raises:
        ConfigError: the file is missing or no TOML, or a key is no setting of `config_class`.
    """
    try:
        with Path(path).open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            f"--config {path}: {error.strerror or error}",
            expected="a readable TOML file",
            remedy="check the path given to --config",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--config {path}: {error}",
            expected="TOML, such as: num_epochs = 2",
            remedy="mend the line named above",
        ) from error
    known = {field.name for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    settings = {key.replace("-", "_"): value for key, value in content.items()}
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"--config {path}: unknown setting {key!r}",
                expected="one of " + ", ".join(sorted(known)),
                remedy=f"did you mean {near[0]!r}?" if near else "remove it",
            )
    return settings


def config_file_text(settings: Mapping[str, Any]) -> str:
    """Return settings as the file of `--config`; those that are None are left out."""
    lines = []
    for name, value in settings.items():
        if isinstance(value, str):
            # JSON's strings are TOML's but for one character that TOML wants escaped.
            value = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        elif isinstance(value, bool):
            value = str(value).lower()
        if value is not None:
            lines.append(f"{name} = {value}\n")
    return "".join(lines)


@dataclass(frozen=True)
class Trainable:
    """Which part of a model learns.

    Attributes:
        kind: "full" (all), "last" (the last blocks, the final norm and the head), "lora" (adapters
            beside the blocks' matrices, and the head) or "probe" (the head).
        num_blocks: K of "last"; None otherwise.
    """

    kind: Literal["full", "last", "lora", "probe"]
    num_blocks: int | None = None


def parse_trainable(value: object) -> Trainable:
    """Read the setting `trainable`.

    Raises:
        ConfigError: it is none of full, lora, probe, last-1, last-2 ...
    """
    if value == "full" or value == "lora" or value == "probe":
        return Trainable(value)
    match = re.fullmatch(r"last-([1-9][0-9]*)", value) if isinstance(value, str) else None
    if match is None:
        raise ConfigError(
            f"--trainable {value}",
            expected="full, lora, probe, or last-K with K the number of blocks that learn, 1 or "
            "more",
            remedy="--trainable last-3",
        )
    return Trainable("last", int(match.group(1)))


def parse_class_weights(value: object) -> Mapping[str, float] | Literal["balanced"] | None:
    """Read the setting `class_weights`: none, balanced, or the weights of some labels.

    Args:
        value: "none", "balanced", "a=2,b=0.5", the same as a JSON object (for labels that contain
            a comma), or a mapping.

    Raises:
        ConfigError: it is nothing of the kind, or a weight is no number above 0.
    """
    if value == "none":
        return None
    if value == "balanced":
        return "balanced"
    pairs = _weight_pairs(value)
    if not pairs:
        raise ConfigError(
            f"--class-weights {value}",
            expected="none, balanced, or LABEL=WEIGHT,LABEL=WEIGHT, each label once",
            remedy="--class-weights balanced",
        )
    weights = {}
    for label, weight in pairs.items():
        try:
            weights[label] = float(weight)
        except (TypeError, ValueError):
            weights[label] = math.nan
        if not 0 < weights[label] < math.inf:
            raise ConfigError(
                f"--class-weights: the weight of label {label!r} is {weight}",
                expected="a number above 0; a label without a weight has 1",
                remedy="give another weight, or leave the label out",
            )
    return weights


def _weight_pairs(value: object) -> dict[str, Any]:
    """Return label to weight as they are written; empty if that is no form of them."""
    if isinstance(value, Mapping):
        return {str(label): weight for label, weight in value.items()}
    if not isinstance(value, str):
        return {}
    if value.startswith("{"):
        try:
            content = json.loads(value)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}
    parts = [part.rpartition("=") for part in value.split(",")]
    pairs = {label.strip(): weight.strip() for label, sign, weight in parts if sign}
    return pairs if len(pairs) == len(parts) else {}


def parse_depth(value: object) -> int | Literal["auto"] | None:
    """Read the setting `depth`: a number of blocks, "auto", or None for all, which "all" is too.

    Raises:
        ConfigError: it is nothing of the kind.
    """
    if value is None or value == "all":
        return None
    if value == "auto":
        return "auto"
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]*", value):
        return int(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1:
        return int(value)
    raise ConfigError(
        f"--depth {value}",
        expected="all, auto, or the number of blocks to keep, 1 or more",
        remedy="--depth auto",
    )


def check_learning(config: Any) -> None:  # noqa: ANN401 - anything with these settings
    """Check that every setting of how weights learn has something to act on, and none acts twice.

    Raises:
        ConfigError: one is set that would change nothing, or two do the same.
    """
    weights = parse_class_weights(config.class_weights)
    if config.sampling not in get_args(Sampling):
        raise ConfigError(
            f"--sampling {config.sampling}",
            expected="one of " + ", ".join(get_args(Sampling)),
            remedy="--sampling balanced, to draw as many examples of each label",
        )
    if weights is not None and config.sampling == "balanced":
        raise ConfigError(
            f"--class-weights {config.class_weights} with --sampling balanced",
            expected="one of the two: together they would count rare labels twice",
            remedy="leave one of them out",
        )
    kind = parse_trainable(config.trainable).kind
    if kind != "lora":
        for name, default in LORA_DEFAULTS.items():
            value = getattr(config, name)
            if value != default:
                raise ConfigError(
                    f"--{name.replace('_', '-')} {value} with --trainable {config.trainable}",
                    expected="--trainable lora: no other way of training has adapters",
                    remedy="--trainable lora, or leave it out",
                )
    if kind == "probe":
        for name, unset in STEPS_DEFAULTS.items():
            value = getattr(config, name)
            if value != unset:
                flag = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
                raise ConfigError(
                    f"{flag} with --trainable probe",
                    expected="a model that is trained: a probe's head is fitted, without steps",
                    remedy="leave it out, or --trainable last-1",
                )


def check_ranges(
    config: Any,  # noqa: ANN401 - any of the dataclasses above
    positive: tuple[str, ...] = (),
    not_negative: tuple[str, ...] = (),
    below_one: tuple[str, ...] = (),
    at_most_one: tuple[str, ...] = (),
    seeds: tuple[str, ...] = (),
) -> None:
    """Check the ranges of a dataclass's numbers; None passes, all faults are told together.

    Raises:
        ConfigError: at least one number is out of its range.
    """
    rules: list[tuple[tuple[str, ...], str, Callable[[float], bool]]] = [
        (positive, "a number above 0", lambda value: value > 0),
        (not_negative, "0 or more", lambda value: value >= 0),
        (below_one, "below 1", lambda value: value < 1),
        (at_most_one, "at most 1", lambda value: value <= 1),
        (seeds, f"between 0 and {LARGEST_SEED}", lambda value: 0 <= value <= LARGEST_SEED),
    ]
    faults = []
    for names, expected, holds in rules:
        for name in names:
            value = getattr(config, name)
            if value is not None and not holds(value):
                faults.append((f"--{name.replace('_', '-')} {value}", expected))
    if faults:
        raise ConfigError(
            "; ".join(dict.fromkeys(found for found, _ in faults)),
            expected="; ".join(f"{found.split()[0]} {expected}" for found, expected in faults),
            remedy="give another value",
        )


def is_number(setting: str) -> bool:
    """Return whether a setting that takes a fraction or a path is a number."""
    try:
        float(setting)
    except ValueError:
        return False
    return True
