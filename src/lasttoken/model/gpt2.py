"""GPT-2's block in fewer calls: for one short text, calling takes as long as computing.

The family's own code also serves generation, cross-attention, and callers who want to see every
module run. A packed batch in evaluation mode needs none of it; what is left are these operations:

    hidden states -> norm -> query, key, value -> attention -> product -> +
                  -> norm -> product, activation -> product            -> +

Proved at load like everything that stands in for a family's code (`model.proof`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from lasttoken.model.attention import Attends, Scoring

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ShortBlock:
    """Stands in for the `forward` of a `GPT2Block`, on this instance only.

    Args:
        block: a `GPT2Block` without cross-attention.
    """

    def __init__(self, block: Any) -> None:  # noqa: ANN401 - attributes that torch types loosely
        self._block = block
        self._whole = block.forward
        self._scoring = Scoring(float(block.attn.scaling))

    def __call__(
        self,
        hidden_states: Tensor,
        *args: Any,  # noqa: ANN401 - the family's own
        packing: Attends | None = None,
        **kwargs: Any,  # noqa: ANN401 - the family's own
    ) -> Tensor:
        """Return (1, T, H) for hidden states (1, T, H).

        Called in training, or without a packing, it is the family's own forward.
        """
        if packing is not None and self.is_short:
            return self.answer(hidden_states, None, packing)
        handed_on = {} if packing is None else {"packing": packing}
        whole: Tensor = self._whole(hidden_states, *args, **handed_on, **kwargs)
        return whole

    @property
    def is_short(self) -> bool:
        """Return whether the block runs in fewer calls: without its dropout, that is."""
        return not bool(self._block.training)

    def answer(self, hidden_states: Tensor, rows: Tensor | None, packing: Attends) -> Tensor:
        """Return the block's output at some tokens, or at all.

        Args:
            hidden_states: (1, T, H).
            rows: (R,) int64, the tokens for which `packing` answers; None is all, R = T.
            packing: who sees whom.

        Returns:
            (1, R, H).
        """
        attn, mlp = self._block.attn, self._block.mlp
        heads = (*hidden_states.shape[:2], attn.num_heads, attn.head_dim)
        joined = attn.c_attn.forward(_norm(self._block.ln_1, hidden_states))  # (1, T, 3 H)
        query, key, value = (part.view(heads).transpose(1, 2) for part in joined.chunk(3, dim=-1))
        attended = packing.attend(query, key, value, self._scoring).flatten(2)  # (1, R, H)
        if rows is not None:
            hidden_states = hidden_states.index_select(1, rows)
        hidden_states = attn.c_proj.forward(attended) + hidden_states
        inner = mlp.act.forward(mlp.c_fc.forward(_norm(self._block.ln_2, hidden_states)))
        output: Tensor = hidden_states + mlp.c_proj.forward(inner)
        return output


def install(model: PreTrainedModel) -> bool:
    """Let short blocks stand in, if these are GPT-2's; return whether they are."""
    blocks = _plain_blocks(model)
    for block in blocks:
        block.forward = ShortBlock(block)
    return bool(blocks)


def remove(model: PreTrainedModel) -> None:
    """Give every block its own forward back."""
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), ShortBlock):
            del module.forward


def _plain_blocks(model: PreTrainedModel) -> list[Any]:
    return [
        module
        for module in model.modules()
        if type(module) is GPT2Block
        and not hasattr(module, "crossattention")
        and "forward" not in module.__dict__
        and not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    ]


def _norm(norm: nn.LayerNorm, inputs: Tensor) -> Tensor:
    return torch.layer_norm(inputs, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
