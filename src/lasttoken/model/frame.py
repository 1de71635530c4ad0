r"""The frame around every text: a template's tokens, put there by the saved tokenizer itself.

    "Review: {text}\nSentiment:"        before      "Review:"           a post-processor's, like
                                        after       "\nSentiment:"      beginning-of-text
                                        " " + text                      a normalizer's

So every program that loads the folder reads texts between the template's words without knowing of
them, and cuts a long text there. The words are tokenized piece by piece, each in its place. A space
in front of the text belongs to its first word, as in natural writing; which of a few ways of doing
that gives the tokens of the whole string is found out by trying.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lasttoken.errors import BackboneError
from lasttoken.model.backbone import load_tokenizer
from lasttoken.model.reading import Reading
from lasttoken.template import Template, parse_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

PAIR_SEPARATOR = "\n"

# What frames are tried on: beginnings and ends of words of all kinds, and white space inside.
_PROBES = (
    "good film",
    "Good",
    "so  so",
    "42",
    "(well)",
    '"Yes!"',
    "\u00e9t\u00e9",
    "\u597d",
    "a\nb",
)

# A tokenizer of nothing, whose parts can be set from JSON.
_EMPTY_TOKENIZER: Mapping[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
    "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {}, "unk_token": ""},
}  # fmt: skip

_Pieces = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # before, between, after


def plain_reading(tokenizer: PreTrainedTokenizerBase, max_length: int) -> Reading:
    """Return how a tokenizer reads texts as it is, single ones or pairs."""
    before, between, after = added_tokens(tokenizer, has_pairs=True)
    return Reading(max_length, before=before, between=between, after=after)


def put_frame(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, reading: Reading
) -> tuple[PreTrainedTokenizerBase, Reading]:
    """Make the tokenizer that puts a template, or a separator of pairs, around every text.

    Args:
        tokenizer: a fast one, as it came with the model; it stays as it is.
        config: of the model, beside which the tokenizer will be saved.
        reading: without tokens yet.

    Returns:
        The tokenizer, and the reading with its tokens.

    Raises:
        BackboneError: the tokenizer would not be the same when it is saved and loaded.
    """
    own = added_tokens(tokenizer, has_pairs=bool(reading.has_pairs))
    words = parse_template(reading.template) or Template("", reading.pair_separator, "")
    probes = list(zip(_PROBES, reversed(_PROBES), strict=True))
    written = [_written(tokenizer, words, own, texts) for texts in probes]
    most_alike = -1
    for spaces in _ways_of_spacing(words):
        way = _framed(tokenizer, words, own, **spaces)
        read = [_ids(way[0], *_used(words, texts), specials=True) for texts in probes]
        alike = sum(map(list.__eq__, read, written))
        if alike > most_alike:
            most_alike, (framed, (before, between, after)) = alike, way
        if alike == len(probes):
            break
    _prove_saved(framed, config, bool(reading.has_pairs))
    replaced = {
        name: None if part is None else json.loads(part.__getstate__())
        for name, part in (
            ("normalizer", tokenizer.backend_tokenizer.normalizer),
            ("post_processor", tokenizer.backend_tokenizer.post_processor),
        )
    }
    return framed, replace(reading, before=before, between=between, after=after, replaced=replaced)


def remove_frame(tokenizer: PreTrainedTokenizerBase, reading: Reading) -> None:
    """Make a framed tokenizer, in place, the one it was before."""
    from tokenizers import Tokenizer

    if not reading.replaced:
        return
    parts = Tokenizer.from_str(json.dumps({**_EMPTY_TOKENIZER, **reading.replaced}))
    tokenizer.backend_tokenizer.normalizer = parts.normalizer
    tokenizer.backend_tokenizer.post_processor = parts.post_processor


def check_frame(tokenizer: PreTrainedTokenizerBase, reading: Reading, folder: Path) -> None:
    """Check that a loaded tokenizer puts around texts what it put there in training.

    Raises:
        BackboneError: it does not.
    """
    text = _ids(tokenizer, "a")
    middle = [*reading.between, *text] if reading.has_pairs else []
    expected = [*reading.before, *text, *middle, *reading.after]
    found = _ids(tokenizer, *(["a", "a"] if reading.has_pairs else ["a"]), specials=True)
    if found != expected:
        raise BackboneError(
            f"{folder}: its tokenizer makes the tokens {found} of the text 'a'",
            expected=f"{expected}, as in training",
            remedy="restore tokenizer.json and tokenizer_config.json",
        )


def num_read_otherwise(
    own: PreTrainedTokenizerBase,
    framed: PreTrainedTokenizerBase,
    reading: Reading,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
) -> int:
    """Return of how many texts the tokens are not those of the string with the template around it.

    Args:
        own: the tokenizer as it came with the model.
        framed: by `put_frame`.
        reading: likewise.
        texts: N strings.
        pairs: N second ones, or None.
    """
    words = parse_template(reading.template) or Template("", reading.pair_separator, "")
    added = added_tokens(own, has_pairs=pairs is not None)
    return sum(
        _ids(framed, *_used(words, both), specials=True) != _written(own, words, added, both)
        for both in zip(texts, repeat("") if pairs is None else pairs, strict=False)
    )


def added_tokens(tokenizer: PreTrainedTokenizerBase, *, has_pairs: bool) -> _Pieces:
    """Return what a tokenizer puts before, between (without pairs nothing) and behind texts."""
    bare = _ids(tokenizer, "a")
    full = _ids(tokenizer, "a", specials=True)
    length = len(bare)
    starts = [start for start in range(len(full)) if full[start : start + length] == bare]
    if not starts or not length:
        return (), (), ()
    before, after = full[: starts[0]], full[starts[0] + length :]
    between: list[int] = []
    if has_pairs:
        pair = _ids(tokenizer, "a", "a", specials=True)
        between = pair[len(before) + length : len(pair) - len(after) - length]
    return tuple(before), tuple(between), tuple(after)


def _ways_of_spacing(words: Template) -> list[dict[str, bool]]:
    """Return the ways to try, the best first: who gives the space in front of a text its place."""
    fronts = [words.before] if words.between is None else [words.before, words.between]
    as_written = {"without_space": False, "prepends": False}
    if not any(front.endswith(" ") for front in fronts):
        return [as_written]
    by_tokenizer = {"without_space": True, "prepends": False}  # it starts every text with a space
    if not all(front.endswith(" ") for front in fronts):
        return [by_tokenizer, as_written]
    return [{"without_space": True, "prepends": True}, by_tokenizer, as_written]


def _framed(
    tokenizer: PreTrainedTokenizerBase,
    words: Template,
    own: _Pieces,
    *,
    without_space: bool,
    prepends: bool,
) -> tuple[PreTrainedTokenizerBase, _Pieces]:
    """Return the tokenizer with the words around every text, and their tokens.

    Args:
        tokenizer: as it came with the model.
        words: around a text, or two.
        own: what the tokenizer adds; what it puts between two texts gives way to the template's.
        without_space: leave out the space that a piece ends in.
        prepends: put a space in front of every text instead.
    """
    from tokenizers import normalizers, processors
    from transformers import PreTrainedTokenizerFast

    front, middle = words.before, words.between or ""
    if without_space:
        front, middle = front.removesuffix(" "), middle.removesuffix(" ")
    pieces = {
        "before": [*own[0], *_ids(tokenizer, front, split=False)],
        "between": ids_behind(tokenizer, words.before + "a", middle),
        "after": [*ids_behind(tokenizer, f"{words.before}a{words.between or ''}a", words.after),
                  *own[2]],
    }  # fmt: skip
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    if prepends:
        steps = [normalizers.Prepend(" "), *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = normalizers.Sequence(steps)
    before, between, after = ([name] if ids else [] for name, ids in pieces.items())
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A:0", *between, "$B:0", *after],
        special_tokens=[
            {"id": name, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
            for name, ids in pieces.items()
            if ids
        ],
    )
    names = {name: token for name, token in tokenizer.special_tokens_map.items()
             if isinstance(token, str)}  # fmt: skip
    # Of the plain class: others rebuild their parts when they are loaded, and lose some.
    framed = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        split_special_tokens=True,
        **names,
    )
    return framed, (tuple(pieces["before"]), tuple(pieces["between"]), tuple(pieces["after"]))


def _prove_saved(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, has_pairs: bool
) -> None:
    """Check that a framed tokenizer, saved and loaded, does the same."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        again = load_tokenizer(Path(folder))
    for text in _PROBES:
        texts = (text, text) if has_pairs else (text,)
        if _ids(again, *texts, specials=True) != _ids(tokenizer, *texts, specials=True):
            raise BackboneError(
                f"{type(again).__name__}: transformers loads it without what puts words around "
                "texts",
                expected="a tokenizer that keeps its post-processor and normalizer",
                remedy="leave --template and --text-pair-column out, or another --model",
            )


