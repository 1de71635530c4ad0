"""A smaller table of token embeddings while a model trains.

Training sees some thousand different tokens of a vocabulary of fifty thousand or more. Rows of
tokens that never occur have no gradient, and without weight decay the optimizer leaves them as
they are; all that is done for them (gradients of zero, moments of zero, norms) is for nothing.

    the model's table (V, H)      a b c d e f g h
    tokens seen                     b     e   g
    table in training (U, H)        b e g             and, after it, back in their rows

Source:
    Williams and Aletras (arXiv 2309.08708) leave out rows likewise. The weights after training
    are those of training the whole table, bit for bit but for the order of the gradient norm's sum.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SeenEmbedding(nn.Module):
    """Embed the tokens that training sees, as the model's own table does (some scale, say).

    Args:
        embedding: the model's own table, (V, H).
        token_ids: (U,) int64, sorted, no other token will come.
    """

    row_of: Tensor  # (V,) int64

    def __init__(self, embedding: nn.Embedding, token_ids: Tensor) -> None:
        super().__init__()
        where = embedding.weight.device
        row_of = torch.full((embedding.num_embeddings,), -1, dtype=torch.int64)
        row_of[token_ids] = torch.arange(len(token_ids))
        self.register_buffer("row_of", row_of.to(where), persistent=False)
        self.rows = copy.copy(embedding)  # the same class, with a weight (U, H) of its own
        self.rows._parameters = {"weight": nn.Parameter(embedding.weight.detach()[token_ids])}
        self.rows.num_embeddings = len(token_ids)
        pad = embedding.padding_idx  # its row has no gradient
        self.rows.padding_idx = None if pad is None or row_of[pad] < 0 else int(row_of[pad])

    @property
    def weight(self) -> Tensor:
        """Return the table, (U, H)."""
        return self.rows.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return (..., H) for token ids (...); a token that was not announced is an IndexError."""
        embedded: Tensor = self.rows(self.row_of[input_ids])
        return embedded


@contextmanager
def seen_tokens_only(model: PreTrainedModel, token_ids: NDArray[np.integer[Any]]) -> Iterator[None]:
    """Inside the block, the model embeds these tokens alone; afterwards any token again.

    A table that does not train, or is no `nn.Embedding`, is left as it is.

    Args:
        model: its table is replaced, and filled and put back at the end, also after an error.
        token_ids: every token that the model will be given inside the block, in any order.
    """
    table: Any = model.get_input_embeddings()
    if not isinstance(table, nn.Embedding) or not table.weight.requires_grad:
        yield
        return
    seen = torch.from_numpy(np.unique(token_ids).astype(np.int64)).to(table.weight.device)
    small = SeenEmbedding(table, seen)
    model.set_input_embeddings(small)
    try:
        yield
    finally:
        with torch.no_grad():
            table.weight[seen] = small.weight.to(table.weight.device)
        table.to(small.weight.device)
        model.set_input_embeddings(table)
