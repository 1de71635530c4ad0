"""The reading of a classifier, settled from what a person asked for and what the model can do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from lasttoken.errors import ConfigError
from lasttoken.model.frame import PAIR_SEPARATOR, added_tokens, put_frame
from lasttoken.model.reading import Reading
from lasttoken.template import LongTexts, check_reading, parse_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


def settle_reading(
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    limit: int,
    *,
    max_length: int | None = None,
    template: str | None = None,
    has_pairs: bool = False,
    long: LongTexts = "cut-end",
    window_overlap: int | None = None,
) -> tuple[PreTrainedTokenizerBase, Reading]:
    """Decide how the texts of a classifier become tokens.

    Args:
        tokenizer: as it came with the model.
        config: of the model.
        limit: tokens that the model can read.
        max_length: tokens that are read at once; None is `limit`.
        template: see `template.parse_template`.
        has_pairs: whether every text comes with a second one.
        long: what is done with texts of more tokens.
        window_overlap: tokens of text that two windows share, at least; None is a quarter.

    Returns:
        The tokenizer that puts around every text what belongs there, and the reading.

    Raises:
        ConfigError: a setting is not one, or they contradict each other; no room is left for a
            text; windows overlap too much; or a slow tokenizer would have to do what it cannot.
        BackboneError: the tokenizer would not be the same when it is saved and loaded.
    """
    check_reading(template, long, window_overlap)
    check_pairs(template, has_pairs=has_pairs)
    own = added_tokens(tokenizer, has_pairs=has_pairs)
    separator = PAIR_SEPARATOR if has_pairs and template is None and not own[1] else ""
    asked = [
        f"--template {template!r}" if template is not None else "",
        "--text-pair-column" if separator else "",
        "--long windows" if long == "windows" else "",
    ]
    if any(asked) and not tokenizer.is_fast:
        _refuse_slow(tokenizer, next(filter(None, asked)))
    reading = Reading(
        limit if max_length is None else max_length,
        template, has_pairs, separator, long, before=own[0], between=own[1], after=own[2],
    )  # fmt: skip
    if template is not None or separator:
        tokenizer, reading = put_frame(tokenizer, config, reading)
    if reading.room < 1 + has_pairs:
        _refuse_no_room(reading)
    if long == "windows":
        reading = replace(reading, window_overlap=_overlap(reading, window_overlap))
    tokenizer.truncation_side = reading.truncation_side
    return tokenizer, reading


def check_pairs(template: str | None, *, has_pairs: bool) -> None:
    """Check that a template has a place for the second text if there is one, and only then.

    Raises:
        ConfigError: it is otherwise, or no template.
    """
    words = parse_template(template)
    if words is None or (words.between is not None) == has_pairs:
        return
    if has_pairs:
        raise ConfigError(
            f"--template {template!r}: no {{text_pair}}, but the texts come in pairs",
            expected="a template with {text} and, behind it, {text_pair}",
            remedy=r'--template "{text}\n{text_pair}"',
        )
    raise ConfigError(
        f"--template {template!r}: has {{text_pair}}, but the texts come alone",
        expected="a column of second texts, or a template with {text} only",
        remedy="--text-pair-column NAME",
    )


def _refuse_slow(tokenizer: PreTrainedTokenizerBase, asked: str) -> NoReturn:
    raise ConfigError(
        f"{asked}: {type(tokenizer).__name__} is a slow tokenizer, which does not save what stands "
        "around texts, nor tell where tokens stand",
        expected="a fast tokenizer (tokenizer.json)",
        remedy=f"leave {asked.split()[0]} out, or another --model",
    )


def _refuse_no_room(reading: Reading) -> NoReturn:
    num_added, most = reading.max_length - reading.room, reading.max_length
    what = "--template" if reading.template else f"--max-length {most}: beside the text"
    shorter = "a shorter --template, or " if reading.template else ""
    raise ConfigError(
        f"{what}: {num_added} tokens, which leaves no room for a text",
        expected=f"fewer than the {most} tokens that are read at once",
        remedy=f"{shorter}a larger --max-length",
    )


def _overlap(reading: Reading, wished: int | None) -> int:
    """Return the tokens that windows share: at most half of one, whatever stands beside it."""
    smallest = reading.room // 2 if reading.has_pairs else reading.room
    if wished is None:
        return smallest // 4
    if wished > smallest // 2:
        raise ConfigError(
            f"--window-overlap {wished}: a window has {smallest} tokens of the text"
            + (" or more" if reading.has_pairs else ""),
            expected=f"at most half of that, {smallest // 2}",
            remedy=f"--window-overlap {smallest // 4}, or a larger --max-length",
        )
    return wished
