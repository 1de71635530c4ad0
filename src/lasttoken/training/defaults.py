"""Defaults that follow from data and model: how long, in which batches, how fast, how deep.

    examples       32    100    500   1,000   2,000   4,000   8,000   12,000 and more
    epochs         10     10      5       4       3       2       2        1
    batch           8      8     16      32      32      32      32       32
    of 30 blocks   20     20     20      30      30      30      30       30

Whatever is given wins; what was taken is printed and recorded. How they were found: docs/log.md.
"""

from __future__ import annotations

import math

from lasttoken.settings import Trainable

SETTLED = ("num_epochs", "batch_size", "learning_rate", "depth")  # settings that are decided here

MOST_EPOCHS = 10
_EXAMPLES_OF_ONE_EPOCH = 12_000
_SMALL_BATCHES = ((200, 8), (1_000, 16))  # below so many examples, so many in a batch
_BATCH = 32

# SmolLM2, of 576 channels, is trained well at 1e-4; a wider model wants a rate that falls with its
# width. Source: Yang et al., "Tensor Programs V" (arXiv 2203.03466), table 3: Adam, hidden weights.
_RATE_TIMES_WIDTH = 1e-4 * 576

# The last blocks of a language model are busy with the next word, and few examples do not retrain
# them: with 16 a label and with 500 examples SmolLM2 classifies better without its last third
# (docs/log.md). Shallower models have not been measured, and keep what they have.
_DEEP = 24
EXAMPLES_OF_ALL_BLOCKS = 1_000

# Fewer weights that learn bear a higher rate. Adapters: Biderman et al., "LoRA learns less and
# forgets less" (arXiv 2405.09673), whose best rates are about ten times those of whole models.
_RATE_FACTORS = {"full": 1.0, "last": 2.0, "lora": 10.0, "probe": 1.0}


def default_num_epochs(num_examples: int) -> int:
    """Return passes over the examples: of fewer more, as the inverse root of their number."""
    epochs = math.ceil(math.sqrt(_EXAMPLES_OF_ONE_EPOCH / max(1, num_examples)))
    return min(epochs, MOST_EPOCHS)


def default_batch_size(num_examples: int) -> int:
    """Return examples of one batch: fewer of few, or an epoch would be a handful of steps."""
    return next((size for below, size in _SMALL_BATCHES if num_examples < below), _BATCH)


def default_learning_rate(hidden_size: int, learns: Trainable) -> float:
    """Return the peak rate of AdamW for a model of so many channels, with two digits."""
    rate = _RATE_TIMES_WIDTH / hidden_size * _RATE_FACTORS[learns.kind]
    return float(f"{rate:.1e}")


def default_depth(num_examples: int, num_blocks: int) -> int:
    """Return how many blocks are kept: of few examples, the first two thirds of a deep model."""
    if num_examples >= EXAMPLES_OF_ALL_BLOCKS or num_blocks < _DEEP:
        return num_blocks
    return round(num_blocks * 2 / 3)
