"""A decoder of which only the last K blocks learn: freeze the rest, and compute it only once.

    embeddings -> block 1 ... block n-K -> | -> block n-K+1 ... block n -> final norm -> head
    frozen: no gradient, no dropout        |    trained
                                           cached hidden states enter here

Nothing is taken out of the model and no weight gets another name: for a while, frozen blocks
answer with what they answered before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lasttoken.model.blocks import Forward, find_blocks, replaced_forwards

if TYPE_CHECKING:
    from lasttoken.model.classifier import Classifier


@dataclass
class Entrance:
    """Where cached hidden states enter a classifier.

    Attributes:
        hidden_states: (1, W, H), the output of the last frozen block for the batch at hand, or
            None while the frozen blocks must compute it.
    """

    hidden_states: Tensor | None = None


@contextmanager
def frozen_but_last(classifier: Classifier, num_blocks: int) -> Iterator[None]:
    """Let only the last blocks, what follows them, and the head learn.

    The frozen part has no gradient and no dropout, whatever mode the classifier is in.

    Args:
        classifier: of n blocks.
        num_blocks: K, 1 to n; with n, the embeddings alone are frozen.
    """
    model = classifier.hf_model
    trained: set[nn.Module] = {*list(find_blocks(model))[-num_blocks:], *tail_modules(classifier)}
    trained |= {module for block in tuple(trained) for module in block.modules()}
    learns = {id(p) for module in trained for p in module.parameters()}
    frozen = [p for p in model.parameters() if id(p) not in learns and p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        classifier.frozen = tuple(m for m in model.modules() if m not in trained)
        yield
    finally:
        classifier.frozen = ()
        for parameter in frozen:
            parameter.requires_grad_(True)


@contextmanager
def frozen_blocks_answered(classifier: Classifier, num_frozen: int) -> Iterator[None]:
    """Let the first blocks answer with the hidden states given to the classifier, if any are.

    A batch without `hidden_states` goes through all blocks as ever.

    Args:
        classifier: its `entrance` holds the states of the batch at hand.
        num_frozen: n - K, at least 1.
    """
    entrance = classifier.entrance
    as_block_output = _output_form(classifier)

    def make(forward: Forward) -> Forward:
        def answer(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - family's own
            if entrance.hidden_states is None:
                return forward(*args, **kwargs)
            return as_block_output(entrance.hidden_states)

        return answer

    with replaced_forwards(list(find_blocks(classifier.hf_model))[:num_frozen], make):
        yield


def output_of_block(classifier: Classifier, number: int, inputs: Mapping[str, Tensor]) -> Tensor:
    """Run a batch up to a block, and no further; return what the block gives.

    Args:
        classifier: on the device of `inputs`.
        number: of the block, counted from 1.
        inputs: the classifier's, without labels.

    Returns:
        (1, W, H) if the classifier reads packed, else (B, L, H).
    """

    def stop(_block: nn.Module, _args: Any, output: Any) -> None:  # noqa: ANN401 - hook's own
        raise _ReachedError(_states(output))

    hook = find_blocks(classifier.hf_model)[number - 1].register_forward_hook(stop)
    try:
        classifier.pool_last_token(**inputs)
    except _ReachedError as reached:
        return reached.states
    finally:
        hook.remove()
    raise AssertionError(f"block {number} was never run")


@contextmanager
def block_outputs(classifier: Classifier, take: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Show every block's output as it comes, but the last's.

    Args:
        classifier: of n blocks.
        take: gets the block's number, 1 to n - 1, and its output, (1, W, H) or (B, L, H).
    """

    def show(number: int) -> Any:  # noqa: ANN401 - a hook
        return lambda _block, _args, output: take(number, _states(output))

    blocks = find_blocks(classifier.hf_model)
    hooks = [
        block.register_forward_hook(show(number))
        for number, block in enumerate(blocks[:-1], start=1)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def apply_tail(classifier: Classifier, states: Tensor) -> Tensor:
    """Do to block outputs what the backbone does behind its last block: final norm, projection.

    The family's own code does it: the backbone runs with blocks that all answer `states`.

    Args:
        classifier: any.
        states: (M, H), outputs of any block.

    Returns:
        (M, H'), what the head reads if the model ends at that block.
    """
    as_block_output = _output_form(classifier)

    def make(_forward: Forward) -> Forward:
        return lambda *_args, **_kwargs: as_block_output(states[:, None])

    with replaced_forwards(list(find_blocks(classifier.hf_model)), make):
        return _run_backbone(classifier, len(states))[:, 0]


def tail_modules(classifier: Classifier) -> list[nn.Module]:
    """Return the modules with weights that run behind the last block, and the head."""
    blocks = find_blocks(classifier.hf_model)
    inside = {module for block in blocks for module in block.modules()}
    ran: list[nn.Module] = []
    hooks = [blocks[-1].register_forward_hook(lambda *_: ran.clear())]
    hooks += [
        module.register_forward_hook(lambda module, *_: ran.append(module))
        for module in classifier.hf_model.base_model.modules()
        if module not in inside and any(True for _ in module.parameters(recurse=False))
    ]
    try:
        _probe(classifier)
    finally:
        for hook in hooks:
            hook.remove()
    head: Any = classifier.hf_model.score
    return [*ran, head]


class _ReachedError(Exception):
    """A block was reached; not a failure."""

    def __init__(self, states: Tensor) -> None:
        super().__init__("reached")
        self.states = states


def _states(output: Any) -> Tensor:  # noqa: ANN401 - family's own
    """Return the hidden states of a block's output, which some families wrap in a tuple."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


def _output_form(classifier: Classifier) -> Callable[[Tensor], Any]:
    """Return how hidden states look as this family's block output: bare, or first of a tuple."""
    lengths: list[int | None] = []
    block = find_blocks(classifier.hf_model)[0]
    hook = block.register_forward_hook(
        lambda _block, _args, output: lengths.append(
            len(output) if isinstance(output, tuple) else None
        )
    )
    try:
        _probe(classifier)
    finally:
        hook.remove()
    length = lengths[0]
    return lambda states: states if length is None else (states, *[None] * (length - 1))


def _probe(classifier: Classifier) -> None:
    """Run one token through, for hooks to see; the modes of all modules stay as they are."""
    device = next(classifier.parameters()).device
    one = torch.zeros((1, 1), dtype=torch.int64, device=device)
    with torch.no_grad():
        classifier.pool_last_token(one, attention_mask=torch.ones_like(one))


def _run_backbone(classifier: Classifier, num_rows: int) -> Tensor:
    """Return the last hidden states (M, 1, H) of M rows of one token."""
    device = next(classifier.parameters()).device
    ids = torch.zeros((num_rows, 1), dtype=torch.int64, device=device)
    output = classifier.hf_model.base_model(
        input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
    )
    hidden: Tensor = output.last_hidden_state
    return hidden
