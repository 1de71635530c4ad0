"""Integrated gradients: what each token adds to the log odds of a label.

    no text     x' = <|endoftext|>  ␣     ␣       log odds of the label from x'
                       |  the embeddings walk in a straight line
    the text    x  =   A           fine  film     log odds of the label from x

    attribution of a token = sum over H of (x - x') . mean gradient on the way

The attributions of all tokens add up to the difference of the log odds, as nearly as the points
on the way tell.

Source:
    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (arXiv 1703.01365), as
    captum computes it; the mean is a Gauss-Legendre sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lasttoken.model.batch import pack_examples, to_device
from lasttoken.model.classifier import Classifier

# Of one pass with gradients, which keep what every block computed: for SmolLM2 (135M) about 2.5 MB
# a token.
MAX_TOKENS_PER_PASS = 512

# Where the attributions do not add up to within a tenth, four times as many points are tried. The
# paper recommends such a check (within 5 %) and more points, 20 to 300, where it fails.
_TOLERANCE = 0.1  # of the difference of the log odds, or of 1 nat if that is larger
_MORE_STEPS = 4


@dataclass(frozen=True)
class Attributions:
    """What each token of one text adds to the log odds of a label.

    Attributes:
        by_token: (L,) float64 nats; exactly 0 for a token that the text that says nothing has too.
        adds_up: their sum is the difference of the log odds between the ends of the way, to within
            a tenth of it (or of 1 nat, if it is smaller).
    """

    by_token: NDArray[np.float64]
    adds_up: bool


def token_attributions(
    classifier: Classifier,
    token_ids: NDArray[np.int32],
    baseline_ids: NDArray[np.int32],
    label_id: int,
    *,
    num_steps: int,
    window_length: int | None = None,
) -> Attributions:
    """Return what each token of one text adds to the log odds of a label, in fp32.

    The text is read by the classifier's own path, as many copies of it packed together as fit
    into a batch; only what the embedding gives is replaced. Weights, their `requires_grad` and the
    attention stay as they are, and no gradient is kept.

    Args:
        classifier: in evaluation mode, on any device.
        token_ids: (L,) of the text as it is read.
        baseline_ids: (L,) of a text that says nothing, see `words.blank_tokens`.
        label_id: of the label whose log odds are explained.
        num_steps: points on the way at which a gradient is taken, at least 1; and four times as
            many if it does not add up.
        window_length: see `batch.pack_examples`.
    """
    from captum.attr import IntegratedGradients

    device = next(classifier.parameters()).device
    table: Any = classifier.hf_model.get_input_embeddings()

    def answer(embedded: Tensor) -> Tensor:
        """Return log odds (S,) for the embeddings (S, L, H) of S texts."""
        copies = pack_examples([token_ids] * len(embedded), window_length=window_length)
        batch = to_device(copies.to_inputs(), device)
        with _embedding_answers(table, embedded.flatten(0, 1)):
            logits = classifier(**batch).logits
        return log_odds(logits, label_id)

    with torch.autocast(device.type, enabled=False):
        with torch.no_grad():
            text, baseline = (
                table(torch.from_numpy(ids.astype(np.int64)).to(device)[None])  # (1, L, H)
                for ids in (token_ids, baseline_ids)
            )
        for steps in (num_steps, _MORE_STEPS * num_steps):
            attributions, surplus = IntegratedGradients(answer).attribute(
                text,
                baselines=baseline,
                n_steps=steps,
                internal_batch_size=max(1, MAX_TOKENS_PER_PASS // len(token_ids)),
                return_convergence_delta=True,
            )
            by_token = attributions[0].detach().double().sum(dim=-1).cpu().numpy()
            way = float(by_token.sum()) - float(surplus)
            adds_up = abs(float(surplus)) <= _TOLERANCE * max(1.0, abs(way))
            if adds_up:
                break
    return Attributions(by_token, adds_up)


def log_odds(logits: Tensor, label_id: int) -> Tensor:
    """Return log(p / (1 - p)) in nats (B,) for logits (B, C), p a label's probability.

    With two labels it is the difference of the logits. Unlike p it does not flatten out where the
    model is sure, and unlike a single logit it does not change when all logits grow alike.

    Source:
        The weight of evidence in Robnik-Sikonja and Kononenko, "Explaining Classifications for
        Individual Instances" (IEEE TKDE 20, 2008), and in Zintgraf et al. (arXiv 1702.04595).
    """
    others = torch.arange(logits.shape[1], device=logits.device) != label_id
    return logits[:, label_id] - logits[:, others].logsumexp(dim=1)


@contextmanager
def _embedding_answers(table: nn.Module, embedded: Tensor) -> Iterator[None]:
    """Let an embedding answer with other vectors, in whichever layout it is asked.

    Args:
        table: gives (..., H); all its tokens but filler behind the last text are replaced.
        embedded: (T, H), of the texts end to end.
    """

    def answer(_table: nn.Module, _args: Any, output: Tensor) -> Tensor:  # noqa: ANN401 - a hook's
        filler = output.flatten(0, 1)[len(embedded) :]
        return torch.cat([embedded, filler]).view(output.shape)

    hook = table.register_forward_hook(answer)
    try:
        yield
    finally:
        hook.remove()
