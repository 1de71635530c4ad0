"""A classifier as every other program loads it: plain transformers, the folder's word for all.

No pad token is settled, no attention is exchanged, no padding side is set: what the folder says is
what happens. Only weights are taken as fp32, in which answers can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lasttoken.errors import BackboneError
from lasttoken.model.backbone import positions_of
from lasttoken.model.folder import LoadedModel
from lasttoken.model.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class StockModel:
    """What `from_pretrained` gives any program.

    Attributes:
        hf_model: in evaluation mode on the CPU, fp32.
        tokenizer: as it is.
        max_length: tokens at which texts are cut.
    """

    hf_model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int

    @property
    def head_pad_id(self) -> int | None:
        """Return the id that the head takes for padding, by `config.json`."""
        config: Any = self.hf_model.config.get_text_config()
        found: int | None = config.pad_token_id
        return found

    def set_head_pad_id(self, token_id: int) -> None:
        """Tell the head what is padding, in place of `config.json`; nothing is written."""
        config: Any = self.hf_model.config.get_text_config()
        config.pad_token_id = self.hf_model.config.pad_token_id = token_id

    @property
    def fill_id(self) -> int:
        """Return the id that programs pad with: the tokenizer's, else end-of-text."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @property
    def num_positions(self) -> int | None:
        """Return how many positions there are; None where nothing says."""
        return positions_of(self.hf_model.config.get_text_config())

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, cut, as a pipeline with `truncation=True` gives."""
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_length, padding=False, verbose=False
        )
        return [list(ids) for ids in encoded["input_ids"]]

    def num_cut(self, texts: Sequence[str]) -> int:
        """Return how many texts `tokenize` cuts."""
        encoded = self.tokenizer(list(texts), truncation=False, padding=False, verbose=False)
        return sum(len(ids) > self.max_length for ids in encoded["input_ids"])

    def special_inside(self, texts: Sequence[str]) -> list[frozenset[str]]:
        """Return of each text the special tokens that are made of their names inside it."""
        names = dict(
            zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True)
        )
        held = [frozenset(name for name in names if name in text) for text in texts]
        if not any(held):
            return held
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False
        )
        return [
            frozenset(name for name in found if names[name] in ids)
            for found, ids in zip(held, encoded["input_ids"], strict=True)
        ]

    def logits(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits (B, C) that its own `forward` gives.

        Raises:
            ValueError: transformers refuses the batch, or answers with what is no number.
        """
        with torch.inference_mode(), quiet_transformers():
            try:
                output = self.hf_model(**inputs, use_cache=False)
            except Exception as error:  # whatever a family's code raises is the finding
                lines = str(error).splitlines()
                raise ValueError(lines[0] if lines else type(error).__name__) from error
        found: Tensor = output.logits.float()
        if not bool(torch.isfinite(found).all()):
            raise ValueError("the logits are no finite numbers")
        return found


def load_stock(folder: Path, loaded: LoadedModel) -> StockModel:
    """Load a folder as other programs do.

    Args:
        folder: of the model.
        loaded: the same folder as lasttoken loads it, which has refused what is unsafe.

    Raises:
        BackboneError: transformers cannot load it.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            model = AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
            )
    except Exception as error:  # a stranger's files make the library raise whatever they like
        lines = str(error).splitlines()
        raise BackboneError(
            f"{folder}: transformers cannot load it: {lines[0] if lines else type(error).__name__}",
            expected="a folder that AutoModelForSequenceClassification loads",
            remedy="save the model again with save_pretrained()",
        ) from error
    return StockModel(model.eval(), tokenizer, loaded.record.reading.max_length)
