"""The same texts laid before one classifier in every way, and what changes.

Texts alone, through the stock model, are what all other answers are compared with. Where labels are
known, accuracy under each way tells which one the classifier was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lasttoken.doctor.answers import TOLERANCE, Answers, Examiner, Logits, packed_logits
from lasttoken.doctor.arrangements import (
    ALONE,
    ALWAYS,
    RIGHT,
    USUAL_LENGTHS,
    Arrangement,
    Side,
    lay,
    own_arrangement,
)
from lasttoken.doctor.folder_facts import FolderFacts, read_facts
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.events import EventCallback
from lasttoken.model.folder import LoadedModel, load_for_prediction
from lasttoken.model.stock import StockModel, load_stock

PACKED = "packed"  # by lasttoken; everything else is by the stock model
_NUM_END_OF_TEXT = 8  # texts that are given the marker


@dataclass(frozen=True)
class EndOfText:
    """What becomes of texts that end in the end-of-text marker.

    Attributes:
        marker: the token's name.
        becomes_token: whether the tokenizer makes that token of its name inside a text.
        is_read_early: whether the stock head reads the token before it.
    """

    marker: str
    becomes_token: bool
    is_read_early: bool


@dataclass(frozen=True)
class Examination:
    """What was found out about a classifier.

    Attributes:
        folder: of the model.
        facts: what its files say.
        num_texts: texts that were read.
        longest: tokens of the longest of them.
        num_empty: texts left out because the tokenizer makes nothing of them.
        num_cut: texts that were cut at the model's limit.
        answers: by the name of the arrangement; "packed" is lasttoken's own.
        own: name of the arrangement that a pipeline with a batch size uses.
        batch_fault: why stock heads refuse several texts at once; empty if they do not. Where they
            do, all else was found out after they were told the tokenizer's padding.
        end_of_text: what becomes of the marker.
        majority: share of the commonest label; None without labels.
        lengths: fixed ones that were tried.
        token_ids: of the texts, by the folder's own tokenizer.
        special_inside: of each text, the special tokens that were made of their names inside it.
        packed_logits: (N, C), by lasttoken.
    """

    folder: Path
    facts: FolderFacts
    num_texts: int
    longest: int
    num_empty: int
    num_cut: int
    answers: dict[str, Answers]
    own: str
    batch_fault: str
    end_of_text: EndOfText
    majority: float | None
    lengths: tuple[int, ...]
    token_ids: list[list[int]]
    special_inside: list[frozenset[str]]
    packed_logits: Logits


def examine(
    folder: Path,
    texts: Sequence[str],
    label_ids: NDArray[np.int64] | None,
    on_event: EventCallback,
    *,
    lengths: Sequence[int] = (),
) -> Examination:
    """Lay texts before a classifier in every way.

    Args:
        folder: a model folder, whoever made it.
        texts: N of them, in the order in which batches are made.
        label_ids: (N,) ids of their true labels in the model's order; None where they are unknown.
        on_event: hears progress.
        lengths: to which texts may have been padded, beside those that the folder names and, where
            labels can tell them apart, the usual ones.

    Raises:
        LastTokenError: the model cannot be loaded safely, or is no decoder with a trained head; or
            it does not read as far as a length of `lengths`.
    """
    loaded = load_for_prediction(folder)
    stock = load_stock(folder, loaded)
    facts = read_facts(folder, stock, loaded)
    _refuse_lengths(lengths, stock.max_length)
    token_ids = stock.tokenize(texts)
    read = [place for place, ids in enumerate(token_ids) if ids]
    if not read:
        raise DatasetError(
            f"{len(texts):,} texts: the tokenizer makes no token of any of them",
            expected="a text with a letter in it",
            remedy="other texts",
        )
    token_ids = [token_ids[place] for place in read]
    truth = None if label_ids is None else label_ids[read]
    packed = packed_logits(loaded, token_ids)
    batch_fault = _let_batch(stock, token_ids)
    examiner = Examiner(stock, loaded, token_ids, truth, on_event)
    usual = () if truth is None else USUAL_LENGTHS
    tried = {
        length
        for length in (*usual, *facts.saved_lengths, *lengths)
        if 1 < length <= stock.max_length
    }
    answers = {
        arrangement.name: examiner.answer(arrangement)
        for arrangement in (*ALWAYS, *_fixed(sorted(tried), examiner))
    }
    answers[PACKED] = examiner.judge(PACKED, f"{facts.reading_path} by lasttoken", packed)
    return Examination(
        folder,
        facts,
        len(token_ids),
        max(map(len, token_ids)),
        len(texts) - len(token_ids),
        stock.num_cut(texts),
        answers,
        own_arrangement(facts.padding_side).name,
        batch_fault,
        _end_of_text(stock, loaded, token_ids),
        None if truth is None else float(np.bincount(truth).max() / len(truth)),
        tuple(sorted(tried)),
        token_ids,
        stock.special_inside([texts[place] for place in read]),
        packed,
    )


def _refuse_lengths(lengths: Sequence[int], limit: int) -> None:
    """Refuse lengths to which no training can have padded.

    Raises:
        ConfigError: one is below 2 or above what the model reads.
    """
    for length in lengths:
        if not 1 < length <= limit:
            raise ConfigError(
                f"--padded-length {length}: the model reads up to {limit:,} tokens",
                expected=f"2 to {limit:,}",
                remedy="the length that its training padded to, or leave it out",
            )


def _fixed(lengths: Sequence[int], examiner: Examiner) -> list[Arrangement]:
    """Return the arrangements to a fixed length of each side whose padding changes answers.

    Texts of one length have no padding beside each other, but beside a long one.
    """

    def is_read(side: Side) -> bool:
        forms = (form for form in ALWAYS if form.side == side and not form.with_positions)
        found = [examiner.answer(form) for form in forms]
        return any(not answers.is_same and not answers.fault for answers in found)

    sides: tuple[Side, ...] = ("left", "right")
    return [Arrangement(side, length=n) for side in sides if is_read(side) for n in lengths]


def _let_batch(stock: StockModel, token_ids: list[list[int]]) -> str:
    """Tell a head that knows no padding what it is; return how it refused several texts before."""
    if stock.head_pad_id is not None:
        return ""
    two = [token_ids[0], token_ids[-1]]
    fault = ""
    try:
        for inputs in lay(two, RIGHT, fill_id=stock.fill_id, limit=stock.max_length):
            stock.logits(inputs)
    except ValueError as error:
        fault = str(error)
    stock.set_head_pad_id(stock.fill_id)
    return fault


def _end_of_text(stock: StockModel, loaded: LoadedModel, token_ids: list[list[int]]) -> EndOfText:
    """Find out whether a text that ends in the marker is read at its true end."""
    tokenizer = stock.tokenizer
    marker, marker_id = str(tokenizer.eos_token), int(tokenizer.eos_token_id)
    inside = tokenizer("a" + marker, add_special_tokens=False, verbose=False)["input_ids"]
    room = stock.max_length - 1
    ended = [[*ids[:room], marker_id] for ids in token_ids[:_NUM_END_OF_TEXT]]
    truly = packed_logits(loaded, ended)
    rows = lay(ended, ALONE, fill_id=stock.fill_id, limit=stock.max_length)
    read = np.concatenate([stock.logits(inputs).numpy() for inputs in rows])
    reach = TOLERANCE * max(1.0, float(np.abs(truly).max()))
    return EndOfText(marker, marker_id in inside, bool(np.abs(read - truly).max() > reach))
