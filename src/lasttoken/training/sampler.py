"""Who shares a batch: a function of (seed, epoch), with no generator that runs along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from lasttoken.model.tokens import TokenizedTexts


class TokenizedExamples(Dataset[dict[str, Any]]):
    """Texts that were tokenized once, with their labels, in the form the collator takes.

    Args:
        texts: N tokenized texts.
        labels: N label strings.
    """

    def __init__(self, texts: TokenizedTexts, labels: Sequence[str]) -> None:
        self.texts = texts
        self.labels = tuple(labels)

    def __len__(self) -> int:
        """Return N."""
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return `{"input_ids": (L,) int32, "label": str}`."""
        return {"input_ids": self.texts[index], "label": self.labels[index]}


class EpochSampler(Sampler[list[int]]):
    """Random batches of one epoch: the same (seed, epoch) gives the same order anywhere.

    Args:
        num_examples: N.
        batch_size: examples in a batch; the last one of an epoch may be smaller.
        seed: of the run.
        epoch: counted from 0.
        first_batch: batches of the epoch that are left out because they were seen already.
        groups: (N,) of each example, to draw as many of each group; None draws each example once.
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        first_batch: int = 0,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        order = epoch_order(num_examples, seed=seed, epoch=epoch)
        if groups is not None:
            order = balanced_order(groups, seed=seed, epoch=epoch)[order]
        self._order = order[first_batch * batch_size :]
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self._order) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield each batch's example indices."""
        for start in range(0, len(self._order), self._batch_size):
            yield self._order[start : start + self._batch_size].tolist()


def epoch_order(num_examples: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a permutation (N,) int64 that depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def balanced_order(groups: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return N examples of which each group has an equal share, (N,) int64, group after group.

    A group's examples come in one random order after another, from epoch to epoch: each is drawn
    once before any is drawn again. Shares differ by one example at most.

    Args:
        groups: (N,) int64, 0 to G - 1, each with an example at least.
        seed: of the run.
        epoch: counted from 0.
    """
    num_examples, num_groups = len(groups), int(groups.max()) + 1
    drawn = []
    for group in range(num_groups):
        members = np.flatnonzero(groups == group)
        # All draws of all epochs are dealt out in turn: draw d goes to group d modulo G.
        start, stop = (
            (number + num_groups - 1 - group) // num_groups
            for number in (epoch * num_examples, (epoch + 1) * num_examples)
        )
        rounds = range(start // len(members), -(-stop // len(members)))
        orders = [np.random.default_rng([seed, n, group, 1]).permutation(members) for n in rounds]
        skipped = start - rounds.start * len(members)
        drawn.append(np.concatenate([members[:0], *orders])[skipped : skipped + stop - start])
    return np.concatenate(drawn)