def _written(
    tokenizer: PreTrainedTokenizerBase, words: Template, own: _Pieces, texts: tuple[str, str]
) -> list[int]:
    """Return the tokens of the string with the words written around the text, or two texts."""
    middle = "" if words.between is None else words.between + texts[1]
    ids = _ids(tokenizer, words.before + texts[0] + middle + words.after, split=False)
    return [*own[0], *ids, *own[2]]


def _used(words: Template, texts: tuple[str, str]) -> tuple[str, ...]:
    return texts[:1] if words.between is None else texts


def ids_behind(tokenizer: PreTrainedTokenizerBase, context: str, words: str) -> list[int]:
    """Return the tokens of words behind others, or alone where they melt together with them."""
    first, both = (_ids(tokenizer, text, split=False) for text in (context, context + words))
    stays = both[: len(first)] == first
    return both[len(first) :] if stays else _ids(tokenizer, words, split=False)


def _ids(
    tokenizer: PreTrainedTokenizerBase, *texts: str, specials: bool = False, split: bool = True
) -> list[int]:
    """Return the token ids of a text, or of two.

    Args:
        tokenizer: any.
        texts: one or two.
        specials: with what the tokenizer puts around them.
        split: whether names of special tokens are text; those of a template are tokens.
    """
    return list(
        tokenizer(
            *texts, add_special_tokens=specials, split_special_tokens=split, verbose=False
        )["input_ids"]
    )  # fmt: skip
