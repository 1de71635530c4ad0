"""The classifier: backbone, last-token pooling, head, loss.

    input_ids (1, T) -> backbone -> hidden states (T, H) -> last tokens (B, H) -> logits (B, C)

Any layout comes in; inside, everything is packed. A family whose attention cannot be packed
faithfully is read padded on the right instead; which of the two was proved at load (`proof`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from lasttoken.data.labels import LabelSpec
from lasttoken.errors import BatchError
from lasttoken.model import dropout, products
from lasttoken.model.batch import unpad
from lasttoken.model.blocks import cut_blocks
from lasttoken.model.frozen import Entrance
from lasttoken.model.head import apply_head
from lasttoken.model.objective import Objective
from lasttoken.model.packing import Packing
from lasttoken.model.proof import Proof, choose_path
from lasttoken.model.windows import average_windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Classifier(nn.Module):
    """A decoder with a linear head on each text's last token.

    Args:
        hf_model: a stock `*ForSequenceClassification`, as `backbone.load_hf_model` returns it;
            saved as it is.
        labels: C labels, and what the task does with logits.
        proof: how the backbone is read, as `proof.choose_path` found.

    Attributes:
        objective: what `loss` is made by; the plain loss of the task unless training sets another.
        entrance: through which cached hidden states pass the frozen blocks by.
        frozen: modules that stay in evaluation mode while the others train.
    """

    def __init__(self, hf_model: PreTrainedModel, labels: LabelSpec, proof: Proof) -> None:
        super().__init__()
        self.hf_model = hf_model
        self.objective = Objective(labels)
        self._read_as(proof)
        self.entrance = Entrance()
        self.frozen: tuple[nn.Module, ...] = ()
        products.install(hf_model.base_model)
        dropout.install(hf_model)

    @property
    def labels(self) -> LabelSpec:
        """Return the labels, and what the task does with logits."""
        return self.objective.labels

    @labels.setter
    def labels(self, labels: LabelSpec) -> None:
        self.objective = replace(self.objective, labels=labels)

    def train(self, mode: bool = True) -> Classifier:
        """Set training or evaluation mode; training gives up what only prediction needs.

        Frozen modules stay in evaluation mode: they have no dropout.
        """
        if mode:
            products.release(self.hf_model.base_model)
        super().train(mode)
        for module in self.frozen:
            module.training = False
        return self

    def cut(self, depth: int) -> None:
        """Keep the first blocks, and prove anew how the model is read.

        Args:
            depth: blocks to keep, 1 to n.

        Raises:
            BackboneError: the family's configuration cannot describe fewer blocks.
        """
        device = next(self.parameters()).device
        cut_blocks(self.hf_model, depth)
        self.hf_model.set_attn_implementation("eager")  # what the proof compares with
        self.to("cpu")
        self._read_as(choose_path(self.hf_model))
        self.to(device)

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        continues: Tensor | None = None,
        hidden_states: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Classify a batch in either layout of `Gpt2ClassificationCollator`.

        Args:
            input_ids: (1, T) packed, or (B, L) padded on any side, int64.
            position_ids: (1, T); of padded rows they are derived from the mask anew.
            cu_seqlens: (B + 1,) offsets of a packed batch; None for a padded one.
            attention_mask: (B, L), 1 at real tokens of padded rows; None for packed.
            labels: targets as `LabelSpec.encode` gives them, or None.
            continues: see `Batch.continues`; the prompt has no row of logits.
            hidden_states: (1, W, H) fp32, what the frozen blocks gave for this packed batch; read
                only inside `frozen.frozen_blocks_answered`.
            owner: see `Batch.owner`; an example's windows have one row of logits together, the
                mean of theirs.

        Returns:
            `logits` (B, C) fp32, and `loss`, the mean (None without labels).

        Raises:
            BatchError: neither `cu_seqlens` nor `attention_mask` says where texts end.
        """
        pooled = self.pool_last_token(
            input_ids, position_ids, cu_seqlens, attention_mask, continues, hidden_states, owner
        )
        logits = self._head(pooled)  # (B, C)
        loss = None
        if labels is not None:
            loss = self.objective.loss_sum(logits, labels) / len(logits)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def pool_last_token(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        attention_mask: Tensor | None = None,
        continues: Tensor | None = None,
        hidden_states: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> Tensor:
        """Return each text's last hidden state after the final norm, (B, H); as `forward`.

        Of several windows, their mean: the head is linear, so its logits are the mean of theirs.
        """
        packed = _as_packed(input_ids, position_ids, cu_seqlens, attention_mask)
        self.entrance.hidden_states = hidden_states
        try:
            states = self._read(*packed, continues, every_block=False)[-1]
            return states if owner is None else average_windows(states, owner)
        finally:
            self.entrance.hidden_states = None

    def last_token_states(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        attention_mask: Tensor | None = None,
        continues: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> Tensor:
        """Return each text's last-token state of every block; of several windows, their mean.

        Returns:
            (B, blocks + 1, H): the embedding first, then each block's output; the last is taken
            after the final norm, as transformers defines `hidden_states`.
        """
        packed = _as_packed(input_ids, position_ids, cu_seqlens, attention_mask)
        states = torch.stack(self._read(*packed, continues, every_block=True), dim=1)
        return states if owner is None else average_windows(states, owner)

    def classify_windows(self, states: Tensor, owner: Tensor) -> Tensor:
        """Return the logits (B, C) of examples from the last states (S, H) of their windows."""
        return self._head(average_windows(states, owner))

    def divide_logits(self, temperature: float) -> None:
        """Change the head so that every logit is divided by a temperature above 0."""
        head: Any = self.hf_model.score
        with torch.no_grad():
            head.weight.div_(temperature)
            if head.bias is not None:
                head.bias.div_(temperature)

    def order_labels(self, labels: LabelSpec) -> None:
        """Move the head's rows so that the same labels have the ids of another order."""
        rows = [self.labels.label2id[label] for label in labels.labels]
        config: Any = self.hf_model.config
        head: Any = self.hf_model.score
        with torch.no_grad():
            head.weight.copy_(head.weight[rows].clone())
        config.id2label, config.label2id = labels.id2label, labels.label2id
        self.labels = labels

    def _read_as(self, proof: Proof) -> None:
        self.proof = proof
        self._read = {"packed": self._read_packed, "padded": self._read_padded}[proof.path]

    def _head(self, pooled: Tensor) -> Tensor:
        head: Any = self.hf_model.score
        return apply_head(head, pooled)

    def _read_packed(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        cu_seqlens: Tensor,
        continues: Tensor | None,
        *,
        every_block: bool,
    ) -> tuple[Tensor, ...]:
        last = last_tokens(cu_seqlens.cpu())[_num_prompts(continues) :]  # (B,)
        packing = Packing.from_cu_seqlens(
            cu_seqlens, input_ids.shape[1], input_ids.device, continues=continues, read=last
        )
        output = self.hf_model.base_model(
            input_ids=input_ids,
            position_ids=position_ids,
            # All ones: silences the warning of families that look for padding by id.
            attention_mask=torch.ones_like(input_ids),
            use_cache=False,
            output_hidden_states=every_block,
            packing=packing,
        )
        rows = last.to(input_ids.device)
        return tuple(states[0][rows] for states in _blocks(output, every_block))

    def _read_padded(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        cu_seqlens: Tensor,
        continues: Tensor | None,
        *,
        every_block: bool,
    ) -> tuple[Tensor, ...]:
        del position_ids  # the family counts its own positions from the mask
        texts = list(input_ids[0, : int(cu_seqlens[-1])].split(cu_seqlens.diff().tolist()))
        if continues is not None:  # nothing can be shared: the prompt goes in front of each again
            texts = [
                torch.cat([texts[0], text]) if shares else text
                for text, shares in zip(texts, continues.tolist(), strict=True)
            ][1:]
        seqlens = torch.tensor([len(text) for text in texts], device=input_ids.device)
        rows = nn.utils.rnn.pad_sequence(texts, batch_first=True)  # (B, L)
        mask = torch.arange(rows.shape[1], device=rows.device)[None, :] < seqlens[:, None]
        output = self.hf_model.base_model(
            input_ids=rows,
            attention_mask=mask.to(torch.int64),
            use_cache=False,
            output_hidden_states=every_block,
        )
        row = torch.arange(len(rows), device=rows.device)
        return tuple(states[row, seqlens - 1] for states in _blocks(output, every_block))


def _num_prompts(continues: Tensor | None) -> int:
    """Return how many sequences in front are a prompt and no text: 0 or 1."""
    return 0 if continues is None else 1


def last_tokens(cu_seqlens: Tensor) -> Tensor:
    """Return the place of each text's last token in the packed row, (B,) int64."""
    return cu_seqlens[1:].to(torch.int64) - 1


def _blocks(output: Any, every_block: bool) -> tuple[Tensor, ...]:  # noqa: ANN401 - family's own
    return tuple(output.hidden_states) if every_block else (output.last_hidden_state,)


def _as_packed(
    input_ids: Tensor,
    position_ids: Tensor | None,
    cu_seqlens: Tensor | None,
    attention_mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    if cu_seqlens is not None and position_ids is not None:
        return input_ids, position_ids, cu_seqlens
    if attention_mask is None:
        raise BatchError(
            "a batch without cu_seqlens and position_ids (packed) or attention_mask (padded)",
            expected="a batch that says where each text ends",
            remedy="make batches with Gpt2ClassificationCollator",
        )
    return unpad(input_ids, attention_mask)
