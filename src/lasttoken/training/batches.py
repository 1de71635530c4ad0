"""Which batches a pass sees, and back from their order to that of the examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lasttoken.data.losses import IGNORED_LABEL
from lasttoken.training.cache import Collate
from lasttoken.training.passes import PassResult
from lasttoken.training.sampler import EpochSampler, TokenizedExamples
from lasttoken.training.state import FitSettings, TrainState
from lasttoken.training.world import World


class Order(Protocol):
    """The indices of each batch, one batch after the other."""

    def __len__(self) -> int:
        """Return the number of batches."""
        ...

    def __iter__(self) -> Iterator[list[int]]:
        """Yield each batch's indices."""
        ...


class Batches:
    """Examples, batch by batch: a dataloader for `train` and `validation`.

    Args:
        examples: to take them from.
        order: the indices of each batch.
        collate: makes a batch.
    """

    def __init__(self, examples: TokenizedExamples, order: Order, collate: Collate) -> None:
        self._examples = examples
        self._order = order
        self._collate = collate

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._order)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield each batch."""
        for indices in self._order:
            yield self._collate([self._examples[index] for index in indices])


class BatchParts(Batches):
    """One process's part of each batch: every W-th example.

    A process without a part computes the batch's first example, which counts nowhere: the others
    wait for its gradients.

    Args:
        examples: as for `Batches`.
        order: likewise, of whole batches.
        collate: likewise.
        world: the processes.
    """

    def __init__(
        self,
        examples: TokenizedExamples,
        order: Order,
        collate: Collate,
        world: World,
    ) -> None:
        super().__init__(examples, order, collate)
        self._world = world

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield this process's part of each batch."""
        for indices in self._order:
            part = indices[self._world.rank :: self._world.size]
            inputs = self._collate([self._examples[index] for index in part or indices[:1]])
            if not part:
                inputs["labels"].fill_(IGNORED_LABEL)
            yield inputs


def epoch_batches(
    training: TokenizedExamples,
    collate: Collate,
    settings: FitSettings,
    state: TrainState,
    world: World,
    groups: NDArray[np.int64] | None = None,
) -> Batches:
    """Return this process's part of the batches of the epoch at hand that are still to come.

    Args:
        training: N examples.
        collate: makes a batch.
        settings: of the loop.
        state: the epoch, and what it has behind it.
        world: the processes.
        groups: see `EpochSampler`.
    """
    order = EpochSampler(
        len(training),
        settings.batch_size,
        seed=settings.seed,
        epoch=state.epoch,
        first_batch=state.so_far.num_batches,
        groups=groups,
    )
    return BatchParts(training, order, collate, world)


def validation_batches(
    validating: TokenizedExamples,
    collate: Collate,
    order: Sequence[NDArray[np.int64]],
    world: World,
) -> Batches:
    """Return this process's share of the batches: every W-th."""
    mine = [indices.tolist() for indices in order[world.rank :: world.size]]
    return Batches(validating, mine, collate)


def num_steps_per_epoch(num_examples: int, settings: FitSettings) -> int:
    """Return the optimizer steps of one epoch; the last of each kind may be smaller."""
    num_batches = -(-num_examples // settings.batch_size)
    return -(-num_batches // settings.gradient_accumulation_steps)


def in_order(
    result: PassResult, order: Sequence[NDArray[np.int64]], world: World
) -> NDArray[np.float32]:
    """Return the logits (N, C) of a pass over `validation_batches` in the order of its examples."""
    seen = [indices for rank in range(world.size) for indices in order[rank :: world.size]]
    logits = np.empty(result.logits.shape, dtype=np.float32)
    logits[np.concatenate(seen)] = result.logits.numpy()
    return logits
