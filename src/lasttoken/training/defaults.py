"""Defaults that follow from data and model: how long, in which batches, how fast.

    examples       32    100    500   1,000   2,000   4,000   8,000   12,000 and more
    epochs          6      5      3       3       2       2       2        1
    batch           8      8     16      32      32      32      32       32

Whatever is given wins; what was taken is printed and recorded. How they were found: docs/log.md.
"""

from __future__ import annotations

import math

from lasttoken.settings import Trainable

SETTLED = ("num_epochs", "batch_size", "learning_rate", "depth")  # known with data and model

# Passes over n examples: the fourth root of this number over n, rounded. It was found on data sets
# of 32 to 12,000 examples (docs/log.md); MOST_EPOCHS bounds what was not measured.
_EXAMPLES_OF_ONE_EPOCH = 45_000
MOST_EPOCHS = 6
_SMALL_BATCHES = ((200, 8), (1_000, 16))  # below so many examples, so many in a batch
_BATCH = 32

# SmolLM2, of 576 channels, is trained well at 1e-4; a wider model wants a rate that falls with its
# width. Source: Yang et al., "Tensor Programs V" (arXiv 2203.03466), table 3: Adam, hidden weights.
_RATE_TIMES_WIDTH = 1e-4 * 576

# Fewer weights that learn bear a higher rate. Adapters: Biderman et al., "LoRA learns less and
# forgets less" (arXiv 2405.09673), whose best rates are about ten times those of whole models.
_RATE_FACTORS = {"full": 1.0, "last": 2.0, "lora": 10.0, "probe": 1.0}


def default_num_epochs(num_examples: int) -> int:
    """Return passes over the examples: of fewer more, as the fourth root of their number falls."""
    epochs = round(math.sqrt(math.sqrt(_EXAMPLES_OF_ONE_EPOCH / max(1, num_examples))))
    return max(1, min(epochs, MOST_EPOCHS))


def default_batch_size(num_examples: int) -> int:
    """Return examples of one batch: fewer of few, or an epoch would be a handful of steps."""
    return next((size for below, size in _SMALL_BATCHES if num_examples < below), _BATCH)


def default_learning_rate(hidden_size: int, learns: Trainable) -> float:
    """Return the peak rate of AdamW for a model of so many channels, with two digits."""
    rate = _RATE_TIMES_WIDTH / hidden_size * _RATE_FACTORS[learns.kind]
    return float(f"{rate:.1e}")
