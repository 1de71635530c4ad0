"""What a model folder's files say about padding, lengths and labels, before a text is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lasttoken.model.folder import LoadedModel
from lasttoken.model.inspection import read_json
from lasttoken.model.record import RECORD_NAME
from lasttoken.model.stock import StockModel

_NO_NAME = re.compile(r"LABEL_\d+")  # what transformers calls a label that nobody named


@dataclass(frozen=True)
class FolderFacts:
    """What a folder says.

    Attributes:
        model_type: the family.
        labels: in the order of their ids.
        labels_are_unnamed: whether they are transformers' own "LABEL_0", "LABEL_1" ...
        padding_side: of the tokenizer.
        truncation_side: likewise.
        pad_token: of the tokenizer; None where it has none.
        fill_id: what programs pad with: the tokenizer's pad id, else end-of-text.
        head_pad_id: what the head takes for padding, by config.json; None where it says nothing.
        eos_id: of the end-of-text token.
        vocabulary: rows of the embedding.
        max_length: tokens at which texts are cut here.
        tokenizer_limit: `model_max_length` of the tokenizer; None where it has none.
        num_positions: how far the model's positions reach; None where nothing says.
        saved_lengths: lengths to which the tokenizer was last told to pad or cut.
        saved_padding: how the tokenizer padded last, in words; empty where it did not.
        is_ours: whether lasttoken made it.
        reading_path: "packed", or "padded" where lasttoken cannot pack this family.
    """

    model_type: str
    labels: tuple[str, ...]
    labels_are_unnamed: bool
    padding_side: str
    truncation_side: str
    pad_token: str | None
    fill_id: int
    head_pad_id: int | None
    eos_id: int
    vocabulary: int
    max_length: int
    tokenizer_limit: int | None
    num_positions: int | None
    saved_lengths: tuple[int, ...]
    saved_padding: str
    is_ours: bool
    reading_path: str


def read_facts(folder: Path, stock: StockModel, loaded: LoadedModel) -> FolderFacts:
    """Return what the files of a loaded folder say.

    Raises:
        BackboneError: tokenizer.json is no JSON.
    """
    config: Any = stock.hf_model.config
    labels = loaded.classifier.labels.labels
    lengths, padding = _saved(folder / "tokenizer.json")
    limit = int(stock.tokenizer.model_max_length)
    pad = stock.tokenizer.pad_token
    return FolderFacts(
        model_type=str(config.model_type),
        labels=labels,
        labels_are_unnamed=all(_NO_NAME.fullmatch(label) for label in labels),
        padding_side=str(stock.tokenizer.padding_side),
        truncation_side=str(stock.tokenizer.truncation_side),
        pad_token=None if pad is None else str(pad),
        fill_id=stock.fill_id,
        head_pad_id=stock.head_pad_id,
        eos_id=int(stock.tokenizer.eos_token_id),
        vocabulary=int(config.get_text_config().vocab_size),
        max_length=stock.max_length,
        tokenizer_limit=limit if limit < 1_000_000 else None,
        num_positions=stock.num_positions,
        saved_lengths=lengths,
        saved_padding=padding,
        is_ours=(folder / RECORD_NAME).is_file(),
        reading_path=loaded.classifier.proof.path,
    )


def _saved(path: Path) -> tuple[tuple[int, ...], str]:
    """Return the lengths and the padding that a fast tokenizer had when it was saved."""
    if not path.is_file():
        return (), ""
    content = read_json(path)
    padding, truncation = (content.get(name) for name in ("padding", "truncation"))
    lengths: list[int] = []
    said = ""
    if isinstance(padding, dict):
        strategy = padding.get("strategy")
        fixed = strategy.get("Fixed") if isinstance(strategy, dict) else None
        side = str(padding.get("direction", "")).lower()
        if isinstance(fixed, int):
            lengths.append(fixed)
        to = f"{fixed} tokens" if fixed else "the longest of a batch"
        said = f"on the {side} to {to}"
    if isinstance(truncation, dict) and isinstance(truncation.get("max_length"), int):
        lengths.append(truncation["max_length"])
    return tuple(dict.fromkeys(lengths)), said
